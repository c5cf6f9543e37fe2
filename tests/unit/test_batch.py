"""Many functions at once: shared out over modules and cores, and as right as one by one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from mlcref import IRModule, compile
from mlcref.codegen import KernelSource
from mlcref.errors import CompileError, UnsupportedError
from mlcref.ir import PrimFunc
from mlcref.runtime import Module, batch, source_cache
from mlcref.runtime import batches as runtime_batches
from mlcref.runtime.batch import Builders
from mlcref.runtime.batches import batches, statements
from mlcref.script import from_source

ADDS = """
@T.prim_func
def f(A: T.Buffer((8,), "float32")):
    for i in T.parallel(8):
        A[i] = A[i] + T.float32({amount})
"""
UNROLLED = """
@T.prim_func
def f(A: T.Buffer((400,), "float32")):
    for i in T.{kind}(400):
        A[i] = A[i] + T.float32(1)
"""
NOTHING = "cdef void {name}(void** args) noexcept nogil:\n    pass\n"


def adds(count: int) -> dict[str, PrimFunc]:
    return {f"add{n}": from_source(ADDS.format(amount=n)) for n in range(count)}


@pytest.fixture
def small_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of two functions, built on two cores, with an empty cache."""
    monkeypatch.setenv("MLCREF_CACHE", str(tmp_path))
    monkeypatch.setattr(source_cache, "_sources", {})
    monkeypatch.setattr(runtime_batches, "TOGETHER", 2)
    monkeypatch.setattr(batch, "_other_cores", lambda: 1)


def check(module: Module, count: int) -> None:
    for n in range(count):
        a = np.zeros(8, "float32")
        module[f"add{n}"](a)
        np.testing.assert_array_equal(a, n)


@pytest.mark.parametrize(("count", "modules"), [(1, 1), (31, 1), (32, 2), (52, 2), (64, 3), (210, 10)])
def test_functions_are_shared_out_in_order(count: int, modules: int) -> None:
    func = from_source(ADDS.format(amount=0))
    parts = batches({str(n): func for n in range(count)}, 16)
    assert len(parts) == modules
    assert [name for part in parts for name in part] == [str(n) for n in range(count)]
    assert max(map(len, parts[1:]), default=1) - min(map(len, parts[1:]), default=1) <= 1
    assert len(parts) == 1 or abs(len(parts[0]) - len(parts[1]) / 2) <= 1


def test_long_functions_share_a_module_with_fewer_others() -> None:
    short, long = (from_source(UNROLLED.format(kind=kind)) for kind in ("serial", "unroll"))
    assert statements(long.body, 16) > 20 * statements(short.body, 16)
    parts = batches({str(n): long if n < 10 else short for n in range(64)}, 16)
    assert len(parts[0]) < len(parts[1]) < 10 < len(parts[2])


@pytest.mark.usefixtures("small_modules")
def test_all_modules_are_built(tmp_path: Path) -> None:
    module = compile(IRModule(adds(6)), "cython --num-cores=2")
    check(module, 6)
    assert len(list(tmp_path.glob("mlcref_*"))) == 3
    assert set(module.workspaces) == set(module.functions)
    assert all(f"add{n}_kernel" in module.get_source() for n in range(6))


@pytest.mark.usefixtures("small_modules")
def test_what_was_built_before_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    compile(IRModule(adds(4)), "cython --num-cores=2")

    def refuse(*args: Any, **options: Any) -> NoReturn:
        raise AssertionError("a process is started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    source_cache._sources.clear()
    check(compile(IRModule(adds(4)), "cython --num-cores=2"), 4)


@pytest.mark.usefixtures("small_modules")
@pytest.mark.parametrize("program", ["import sys; sys.exit(1)", "import sys\nfor line in sys.stdin: print('failed')"])
def test_a_helper_that_fails_is_no_harm(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(batch, "_HELPER", program)
    check(compile(IRModule(adds(6)), "cython --num-cores=2"), 6)


@pytest.mark.usefixtures("small_modules")
def test_a_helper_that_cannot_be_started_is_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    check(compile(IRModule(adds(6)), "cython --num-cores=2"), 6)


@pytest.mark.usefixtures("small_modules")
@pytest.mark.parametrize("wrong", range(3))
def test_errors_are_those_of_the_first_wrong_source(wrong: int) -> None:
    texts = [NOTHING.format(name=f"k{n}") for n in range(3)]
    texts[wrong] = texts[wrong].replace("pass", "no_such_name()")
    sources = [KernelSource(text, (f"k{n}",), ()) for n, text in enumerate(texts)]
    with Builders() as builders:
        for source in sources:
            builders.add(source)
        with pytest.raises(CompileError, match="no_such_name"):
            builders.built()


@pytest.mark.usefixtures("small_modules")
def test_a_program_that_cannot_be_translated_ends_the_build() -> None:
    unknown = from_source(ADDS.format(amount=0) + '        T.evaluate(T.call_packed("nobody", A[i]))')
    with pytest.raises(UnsupportedError, match="call_packed"):
        compile(IRModule({**adds(4), "wrong": unknown}), "cython --num-cores=2")
