"""What targets say of the CPU, and what lowering and schedules make of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mlcref import compile, te
from mlcref.autoschedule import Machine, autoschedule
from mlcref.errors import MlcrefError
from mlcref.ir import PrimFunc, Target, cpu
from mlcref.ir.cpu import Cpu, host_cpu, vector_unit
from mlcref.script import from_source

DOUBLED = """
@T.prim_func
def main(A: T.Buffer((100,), "{dtype}"), B: T.Buffer((100,), "{dtype}")):
    for i in T.vectorized(100):
        with T.block("B"):
            vi = T.axis.spatial(100, i)
            B[vi] = A[vi] + A[vi]
"""


@pytest.mark.parametrize(("machine", "flags", "unit"), [
    ("x86_64", "fpu sse2 avx avx2 avx512f avx512bw", (64, 32)), ("AMD64", "sse2 avx avx2", (32, 16)),
    ("x86_64", "sse2 avx", (16, 16)), ("x86_64", "", (16, 16)), ("aarch64", "fp asimd", (16, 32)),
    ("arm64", "", (16, 32)), ("s390x", "vx", (1, 16)),
])  # fmt: skip
def test_instruction_sets(machine: str, flags: str, unit: tuple[int, int]) -> None:
    assert vector_unit(machine, flags) == unit


def test_caches_are_read_or_assumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [("1", "Instruction", "64K"), ("1", "Data", "48K"), ("2", "Unified", "2M")]
    for n, (level, kind, size) in enumerate(levels):
        folder = tmp_path / f"index{n}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    monkeypatch.setattr(cpu, "_CACHES", tmp_path)
    found = host_cpu.__wrapped__()
    assert (found.l1_bytes, found.l2_bytes) == (48 << 10, 2 << 20)
    monkeypatch.setattr(cpu, "_CACHES", tmp_path / "nowhere")
    assert host_cpu.__wrapped__().l2_bytes == Cpu().l2_bytes


def test_options_come_before_the_machine() -> None:
    target = Target("cython --vector-bytes=32 --vector-registers=16 --l2-bytes=262144 --num-cores=3")
    assert target.cpu == Cpu(32, 16, host_cpu().l1_bytes, 1 << 18)
    assert Target("cython").cpu == host_cpu()
    assert Machine.of(target) == Machine(vector_bytes=32, registers=16, l2_bytes=1 << 17, threads=3, terms=256)


@pytest.mark.parametrize("size", [0, 3, 128, -16])
def test_vectors_of_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(MlcrefError, match=f"vectors of {size} bytes"):
        Target({"kind": "cython", "vector-bytes": size}).cpu


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("size", [1, 8, 16, 32, 64])
def test_vectors_have_the_width_of_the_target(dtype: str, size: int) -> None:
    module = compile(from_source(DOUBLED.format(dtype=dtype)), f"cython --num-cores=1 --vector-bytes={size}")
    a = np.arange(100).astype(dtype)
    b = np.zeros_like(a)
    module(a, b)
    np.testing.assert_array_equal(b, a + a)
    widest = max([int(lanes) for lanes in re.findall(rf"{dtype}x(\d+)", module.get_source())], default=1)
    assert widest == max(size // a.itemsize, 1)


def product(n: int) -> PrimFunc:
    a, b = te.placeholder((n, n), name="A"), te.placeholder((n, n), name="B")
    k = te.reduce_axis((0, n), name="k")
    return te.create_prim_func([a, b, te.compute((n, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")])


@pytest.mark.parametrize("width", [1, 16, 32, 64])
def test_schedules_are_fitted_to_the_target(width: int) -> None:
    target = f"cython --num-cores=1 --vector-bytes={width} --vector-registers=16"
    module = compile(autoschedule(product(50), target).mod, target)
    a, b = np.random.default_rng(0).integers(-9, 9, (2, 50, 50)).astype("float32")
    c = np.zeros_like(a)
    module(a, b, c)
    np.testing.assert_array_equal(c, a @ b)
    assert (f"float32x{width // 4}" in module.get_source()) == (width > 1)
