"""Texts that cannot be read: the message, the place, the hint. And texts that are warned about."""

# ruff: noqa: E501 -- programs stand on one line here
from __future__ import annotations

import warnings

import pytest

from mlcref.errors import ScriptError, ScriptWarning, UnsupportedError
from mlcref.script import from_source
from mlcref.script import tir as T

HEAD = '@T.prim_func\ndef f(A: T.Buffer((128, 64), "float32"), B: T.Buffer((8,), "int32"), k: T.int32):\n'


def refused(body: str, head: str = HEAD) -> ScriptError:
    """The error that a function with this body raises."""
    lines = "\n".join("    " + line for line in body.splitlines())
    with pytest.raises(ScriptError, match=r".") as caught:
        from_source(head + lines, filename="prog.py")
    return caught.value


def marked(error: ScriptError) -> str:
    """The text above the carets."""
    return error.source_line[error.column - 1 : error.column - 1 + error.width]


@pytest.mark.parametrize(
    ("body", "message", "place", "hint"),
    [
        ("A[0, 0] = x", "x is not defined", "x", None),
        ("A[0, 0] = T.float32(kk)", "kk is not defined", "kk", "did you mean k?"),
        ("A[0, 0] = T.exq(A[0, 0])", "T.exq is unknown", "T.exq", "did you mean"),
        ("A[0] = 1.0", "A has 2 dimensions but is indexed with 1", "A[0]", None),
        ("B[0] = A[0, 0, 0]", "A has 2 dimensions but is indexed with 3", "A[0, 0, 0]", None),
        ("B[A[0, 0]] = 1", "an index of B is float32, not an integer", "A[0, 0]", None),
        ("A[0, 0] = A", "a buffer|Buffer", "A[0, 0] = A", None),
        ("A[0, 0] = k / 2", "`/` on int32 is ambiguous", "k / 2", "use //"),
        ("A[0, 0] = A[0, 0] // 2.0", "defined on integers", "A[0, 0] // 2.0", None),
        ("B[0] = T.int8(300)", "300 does not fit int8", "T.int8(300)", None),
        ("A[0, 0] = T.exp(k)", "exp is defined on float operands, not on int32", "T.exp(k)", None),
        ("A[0, 0] = T.exp()", "exp takes 1 arguments, got 0", "T.exp()", None),
        ("A[0, 0] = T.Cast('float33', k)", "unknown data type 'float33'", "T.Cast('float33', k)", None),
        ("A[0, 0] = T.max(k)", "T.max: missing a required argument", "T.max(k)", None),
        ("A[0, 0] = max(k, 0)", r"max\(\) works on numbers known to the parser", "max(k, 0)", "T.max"),
        ("T.where(k)", "stands outside of a block", "T.where(k)", None),
        ("T.reads(A)", "stands outside of a block", "T.reads(A)", None),
        ("vi = T.axis.spatial(8, k)", "T.axis stands outside of a block", "vi = T.axis.spatial(8, k)", None),
        ("with T.init():\n    B[0] = 0", "T.init stands outside of a block", "T.init()", None),
        ("with T.block('b'):\n    T.where(k)\n    B[0] = 1", "a condition is bool, not int32", "T.where(k)", "compare"),
        ("with T.block('b'):\n    v = T.axis.remap('S', [k])\n    B[v] = 1", "k is no loop variable",
         "v = T.axis.remap('S', [k])", "T.axis.spatial"),
        ("with T.block('b'):\n    v = T.axis.remap('SS', [k])\n    B[v] = 1", "2 iterator types for 1 loops",
         "T.axis.remap('SS', [k])", None),
        ("for i, j in T.grid(4):\n    B[i] = 0", "2 loop variables for 1 loops", "i, j", None),
        ("for i in B:\n    B[i] = 0", "nothing to loop over", "B", "T.grid"),
        ("for i in range(0, 8, 0):\n    B[i] = 0", "the step of a loop is positive, not 0", "range(0, 8, 0)", "count up"),
        ("for i in range(A[0, 0]):\n    B[0] = 0", "a range counts integers, not float32", "range(A[0, 0])", None),
        ("for i in T.thread_binding(8):\n    B[i] = 0", "needs a thread axis", "T.thread_binding(8)", "blockIdx.x"),
        ("for i in T.thread_binding(8, thread='warp'):\n    B[i] = 0", "unknown thread axis 'warp'", "for i in", None),
        ("if k:\n    B[0] = 0", "a condition is bool, not int32", "k", None),
        ("x = k\nfor i in range(4):\n    x = x + i\nB[0] = x", "x is bound outside of this statement list", "x = x + i", "buffer"),
        ("n = T.int64()\nfor i in range(n):\n    B[i] = 0", "variable n is used where it is not bound", "for i in range(n):", None),
        ("k + 1", "is no statement", "k + 1", "T.evaluate"),
        ("a, b = 1, 2, 3", "2 names for 3 values", "a, b", None),
        ("x: 3 = k", "3 is no data type", "3", None),
        ("A = T.alloc_buffer((2.5,))", "a dimension counts elements", "T.alloc_buffer((2.5,))", None),
        ("B[0] = ()[1]", "no item 1", "1", None),
        ("B[0] = None", "no expression", "B[0] = None", None),
        ("B[0] = 1 + 'a'", "no arithmetic between int and str", "1 + 'a'", None),
        ("B[0] = 2 ** 5000", "numbers of the parser have at most 4096 bits", "2 ** 5000", None),
        ("B[0] = 1 // 0", "by zero", "1 // 0", None),
        ("V = T.decl_buffer((4,), data=A)", "data= must be the memory of a buffer", "T.decl_buffer((4,), data=A)", "A.data"),
    ],
)  # fmt: skip
def test_errors_point_at_the_culprit(body: str, message: str, place: str, hint: str | None) -> None:
    error = refused(body)
    with pytest.raises(ScriptError, match=message):
        raise error
    assert marked(error).startswith(place)
    assert error.filename == "prog.py"
    if hint is not None:
        assert error.hint is not None
        assert hint in error.hint


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("T.print_buffer(A.data)", "T.print_buffer"),
        ("T.evaluate(A.offset_of([0, 0])[0])", "Buffer.offset_of"),
        ("import os", "Import statements"),
        ("if B[0] > 0:\n    return", "a return without a value"),
        ("B[0] = (lambda *i: 1)()", "parameters of a lambda"),
        ("B[0] = [x for x in (1, 2)][0]", "a list comprehension"),
        ("B[0] = f'{k}'", "an f-string"),
        ("B[0] = 1 in (1, 2)", "comparison In"),
        ("B[0] = len(*(), **{})", r"\*\* in a call"),
        ("B[0] = print(1)", "print"),
        ("a = b = 1", "a chained assignment"),
        ("del B", "Delete statements"),
    ],
)
def test_what_is_known_and_not_read_is_named(body: str, name: str) -> None:
    error = refused(body)
    with pytest.raises(ScriptError, match=name):
        raise error
    assert isinstance(error, UnsupportedError) or "not defined" in error.what


