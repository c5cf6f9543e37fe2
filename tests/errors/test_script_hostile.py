"""Texts that mean harm: none runs code, and each is refused (or read) at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlcref.errors import MlcrefError, ScriptError
from mlcref.script import from_source, print_script
from mlcref.script import tir as T

SECONDS = 5.0


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < SECONDS


def program(*lines: str, above: str = "") -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f'{above}\n@T.prim_func\ndef f(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32")):\n{body}\n'


class Trap:
    """Whatever a text does to this object beyond naming it is recorded."""

    def __init__(self) -> None:
        self.touched: list[str] = []

    def __call__(self, *args: Any) -> int:
        self.touched.append("called")
        return 1

    def __getitem__(self, key: Any) -> int:
        self.touched.append("indexed")
        return 1

    def __add__(self, other: Any) -> int:
        self.touched.append("added")
        return 1


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "eval('1')",
        "exec('1')",
        "open('/etc/passwd')",
        "globals()",
        "getattr(A, 'x')",
        "T.__builtins__",
        "T.__dict__",
        "T.sys",
        "T.axis.__loader__",
        "T.float32.__class__",
        "A.__class__.__mro__",
        "().__class__.__bases__",
        "''.format(A)",
        "'{0.__class__}'.format(A)",
        "f'{A}'",
        "(lambda: 0).__globals__",
        "T.grid.__globals__",
        "T.prim_func.__code__",
        "[x for x in (1,)]",
        "(x := 3)",
        "A[0].__add__",
        "B.data.buffer.__doc__",
        "T.int32.__init__.__globals__",
        "T.target('llvm').__class__",
        "trap(1)",
        "trap[0]",
        "trap + 1",
        "trap.touched.append(1)",
        "max.__self__",
        "len.__call__(A)",
        "int.from_bytes('a')",
        "T.Buffer.__call__",
        "(await trap)",
        "(yield 1)",
        "T.call_packed.__wrapped__",
        "T.meta_var.__kwdefaults__",
        "print(1)",
        "T.macro(trap)",
        "T.prim_func(trap)",
        "T.inline(trap)",
    ],
)
def test_expressions_run_nothing(expression: str) -> None:
    trap = Trap()
    with pytest.raises(ScriptError, match=r"."):
        from_source(program(f"B[0] = {expression}"), env={"trap": trap})
    assert trap.touched == []


@pytest.mark.parametrize(
    "above",
    [
        "print(1)",
        "import os\nos.system('true')",
        "x = __import__('os')",
        "def g():\n    pass",
        "for i in range(3):\n    pass",
        "@print\ndef g():\n    pass",
        "class C:\n    print(1)",
        "del T",
        "with open('x'):\n    pass",
        "try:\n    x\nexcept E:\n    pass",
        "T = 1",
        "x: int = 3",
        "x = y = 1",
        "x = [i for i in (1,)]",
        "from os import system as T",
    ],
)
def test_statements_above_the_definition_run_nothing(above: str) -> None:
    with pytest.raises(ScriptError, match=r"."):
        from_source(program("B[0] = 1", "B[1] = x", above=above))


def test_an_import_brings_namespaces_of_the_parser_only() -> None:
    with pytest.raises(ScriptError, match="os is not defined"):
        from_source(program("B[0] = os.getpid()", above="import os"))


def test_decorators_run_nothing() -> None:
    trap = Trap()
    with pytest.raises(ScriptError, match="decorated"):
        from_source("@trap.method\ndef f():\n    pass", env={"trap": trap})
    with pytest.raises(ScriptError, match="unknown decorator"):
        from_source("@trap(1)\ndef f():\n    pass", env={"trap": trap})
    assert trap.touched == []


def test_defaults_and_annotations_run_nothing() -> None:
    for header in ("def f(a: print('x')):", "def f(a: T.int32 = print('x')):", "def f(a: '__import__(\"os\")'):"):
        with pytest.raises(ScriptError, match=r"."):
            from_source(f"@T.prim_func\n{header}\n    pass")


def test_huge_ranges_are_read_without_counting() -> None:
    func = from_source(
        program("for i in range(10**18):", "    B[0] = 1", "for i, j in T.grid(10**9, 10**9):", "    B[1] = 2")
    )
    assert "1000000000000000000" in print_script(func)


def test_huge_shapes_are_read_without_memory() -> None:
    func = from_source('@T.prim_func\ndef f(A: T.Buffer((10**15, 10**15), "int8")):\n    A[0, 0] = T.int8(1)')
    assert func.params[0].shape[0].value == 10**15


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("10 ** 10 ** 10", "at most 4096 bits"),
        ("9 ** 4096", "at most 4096 bits"),
        ("1 << 10 ** 9", "at most 4096 bits"),
        ("(9 ** 1000) ** 1000", "at most 4096 bits"),
        ("(2 ** 3000) * (2 ** 3000)", "at most 4096 bits"),
        ("'a' * 10 ** 9", "no arithmetic between"),
        ("(1,) * 10 ** 9", "no arithmetic between"),
        ("T.Broadcast(1, 10 ** 9)", "1 to 65535 lanes"),
        ("T.Ramp(0, 1, 10 ** 12)", "1 to 65535 lanes"),
        ("A[0:10 ** 9]", "1 to 65535 lanes"),
        ("A[0:16:0]", "the step of a slice is a positive number"),
        ("A[0:16:-1]", "the step of a slice is a positive number"),
    ],
)
def test_values_that_would_grow_without_end(expression: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        from_source(program(f"T.evaluate({expression})"))


def test_names_that_double_each_other_are_refused() -> None:
    lines = ["e0 = T.meta_var(B[0])", *(f"e{k + 1} = T.meta_var(e{k} + e{k})" for k in range(60)), "B[0] = e60"]
    with pytest.raises(ScriptError, match="more than 100000 nodes"):
        from_source(program(*lines))
    numbers = ["n0 = T.meta_var(3)", *(f"n{k + 1} = T.meta_var(n{k} * n{k})" for k in range(60)), "B[0] = n60"]
    with pytest.raises(ScriptError, match="at most 4096 bits"):
        from_source(program(*numbers))
    tuples = ["t0 = (1, 2)", *(f"t{k + 1} = t{k} + t{k}" for k in range(60)), "B[0] = t60[0]"]
    with pytest.raises(ScriptError, match="at most 4096 items"):
        from_source(program(*tuples))


def test_tuples_of_tuples_that_double_are_refused() -> None:
    lines = ["t0 = (1, 2)", *(f"t{k + 1} = (t{k}, t{k})" for k in range(60)), 'T.func_attr({"t": t60})', "B[0] = 1"]
    with pytest.raises(ScriptError, match="more than 100000"):
        from_source(program(*lines))


def test_lambdas_that_double_each_other_are_refused() -> None:
    with pytest.raises(ScriptError, match="nodes"):
        from_source(program("d = lambda x: x + x", f"B[0] = {'d(' * 40}B[1]{')' * 40}"))
    calls = ["f0 = lambda x: x", *(f"f{k + 1} = lambda x: f{k}(x) + f{k}(x)" for k in range(25)), "B[0] = f25(1)"]
    with pytest.raises(ScriptError, match="more than 100000 expressions"):
        from_source(program(*calls))


def test_lambdas_and_macros_that_call_themselves_are_refused() -> None:
    with pytest.raises(ScriptError, match="more than 32 deep"):
        from_source(program("f = lambda x: f(x)", "B[0] = f(1)"))
    macro = "@T.macro\ndef again(B):\n    again(B)\n"
    with pytest.raises(ScriptError, match="more than 32 deep"):
        from_source(program("again(B)", above=macro))


def test_macros_that_double_each_other_are_refused() -> None:
    macros = "@T.macro\ndef m0(B):\n    B[0] = 1\n" + "".join(
        f"@T.macro\ndef m{k + 1}(B):\n    m{k}(B)\n    m{k}(B)\n" for k in range(25)
    )
    with pytest.raises(ScriptError, match="more than 100000 expressions"):
        from_source(program("m25(B)", above=macros))


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 3000 + "1" + ")" * 3000,
        "-" * 20000 + "1",
        "not " * 20000 + "1",
        "[" * 150 + "]" * 150,
        "1" + " + B[0]" * 50000,
        "B[" * 90 + "0" + "]" * 90 + "[" * 2000,
        "T.max(1, " * 1500 + "1" + ")" * 1500,
        "A" + ".data" * 20000,
        "x" * 1_000_000,
        "1" * 5000,
        "lambda: " * 5000 + "1",
    ],
)
def test_deep_and_long_texts_are_refused_or_read(expression: str) -> None:
    try:
        from_source(program(f"B[0] = {expression}"))
    except MlcrefError as error:
        assert isinstance(error, ScriptError), error  # noqa: PT017  (reading it is right as well)


def test_deep_statements_are_refused() -> None:
    deep = "".join("    " * (k + 1) + f"for i{k} in range(2):\n" for k in range(99))
    with pytest.raises(ScriptError, match=r"."):
        from_source("@T.prim_func\ndef f():\n" + deep + "    " * 101 + "T.evaluate(0)")


@pytest.mark.parametrize("text", ["", "\0", "@", "\ud800", "@T.prim_func", "def f(): pass", "1", "\x00\x01" * 100])
def test_texts_that_are_no_programs(text: str) -> None:
    with pytest.raises(ScriptError, match=r"."):
        from_source(text)


def test_a_python_function_of_the_environment_is_not_called() -> None:
    called: list[int] = []
    for statement in ("g(1)", "B[0] = g(1)", "T.evaluate(g(1))", "B[g(1)] = 1", "for i in g(1):\n        pass"):
        with pytest.raises(ScriptError, match="cannot be called"):
            from_source(program(statement), env={"g": called.append})
    assert called == []


def test_a_packed_call_names_registered_functions_only() -> None:
    import numpy as np

    from mlcref.errors import UnsupportedError
    from mlcref.interp import interpret

    for name in ("os.system", "builtins.print", "subprocess.run"):
        func = from_source(program(f'T.call_packed("{name}", "true")'))
        with pytest.raises(UnsupportedError, match="call_packed of"):
            interpret(func, np.zeros(16, "float32"), np.zeros(16, "int32"))


def test_the_namespace_itself_stays_as_it_is() -> None:
    before = set(dir(T))
    with pytest.raises(ScriptError, match=r"."):
        from_source(program("T.float32 = 1"))
    assert set(dir(T)) == before
