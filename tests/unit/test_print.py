"""How programs are written: TVM's layout, unique names, few parentheses; drawings under errors."""

# ruff: noqa: E501 -- programs stand on one line here
from __future__ import annotations

import pytest

from mlcref import ir
from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.ir import Attrs, Buffer, BufferStore, Const, For, IRModule, PrimFunc, Var, structural_equal
from mlcref.script import draw, from_source, html, print_script, show

X, Y = Var("x", "float32"), Var("y", "float32")
I, J, N = Var("i"), Var("j"), Var("n", "int64")
A = Buffer("A", (Const(8), Const(8)), "float32")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (I + J + 1, "i + j + 1"),
        (I + (J + 1), "i + (j + 1)"),
        (I - (J - 1), "i - (j - 1)"),
        ((I + J) * 2, "(i + j) * 2"),
        (I * (J // 2), "i * (j // 2)"),
        (I // 2 % 3, "i // 2 % 3"),
        (I * -1 + J, "i * -1 + j"),
        (ir.Add(Const(-1), I), "-1 + i"),
        (N + 1, "n + T.int64(1)"),
        (ir.Add(Const(1), Const(2)), "T.Add(1, 2)"),
        (ir.LT(Const(1), Const(2)), "T.LT(1, 2)"),
        (ir.Min(Const(1), Const(2)), "T.Min(1, 2)"),
        (ir.Div(I, J), "T.Div(i, j)"),
        (ir.Mod(I, J), "T.truncmod(i, j)"),
        (X / Y * X, "x / y * x"),
        (X / (Y * X), "x / (y * x)"),
        (ir.And(I < 1, ir.Or(I > 2, ir.Not(I.__eq__(J)))), "i < 1 and (i > 2 or not i == j)"),
        (ir.Or(ir.And(I < 1, I < 2), I < 3), "i < 1 and i < 2 or i < 3"),
        (ir.EQ(I < J, J < I), "(i < j) == (j < i)"),
        (ir.Not(ir.And(I < 1, I < 2)), "not (i < 1 and i < 2)"),
        (ir.Cast("int64", I) + N, 'T.Cast("int64", i) + n'),
        (ir.Select(I < J, X, Y), "T.Select(i < j, x, y)"),
        (ir.call("if_then_else", I < J, X, Y), "T.if_then_else(i < j, x, y)"),
        (ir.Max(X, Const(0.0, "float32")), "T.max(x, T.float32(0.0))"),
        (A[I, J + 1] * 2.0, "A[i, j + 1] * T.float32(2.0)"),
        (ir.BufferLoad(A, (I, ir.Ramp(J * 4, Const(1), 4))), "A[i, j * 4:j * 4 + 4]"),
        (ir.BufferLoad(A, (I, ir.Ramp(J, Const(2), 4))), "A[i, j:j + 8:2]"),
        (ir.Let(J, I * 2, J + J), "T.Let(j + j, where={j: i * 2})"),
        (Const(float("nan"), "float32"), 'T.float32("nan")'),
        (Const(True, "bool"), "T.bool(True)"),
        (ir.StringImm('say "hi"'), "'say \"hi\"'"),
        (ir.call("call_extern", "f", I, dtype="void"), 'T.call_extern("void", "f", i)'),
    ],
)
def test_expressions(expr: ir.Expr, text: str) -> None:
    assert print_script(expr) == text


def test_other_nodes_have_a_short_form() -> None:
    point = ir.Range(I, Const(1))
    assert repr(ir.BufferRegion(A, (point, ir.Range(Const(0), Const(8))))) == "A[i, 0:8]"
    assert repr(ir.Range(Const(2), Const(3))) == "range(2, 5)"
    assert repr(ir.IterVar(I, ir.Range(Const(0), Const(8)), "spatial")) == "i: spatial range(0, 8)"
    match = ir.MatchBufferRegion(Buffer("M", (Const(8),)), ir.BufferRegion(A, (point, point)))
    assert repr(match) == "M = T.match_buffer(A[i, i])"
    assert repr(ir.GlobalVar("main")) == "main"


def nest(names: list[str]) -> PrimFunc:
    """Loops of these names around a store that uses all of them."""
    variables = [Var(name) for name in names]
    total: ir.Expr = Const(0)
    for var in variables:
        total = total + var
    body: ir.Stmt = BufferStore(A, Const(0.0, "float32"), (total, total))
    for var in reversed(variables):
        body = For(var, Const(0), Const(2), "serial", body)
    return PrimFunc((A,), ir.BlockRealize((), (), ir.make_block("root", body)))


def test_names_are_unique_and_valid() -> None:
    text = nest(["i", "i", "A", "for", "a.b", "T", "", "1x"]).script()
    assert "for i, i_1, A_1, for_1, a_b, T_1, v, v1x in T.grid(2, 2, 2, 2, 2, 2, 2, 2):" in text
    assert structural_equal(nest(["i"] * 8), from_source(text))


def test_names_of_siblings_are_used_again() -> None:
    text = '@T.prim_func\ndef f(A: T.Buffer((4,), "float32")):\n    for i in range(4):\n        A[i] = 0.0\n    for i in range(4):\n        A[i] = 1.0'
    printed = from_source(text).script()
    assert printed.count("for i in range(4):") == 2
    assert "i_1" not in printed


def loops_of(text: str) -> str:
    """The printed body of a function with this body."""
    source = '@T.prim_func\ndef f(A: T.Buffer((64, 64), "float32"), k: T.int32):\n' + "\n".join(
        "    " + t for t in text.splitlines()
    )
    return print_script(from_source(source).root.body)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("for i in range(4):\n    for j in T.serial(k):\n        A[i, j] = 0.0", "for i, j in T.grid(4, k):"),
        ("for i in range(4):\n    for j in range(i):\n        A[i, j] = 0.0", "for i in range(4):\n    for j in range(i):"),
        ("for i in range(1, 5):\n    for j in range(4):\n        A[i, j] = 0.0", "for i in range(1, 5):\n    for j in range(4):"),
        ("for i in range(k, k + 4):\n    A[i, 0] = 0.0", "for i in range(k, k + 4):"),
        ("for i in range(1, k):\n    A[i, 0] = 0.0", "for i in range(1, 1 + (k - 1)):"),
        ("for i in range(k, 9):\n    A[i, 0] = 0.0", "for i in range(k, 9):"),
        ('for i in T.thread_binding(4, "vthread", annotations={"a": "b"}):\n    A[i, 0] = 0.0',
         'for i in T.thread_binding(4, thread="vthread", annotations={"a": "b"}):'),
        ("for i in T.unroll(4):\n    for j in range(4):\n        A[i, j] = 0.0", "for i in T.unroll(4):\n    for j in range(4):"),
    ],
)  # fmt: skip
def test_loops(text: str, printed: str) -> None:
    out = loops_of(text)
    assert out.startswith(printed)
    assert loops_of(out) == out