def test_the_drawing_has_file_line_column_and_caret() -> None:
    error = refused("for i in range(8):\n    B[i] = B[i] + undefined_name")
    assert str(error) == (
        "undefined_name is not defined  [script.name]\n"
        "  prog.py:4:23\n"
        "            B[i] = B[i] + undefined_name\n"
        "                          ^^^^^^^^^^^^^^"
    )


def test_columns_count_characters_not_bytes() -> None:
    error = refused('assert k > 0, "größer"; B[0] = nix')
    assert marked(error) == "nix"


def test_errors_in_decorated_functions_name_this_file() -> None:
    with pytest.raises(ScriptError, match="missing is not defined") as caught:

        @T.prim_func
        def f(A: T.Buffer((4,), "float32")):
            A[0] = missing

    assert caught.value.filename == __file__
    assert caught.value.source_line.strip() == "A[0] = missing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@T.prim_func\ndef f(A:", "syntax error"),
        ("x = 1", "defines 0 functions and classes"),
        ("def f(): pass", "f has no decorator"),
        ("@decorate\ndef f(): pass", "unknown decorator decorate"),
        ("@Q.function\ndef f(): pass", "functions decorated with Q.function"),
        ("@T.prim_func(fast=True)\ndef f(): pass", "option fast of a function"),
        ("@T.prim_func\ndef f(a): pass", "parameter a has no type"),
        ("@T.prim_func\ndef f(a: 3): pass", "3 is no type of a parameter"),
        ("@T.prim_func\ndef f(a: T.handle): pass", "handle parameter a is never matched"),
        ("@T.prim_func\ndef f(a: T.int32 = 1): pass", "plain names without defaults"),
        ("@T.prim_func(s_tir=False)\ndef f():\n    with T.block('b'):\n        pass", "a block in a flat function"),
        ("@T.prim_func(s_tir=False)\ndef f():\n    A = T.sblock_alloc_buffer((4,))", "a block allocation in a flat function"),
        ("@T.prim_func\ndef f():\n    with T.block():\n        A = T.allocate([4])", "T.allocate in a function with blocks"),
        ("@I.ir_module\nclass M:\n    x = 1", "Assign in the body of a module"),
        ("@I.ir_module\nclass M:\n    @T.prim_func\n    def f(): pass\n    @T.prim_func\n    def f(): pass", "two functions called f"),
        ("open('/etc/passwd')", "a text has imports, constants and one definition"),
        ("@T.prim_func\ndef f(a: T.handle):\n    A = T.match_buffer(a, 4)\n    B = T.match_buffer(a, 4)", "matched to a buffer already"),
    ],
)  # fmt: skip
def test_definitions_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        from_source(text)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "T.__loader__",
        "().__class__",
        "T.sys",
        "env_function(1)",
        "text.format(1)",
        "T.register_namespace",
    ],
)
def test_a_text_reaches_nothing_but_the_names_it_is_given(expression: str) -> None:
    called = []
    text = f'@T.prim_func\ndef f(A: T.Buffer((4,), "int32")):\n    A[0] = {expression}'
    with pytest.raises(ScriptError, match=r"not defined|unknown|no attribute|cannot be called"):
        from_source(text, env={"env_function": called.append, "text": "x"})
    assert not called


def warned(extent: int, domain: str, where: str = "") -> list[str]:
    text = (
        f"@T.prim_func\ndef f(A: T.Buffer((128,), 'float32')):\n    for i in range({extent}):\n        with T.block('C'):\n"
        f"            vi = T.axis.spatial({domain}, i)\n{where}            A[vi] = 0.0\n"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from_source(text, filename="course.py")
    assert all(w.category is ScriptWarning for w in caught)
    return [str(w.message) for w in caught]


def test_a_loop_and_an_axis_that_differ_are_warned_about() -> None:
    assert warned(127, "128") == [
        "loop i has extent 127 but axis vi has domain 128\n  course.py:5:18\n"
        "                vi = T.axis.spatial(128, i)\n"
        "                     ^^^^^^^^^^^^^^^^^^^^^^"
    ]
    assert len(warned(128, "127")) == 1
    assert not warned(128, "128")
    assert not warned(128, "(0, 128)")


def test_a_guarded_longer_loop_is_not_warned_about() -> None:
    where = "            T.where(i < 128)\n"
    assert not warned(130, "128", where)
    assert len(warned(127, "128", where)) == 1
