"""``compile``: what it takes, what it gives, and what it does without a C compiler."""

import numpy as np
import pytest

from mlcref import te
from mlcref.driver import compile
from mlcref.driver.compile import SlowEngineWarning
from mlcref.errors import CallError, MlcrefError, TypeMismatch, UnsupportedError
from mlcref.ir import IRModule, PrimFunc, Target
from mlcref.runtime import Module, backend, cpu, tensor, why_no_compiler
from mlcref.script import from_source

needs_compiler = pytest.mark.skipif(why_no_compiler() is not None, reason="no C compiler")

TEXT = """
from mlcref.script import tir as T
@T.prim_func
def NAME(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    T.func_attr({"tir.noalias": True})
    for i in T.parallel(8):
        with T.block("C"):
            vi = T.axis.spatial(8, i)
            C[vi] = A[vi] + T.float32(1)
"""


def add_one(name: str = "add_one") -> PrimFunc:
    func = from_source(TEXT.replace("NAME", name))
    assert isinstance(func, PrimFunc)
    return func


@needs_compiler
@pytest.mark.parametrize("target", ["llvm", "c", "cython", "llvm --num-cores=1", Target("llvm"), {"kind": "c"}, None])
def test_every_name_of_the_host_selects_the_cython_backend(target: object) -> None:
    module = compile(add_one(), target)
    assert module.backend == "cython"
    c = np.zeros(8, "float32")
    module["add_one"](np.ones(8, "float32"), c)
    assert c.tolist() == [2] * 8


@needs_compiler
def test_a_module_compiles_to_one_text_with_all_its_functions() -> None:
    module = compile(IRModule({"first": add_one(), "second": add_one()}), "cython --num-cores=2")
    assert list(module.functions) == ["first", "second"]
    assert (module.entry_name, "first" in module, "third" in module) == ("first", True, False)
    assert module.get_source().count("noexcept nogil:") == 9
    with pytest.raises(MlcrefError, match=r"no function 'third'(.|\n)*first, second"):
        module["third"]


@needs_compiler
def test_the_module_looks_like_tvms() -> None:
    module = compile(add_one())
    a, c = tensor(np.ones(8, "float32")), tensor(np.zeros(8, "float32"))
    timer = module.mod.time_evaluator("add_one", cpu(), number=2, repeat=3)
    assert len(timer(a, c).results) == 3
    assert timer(a, c).mean > 0
    assert c.numpy().tolist() == [2] * 8
    assert module.imported_modules == []
    assert "add_one" in repr(module)
    with pytest.raises(UnsupportedError, match=r"exported.*module\.export"):
        module.export_library("x.so")


@needs_compiler
def test_the_generated_text_carries_the_script_it_came_from() -> None:
    source = compile(add_one()).get_source()
    assert "#     for i in T.parallel(8):" in source
    assert ", 0, 8, 2)" in compile(add_one(), "c --num-cores=2").get_source()
    assert "in_parallel" not in compile(add_one(), "c --num-cores=1").get_source()


@needs_compiler
def test_a_bad_call_raises_before_anything_is_written() -> None:
    module, a = compile(add_one()), np.ones(8, "float32")
    misfits = [np.zeros(8, "float64"), np.zeros(9, "float32"), np.zeros(16, "float32")[::2], a]
    for bad, words in zip(misfits, ["float64", "9", "strides", "overlap"], strict=True):
        before = bad.copy()
        with pytest.raises(CallError, match=words):
            module(a, bad)
        assert np.array_equal(bad, before)


def test_without_a_compiler_the_oracle_runs_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = backend.Backend("cython", backend.BACKENDS["cython"].build, lambda: "no C compiler found")
    monkeypatch.setitem(backend.BACKENDS, "cython", broken)
    with pytest.warns(SlowEngineWarning, match="no C compiler found"):
        module = compile(add_one(), "llvm")
    assert isinstance(module, Module)
    c = np.zeros(8, "float32")
    module["add_one"](np.ones(8, "float32"), c)
    assert (c.tolist(), module.backend) == ([2] * 8, "oracle")
    with pytest.raises(CallError, match="float64"):
        module["add_one"](np.ones(8), c)
    assert module.time_evaluator("add_one", number=1)(c + 0, c).mean > 0


def test_targets_without_a_backend_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"cuda.*compile\.target"):
        compile(add_one(), "cuda")


@pytest.mark.parametrize("thing", [None, 3, "text"])
def test_what_is_no_program_is_refused(thing: object) -> None:
    with pytest.raises(TypeMismatch, match="takes an IRModule or a function"):
        compile(thing)  # type: ignore[arg-type]
    with pytest.raises(MlcrefError, match=r"no functions"):
        compile(IRModule({}))


@needs_compiler
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "float32", "float64"])
def test_pairs_under_a_condition(dtype: str) -> None:
    """gcc 12 loses elements of this loop when it loads under masks: the flags keep it from that."""
    func = from_source(f"""
from mlcref.script import tir as T
@T.prim_func
def pad(A: T.Buffer((8, 2), "{dtype}"), B: T.Buffer((11, 2), "{dtype}")):
    T.func_attr({{"tir.noalias": True}})
    for i, j in T.grid(11, 2):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = T.if_then_else(vi >= 1 and vi < 9, A[vi - 1, vj], T.Cast("{dtype}", 0))
""")
    a, b = np.arange(1, 17, dtype=dtype).reshape(8, 2), np.full((11, 2), -1, dtype)
    compile(func, "cython")["pad"](a, b)
    np.testing.assert_array_equal(b, np.pad(a, ((1, 2), (0, 0))))


@needs_compiler
def test_extents_of_parameters_that_follow_from_others_are_checked() -> None:
    n, m, step = te.var("n"), te.var("m"), te.var("step")
    A = te.placeholder((n, m), name="A")
    B = te.compute((n * 2, (m + 1) // step), lambda i, j: A[i // 2, j * step] + 1.0, name="B")
    module = compile(te.create_prim_func([A, step, B]))
    a, b = np.arange(12, dtype="float32").reshape(3, 4), np.zeros((6, 2), "float32")
    module["main"](a, 2, b)
    np.testing.assert_array_equal(b, a.repeat(2, 0)[:, ::2] + 1)
    untouched = np.zeros((6, 1), "float32")
    for array, by, result, words in [
        (a, 2, untouched, r"main: B.shape\[1\] must be \(m \+ 1\) // step = 2, got 1"),
        (a, 2, np.zeros((5, 2), "float32"), r"B.shape\[0\] must be n \* 2 = 6, got 5"),
        (a, 0, untouched, r"B.shape\[1\] must be \(m \+ 1\) // step = None, got 1"),
        (a, 2, untouched[0], "B has no shape, or one of another rank"),
        (3, 2, untouched, "A has no shape, or one of another rank"),
        (a, "2", untouched, "step must be an integer"),
    ]:
        with pytest.raises(CallError, match=words):
            module["main"](array, by, result)
    with pytest.raises(CallError, match="takes 3 arguments"):
        module["main"](a, b)
    assert not untouched.any()
    assert module.time_evaluator("main", number=1)(a, 2, b).mean > 0
    C = te.compute((te.Select(n > 4, n, 4),), lambda i: A[0, 0] + 1.0, name="C")
    with pytest.raises(UnsupportedError, match=r"the shape of parameter C has the extent T.Select\("):
        compile(te.create_prim_func([A, C]))
