"""Fused blocks at small extents: the check of their kernels accepts what is right, and sees what is not."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.fusion import PAGE, SMALL, oracle_agrees, unfused_pipeline, with_weights
from bench.kernel_bounds import kernels_are_right
from mlcref import relax
from mlcref.benchmark.networks import BLOCKS, shape_of
from mlcref.relax.graph_steps import graph_steps
from mlcref.runtime.compiler import why_no_compiler

TARGET = "cython --num-cores=1"
pytestmark = pytest.mark.skipif(why_no_compiler() is not None, reason="no compiler")


def test_fusion_keeps_the_bits():
    assert oracle_agrees("transformer block")


def test_kernels_of_a_block_are_right():
    module, x = with_weights(BLOCKS["ResNet block"](*SMALL["ResNet block"]))
    assert kernels_are_right(module, relax.get_pipeline("zero")(module), TARGET, x)
    assert len(graph_steps(unfused_pipeline(TARGET)(module))) == len(graph_steps(module)) == 10


def test_a_kernel_with_other_weights_is_found():
    built = BLOCKS["ResNet block"](*SMALL["ResNet block"])
    module, x = with_weights(built)
    weights = {param.name_hint: np.ones(shape_of(param), "float32") for param in built["main"].params[1:]}
    other = relax.get_pipeline("zero")(relax.transform.BindParams("main", weights)(built))
    assert not kernels_are_right(module, other, TARGET, x)


def test_the_published_verdicts():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \w+ block", line)]
    assert {row.split("|")[1].strip() for row in rows} == set(BLOCKS)
    assert all(row.endswith("| agrees |") for row in rows)
