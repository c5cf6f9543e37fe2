"""Vectorized loops over drawn values: lowering keeps their meaning, and compiled kernels stay within the bound with
2 ulp for each intrinsic."""

from __future__ import annotations

from random import Random

import pytest

from mlcref.driver import compile
from mlcref.ir import IRModule, PrimFunc, Ramp, any_node
from mlcref.lower import PIPELINE
from mlcref.runtime import why_no_compiler
from mlcref.testing.backend import assert_backend_matches
from mlcref.testing.sites.lanes import lanes, tiles
from mlcref.verify import check_equivalent


def drawn(seed: int) -> PrimFunc:
    """One in four copies tiles."""
    rng = Random(seed)
    return (lanes if seed % 4 else tiles)(lambda options: options[rng.randrange(len(options))])


def lowered(func: PrimFunc) -> PrimFunc:
    for step in PIPELINE:
        func = step.run(func)
    return func


def test_lowering_keeps_their_meaning_and_makes_vectors_of_many() -> None:
    vectors = 0
    for seed in range(40):
        func = drawn(seed)
        after = lowered(func)
        assert check_equivalent(func, after, seed=seed, minimize=False).status == "TESTED", func.script()
        vectors += any_node(after.body, Ramp)
    assert vectors >= 20


@pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")
@pytest.mark.parametrize("block", range(3))
def test_compiled_kernels_stay_within_the_bound(block: int) -> None:
    funcs = {f"f{seed}": drawn(seed) for seed in range(9 * block, 9 * block + 9)}
    module = compile(IRModule(funcs), "cython --num-cores=1")
    compared = sum(assert_backend_matches(f, module[name], trials=1, ulps=2.0).inputs for name, f in funcs.items())
    assert compared >= 18
