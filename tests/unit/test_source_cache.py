"""The memory of generated texts: what is asked for again, and what only looks like it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mlcref.codegen import KernelSource
from mlcref.ir import PrimFunc, Target
from mlcref.runtime import source_cache
from mlcref.runtime.cython_backend import generate
from mlcref.runtime.source_cache import cached_source
from mlcref.script import from_source

ONE_CORE = Target("cython --num-cores=1")


def adds(amount: int, name: str = "A", extent: int = 8) -> PrimFunc:
    return from_source(f"""
@T.prim_func
def f({name}: T.Buffer(({extent},), "float32")):
    for i in range({extent}):
        {name}[i] = {name}[i] + T.float32({amount})
""")


class Translation:
    """Translates, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, funcs: Mapping[str, PrimFunc], target: Target) -> KernelSource:
        self.count += 1
        return generate(funcs, target)


@pytest.fixture
def translation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Translation:
    monkeypatch.setenv("MLCREF_CACHE", str(tmp_path))
    monkeypatch.setattr(source_cache, "_sources", {})
    return Translation()


def test_a_program_is_translated_once(translation: Translation) -> None:
    first = cached_source({"f": adds(1)}, ONE_CORE, translation)
    assert cached_source({"f": adds(1)}, ONE_CORE, translation) is first
    assert translation.count == 1


def test_another_process_reads_what_was_written(translation: Translation) -> None:
    first = cached_source({"f": adds(1), "g": adds(2)}, ONE_CORE, translation)
    source_cache._sources.clear()
    again = cached_source({"f": adds(1), "g": adds(2)}, ONE_CORE, translation)
    assert again == first
    assert again.specs[1].params[0].shape == (8,)
    assert translation.count == 1


@pytest.mark.parametrize("funcs", [{"f": adds(2)}, {"g": adds(1)}, {"f": adds(1, "B")}, {"f": adds(1, extent=9)}])
def test_other_programs_are_translated(translation: Translation, funcs: dict[str, PrimFunc]) -> None:
    first = cached_source({"f": adds(1)}, ONE_CORE, translation)
    assert cached_source(funcs, ONE_CORE, translation) != first
    assert translation.count == 2


def test_another_target_is_another_text(translation: Translation) -> None:
    cached_source({"f": adds(1)}, ONE_CORE, translation)
    cached_source({"f": adds(1)}, Target("cython --num-cores=2"), translation)
    assert translation.count == 2


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"text": 1, "names": [], "specs": [{"params": []}]}'])
def test_a_damaged_file_is_written_again(translation: Translation, tmp_path: Path, damage: str) -> None:
    first = cached_source({"f": adds(1)}, ONE_CORE, translation)
    (path,) = tmp_path.glob("source-*.json")
    path.write_text(damage, encoding="utf-8")
    source_cache._sources.clear()
    assert cached_source({"f": adds(1)}, ONE_CORE, translation) == first
    assert path.stat().st_size > len(damage)


def test_a_changed_compiler_forgets(translation: Translation, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_source({"f": adds(1)}, ONE_CORE, translation)
    monkeypatch.setattr(source_cache, "_translators", lambda: "a later version")
    cached_source({"f": adds(1)}, ONE_CORE, translation)
    assert translation.count == 2


def test_memory_is_bounded(translation: Translation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_cache, "_KEPT", 2)
    for amount in range(4):
        cached_source({"f": adds(amount)}, ONE_CORE, translation)
    assert len(source_cache._sources) == 2