def test_axes_are_remapped_in_runs() -> None:
    out = loops_of(
        "for i, j, q in T.grid(4, 4, 4):\n    with T.block('b'):\n        a = T.axis.S(4, i)\n        b = T.axis.R(4, j)\n"
        "        c = T.axis.S(16, q * 4)\n        d = T.axis.S(4, q)\n        T.where(q < 3 and i < 2)\n        A[a, b] = A[c, d]"
    )
    assert out.splitlines()[2:8] == [
        '        a, b = T.axis.remap("SR", [i, j])',
        "        c = T.axis.spatial(16, q * 4)",
        "        d = T.axis.spatial(4, q)",
        "        T.where(q < 3 and i < 2)",
        "        T.reads(A[c, d])",
        "        T.writes(A[a, b])",
    ]


def test_lets_before_other_statements_are_written_with_with() -> None:
    out = loops_of("x: T.int32 = k + 1\nA[0, x] = 0.0")
    assert out == "x: T.int32 = k + 1\nA[0, x] = T.float32(0.0)"
    out = loops_of("with T.LetStmt(k + 1) as x:\n    A[0, x] = 0.0\nA[0, 1] = 0.0")
    assert out == "with T.LetStmt(k + 1) as x:\n    A[0, x] = T.float32(0.0)\nA[0, 1] = T.float32(0.0)"


def test_options() -> None:
    func = nest(["i"]).with_attr("global_symbol", "f")
    assert func.script(show_meta=False, verbose_expr=True) == func.script()
    assert "def other(" in func.script(name="other")
    assert '"global_symbol": "f"' in func.script(name="other")
    assert not func.script(header=False).startswith("#")
    assert "class Mine:" in IRModule({"f": func}).script(name="Mine")
    assert "\n  for i in range(2):\n    A[0 + i, 0 + i]" in func.script(indent_spaces=2)
    with pytest.raises(UnsupportedError, match="no option 'colour'"):
        func.script(colour=True)
    with pytest.raises(MlcrefError, match="unknown dialect 'tirz'"):
        func.script(dialect="tirz")


