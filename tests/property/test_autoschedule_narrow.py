"""Products of narrow elements summed in wider ones: schedules and passes keep their meaning, compiled kernels have the
oracle's results, and pairs of short integers are multiplied at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlcref
from mlcref import te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.codegen.cython import emit
from mlcref.ir import IRModule, PrimFunc, Target
from mlcref.lower import PIPELINE, lower
from mlcref.runtime import why_no_compiler
from mlcref.testing.backend import assert_backend_matches
from mlcref.verify import check_equivalent

MIXED = [("int8", "int32"), ("uint8", "int32"), ("int16", "int32"), ("bfloat16", "float32"), ("float16", "float32"),
         ("float8_e5m2", "float32"), ("float16", "float16"), ("int8", "int16")]  # fmt: skip
SHAPES = [(7, 70, 33), (12, 64, 1), (9, 10, 50), (1, 64, 8), (13, 33, 6)]
needs_compiler = pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")


def product(rows: int, columns: int, terms: int, turned: bool, types: tuple[str, str]) -> PrimFunc:
    """``C[i, j] += wide(A[i, k]) * wide(B[k, j])``, or ``B[j, k]``."""
    narrow, wide = types
    A = te.placeholder((rows, terms), narrow, name="A")
    B = te.placeholder((columns, terms) if turned else (terms, columns), narrow, name="B")
    k = te.reduce_axis((0, terms), name="k")

    def element(i: Any, j: Any) -> Any:
        a, b = A[i, k], B[j, k] if turned else B[k, j]
        return te.sum(a * b if narrow == wide else a.astype(wide) * b.astype(wide), axis=k)

    return te.create_prim_func([A, B, te.compute((rows, columns), element, name="C")])


def convolution(size: int, inputs: int, outputs: int, kernel: int, stride: int, types: tuple[str, str]) -> PrimFunc:
    """A convolution of a square image, NHWC, weights HWIO."""
    X = te.placeholder((1, size, size, inputs), types[0], name="X")
    W, out = te.placeholder((kernel, kernel, inputs, outputs), types[0], name="W"), (size - kernel) // stride + 1
    y, x, c = (te.reduce_axis((0, n), name=name) for n, name in ((kernel, "y"), (kernel, "x"), (inputs, "c")))

    def element(b: Any, i: Any, j: Any, o: Any) -> Any:
        read, weight = X[b, i * stride + y, j * stride + x, c], W[y, x, c, o]
        return te.sum(read.astype(types[1]) * weight.astype(types[1]), axis=[y, x, c])

    return te.create_prim_func([X, W, te.compute((1, out, out, outputs), element, name="Y")])


extents = st.integers(1, 9)
products = st.builds(product, extents, extents, extents, st.booleans(), st.sampled_from(MIXED))
convolutions = st.builds(convolution, st.integers(3, 5), st.integers(1, 4), extents, st.integers(1, 3),
                         st.integers(1, 2), st.sampled_from(MIXED[:4]))  # fmt: skip
machines = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.sampled_from([8, 12]),
    l2_bytes=st.sampled_from([64, 512]), threads=st.sampled_from([1, 2]), terms=st.sampled_from([2, 3, 64]),
    parallel_work=st.just(0),
)  # fmt: skip


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(products, products, convolutions), machines)
def test_schedules_and_passes_keep_the_meaning(func: PrimFunc, machine: Machine) -> None:
    before = autoschedule(func, machine=machine).mod["main"]
    assert isinstance(before, PrimFunc)
    assert check_equivalent(func, before, minimize=False, max_statements=200_000)
    for step in PIPELINE:
        after = step.run(before)
        if step.name in ("widen_copies", "vectorize", "join_sums"):
            assert check_equivalent(before, after, minimize=False, max_statements=200_000), step.name
        before = after


@needs_compiler
@pytest.mark.parametrize("turned", [False, True])
def test_compiled_kernels_have_the_results_of_the_oracle(turned: bool) -> None:
    funcs = {f"f{i}": product(*SHAPES[i % 5], turned, types) for i, types in enumerate(MIXED)}
    funcs["g"] = convolution(7, 6, 20, 3, 1 + turned, MIXED[turned])
    machine = Machine(terms=32)
    module = mlcref.compile(autoschedule(IRModule(funcs), machine=machine).mod, "cython --num-cores=1")
    for name, func in funcs.items():
        assert_backend_matches(func, module[name], ("small-int", "random"), trials=1, seed=0)


@needs_compiler
@pytest.mark.parametrize("flags", ["", "-mno-avx512vnni", "-mno-avx512f", "-mno-avx2"])
def test_pairs_wrap_with_any_instructions(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"gcc {flags}")
    if why_no_compiler() is not None:
        pytest.skip("gcc does not know these flags")
    rng, cores = np.random.default_rng(0), "cython --num-cores=1"
    kinds = [("int8", 64), ("int16", 64), ("uint8", 32), ("int16", 16)]
    shapes = {(dtype, size): product(6, 64, 34, False, (dtype, "int32")) for dtype, size in kinds}
    made = {f"{dtype}_{size}": autoschedule(func, machine=Machine(vector_bytes=size)).mod["main"]
            for (dtype, size), func in shapes.items()}  # fmt: skip
    module = mlcref.compile(IRModule(made), cores)
    for dtype, size in kinds:
        limits = np.iinfo(dtype)
        for ends in (False, True):
            a, b = (rng.integers(limits.min, limits.max, shape, dtype, endpoint=True) for shape in ((6, 34), (34, 64)))
            if ends:
                a[:], b[:] = limits.min, limits.min
            c = np.zeros((6, 64), "int32")
            module[f"{dtype}_{size}"](a, b, c)
            np.testing.assert_array_equal(c, (a.astype("int64") @ b.astype("int64")).astype("int32"))


def test_short_integers_are_multiplied_in_pairs() -> None:
    texts = {}
    for types in (("int8", "int32"), ("int16", "int32"), ("int8", "int16"), ("bfloat16", "float32")):
        func = autoschedule(product(96, 64, 64, False, types), machine=Machine()).mod["main"]
        assert isinstance(func, PrimFunc)
        texts[types] = emit({"main": lower(func)}, Target("cython"), {"main": func}).text
    assert "vpdpwssd" in texts["int8", "int32"] and "vpdpwssd" in texts["int16", "int32"]
    assert "vpdpwssd" not in texts["int8", "int16"]
    inner = texts["bfloat16", "float32"].split("cdef void main_body")[1].split("for k")[1]
    assert "narrow_bfloat16" not in inner and "widen_bfloat16(" not in inner
