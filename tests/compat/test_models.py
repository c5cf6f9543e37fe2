"""The course's two classifiers, as ``python -m bench.models`` measures them: torch's predictions, within the bound."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import mlcref
from mlcref.benchmark.measure import Effort
from mlcref.demo.dataset import load_images

torch = pytest.importorskip("torch", reason="the models come from torch, which is not installed")
ONCE = Effort(rounds=1, seconds=0.0)


@pytest.fixture(scope="module")
def models():
    """``bench.models`` of the checkout."""
    folder = str(Path(mlcref.__file__).parents[1])
    sys.path.insert(0, folder)
    yield importlib.import_module("bench.models")
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def networks(models):
    training = models.Training(images=300, epochs=1)
    return {"mlp": models.mlp(), "cnn": models.cnn(training, load_images(shipped=True))}


@pytest.mark.parametrize("name", ["mlp", pytest.param("cnn", marks=pytest.mark.slow)])
def test_a_thousand_images(models, networks, name):
    (row,) = models.run({name: networks[name]}, load_images(shipped=True), [50], [1], ONCE)
    assert row.right and row.images == row.same["mlcref"] == row.same["torch"] == 1000
    assert max(row.distance.values()) <= 1
    assert row.accuracy > {"mlp": 0.89, "cnn": 0.4}[name]
    assert set(row.seconds) == set(models.SYSTEMS)


def test_batches_that_do_not_come_out_even(models, networks):
    images = load_images(shipped=True).first(10)
    rows = models.run({"mlp": networks["mlp"]}, images, [1, 4], [2], ONCE)
    assert [(row.batch, row.right) for row in rows] == [(1, True), (4, True)]


def test_wrong_logits_are_seen(models, networks, monkeypatch):
    monkeypatch.setitem(models.SYSTEMS, "mlcref", lambda model, shape, threads: lambda x: np.ones((len(x), 10)))
    (row,) = models.run({"mlp": networks["mlp"]}, load_images(shipped=True).first(20), [20], [1], ONCE)
    assert not row.right and row.same["torch"] == 20 > row.same["mlcref"]


def test_the_command(models, capsys):
    words = ["--models", "mlp", "--batches", "5", "--threads", "1", "--images", "20", "--rounds", "1"]
    assert models.main([*words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["same"]["mlcref"] == 20
    assert models.main(words) == 0
    assert "20 of 20" in capsys.readouterr().out