def test_attributes_are_written_as_literals() -> None:
    target = ir.Target("llvm --num-cores=2")
    attrs = {
        "global_symbol": "f",
        "target": target,
        "n": [1, {"a": (2.5, None)}],
        "tir.noalias": True,
        "big": float("inf"),
    }
    func = ir.replace(nest(["i"]), attrs=Attrs(attrs))
    again = from_source(func.script())
    assert again.attrs["target"] == target
    assert again.attrs["n"] == [1, {"a": [2.5, None]}]
    assert again.attrs["big"] == float("inf")
    assert '"tirx.noalias": True' in func.script(dialect="tirx")


def test_an_inner_block_called_root_stays_inner() -> None:
    inner = ir.BlockRealize((), (), ir.make_block("root", BufferStore(A, Const(0.0, "float32"), (Const(0), Const(0)))))
    func = PrimFunc((A,), ir.BlockRealize((), (), ir.make_block("root", inner)))
    assert structural_equal(func, from_source(func.script()))


def test_a_drawing_underlines_nodes_on_their_lines() -> None:
    func = from_source(
        '@T.prim_func\ndef f(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8,), "float32")):\n'
        "    for i, j in T.grid(8, 8):\n        with T.block('b'):\n            vi, vj = T.axis.remap('SR', [i, j])\n"
        "            with T.init():\n                B[vi] = 0.0\n            B[vi] = B[vi] + A[vi, vj] * A[vi, vj]\n"
    )
    loop = func.root.body
    block = loop.body.body.block
    product = block.body.value.b
    marks = [
        (loop.body, "the loop"),
        (block, "the block"),
        (product.b, "twice"),
        (product, "the product"),
        (A, "not there"),
    ]
    assert draw(func, marks).splitlines() == [
        '  def f(A: T.Buffer((8, 8), "float32"), B: T.Buffer((8,), "float32")):',
        "      for i in range(8):",
        "          for j in range(8):",
        "          ^^^^^^^^^^^^^^^^^^  the loop",
        '              with T.block("b"):',
        "              ^^^^^^^^^^^^^^^^^^  the block",
        "                  B[vi] = B[vi] + A[vi, vj] * A[vi, vj]",
        "                                              ^^^^^^^^^  twice",
        "                                  ^^^^^^^^^^^^^^^^^^^^^  the product",
    ]


def test_a_drawing_finds_bindings_regions_and_iterators() -> None:
    func = from_source(
        '@T.prim_func\ndef f(A: T.Buffer((8,), "float32")):\n    Y = T.alloc_buffer((8,))\n    for i in range(8):\n'
        "        with T.block('b'):\n            vi = T.axis.S(8, i)\n            Y[vi] = A[vi]\n"
    )
    block = ir.blocks_in(func.body)[1]
    marks = [(func.root.alloc_buffers[0], "Y"), (block.iter_vars[0], "v"), (block.reads[0], "r"), (func, "f"),
             (block.iter_vars[0].var, "name"), (block.token, "block")]  # fmt: skip
    assert draw(func, marks).splitlines() == [
        '  def f(A: T.Buffer((8,), "float32")):',
        "  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^  f",
        "      Y = T.alloc_buffer((8,))",
        "      ^  Y",
        "      for i in range(8):",
        '          with T.block("b"):',
        "          ^^^^^^^^^^^^^^^^^^  block",
        "              vi = T.axis.spatial(8, i)",
        "              ^^  name",
        "              ^^^^^^^^^^^^^^^^^^^^^^^^^  v",
        "              T.reads(A[vi])",
        "                      ^^^^^  r",
    ]


def test_errors_draw_themselves() -> None:
    func = nest(["i"])
    loop = func.root.body
    error = MlcrefError("wrong", rule="x.P1", root=func, marks=[(loop, "this loop")], hint="turn back")
    assert str(error).splitlines()[-3:] == [
        "      for i in range(2):",
        "      ^^^^^^^^^^^^^^^^^^  this loop",
        "hint: turn back",
    ]


def test_show_prints_plain_text_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    func = nest(["i"])
    show(func)
    func.show()
    assert capsys.readouterr().out == (func.script() + "\n") * 2


def test_html_is_coloured_and_complete() -> None:
    text = html(nest(["i"]))
    assert text.startswith("<pre>")
    assert "<span style=" in text
    assert "T.grid" not in text
    assert "range" in text
    assert nest(["i"])._repr_html_().startswith("<pre>")
    assert IRModule({})._repr_html_().startswith("<pre>")
