"""What each expression of TVMScript means, one example each."""

from __future__ import annotations

import pytest

from mlcref import ir
from mlcref.ir import Const, Evaluate
from mlcref.script import from_source, print_script
from mlcref.script import tir as T

PARAMS = 'A: T.Buffer((16, 16), "float32"), B: T.Buffer((16,), "int32"), k: T.int32, x: T.float32, n: T.int64'


def value_of(text: str) -> ir.Expr:
    """The expression ``text``, with the parameters in scope."""
    stmt = from_source(f"@T.prim_func(s_tir=False)\ndef f({PARAMS}):\n    T.evaluate({text})\n").body
    assert isinstance(stmt, Evaluate)
    return stmt.value


@pytest.mark.parametrize(
    ("text", "printed", "dtype"),
    [
        ("128 // 4 - 2 ** 3", "24", "int32"),
        ("k + 1", "k + 1", "int32"),
        ("n + 1", "n + T.int64(1)", "int64"),
        ("1 - x", "T.float32(1.0) - x", "float32"),
        ("k + x", 'T.Cast("float32", k) + x', "float32"),
        ("-k", "k * -1", "int32"),
        ("+k", "k", "int32"),
        ("k / 2.0", 'T.Cast("float32", k) / T.float32(2.0)', "float32"),
        ("1 < k", "1 < k", "bool"),
        ("0 <= k < 8", "0 <= k and k < 8", "bool"),
        ("k < 1 or not k == 2 and k != 3", "k < 1 or not k == 2 and k != 3", "bool"),
        ("T.And(k < 1, T.Or(k > 2, T.Not(k == 3)))", "k < 1 and (k > 2 or not k == 3)", "bool"),
        ("T.all(k < 1, k < 2, k < 3)", "k < 1 and k < 2 and k < 3", "bool"),
        ("T.any(k < 1, k < 2)", "k < 1 or k < 2", "bool"),
        ("k % 4 // 2", "k % 4 // 2", "int32"),
        ("k << 2 | k >> 1", "T.bitwise_or(T.shift_left(k, 2), T.shift_right(k, 1))", "int32"),
        ("k & 3 ^ ~k", "T.bitwise_xor(T.bitwise_and(k, 3), T.bitwise_not(k))", "int32"),
        ("k if k > 0 else 1", "T.if_then_else(k > 0, k, 1)", "int32"),
        ("T.if_then_else(k > 0, x, 0)", "T.if_then_else(k > 0, x, T.float32(0.0))", "float32"),
        ("T.Select(k > 0, 1, k)", "T.Select(k > 0, 1, k)", "int32"),
        ("T.max(x, 0)", "T.max(x, T.float32(0.0))", "float32"),
        ("T.min(3, k)", "T.min(3, k)", "int32"),
        ("T.truncdiv(k, 2) + T.truncmod(k, 2)", "T.Div(k, 2) + T.truncmod(k, 2)", "int32"),
        ("T.floordiv(k, 2) + T.floormod(k, 2)", "k // 2 + k % 2", "int32"),
        ("T.ceildiv(k, 4)", "(k + 3) // 4", "int32"),
        ("T.ceildiv(10, 4)", "3", "int32"),
        ("T.Cast('float16', x)", 'T.Cast("float16", x)', "float16"),
        ("T.cast(k, 'int8')", 'T.Cast("int8", k)', "int8"),
        ("k.astype('int64')", 'T.Cast("int64", k)', "int64"),
        ("T.float32(k)", 'T.Cast("float32", k)', "float32"),
        ("T.float32('inf')", 'T.float32("inf")', "float32"),
        ("T.infinity('float16')", 'T.float16("inf")', "float16"),
        ("T.min_value('int8')", "T.int8(-128)", "int8"),
        ("T.max_value('float16')", "T.float16(65504.0)", "float16"),
        ("T.min_value('bfloat16') < T.bfloat16(0)", "T.bfloat16(-3.3895313892515355e+38) < T.bfloat16(0.0)", "bool"),
        ("T.exp(x) + T.fabs(x)", "T.exp(x) + T.abs(x)", "float32"),
        ("T.power(x, 2)", "T.pow(x, T.float32(2.0))", "float32"),
        ("T.bool(True)", "T.bool(True)", "bool"),
        ("T.Add(1, 2)", "T.Add(1, 2)", "int32"),
        ("T.Let(y + 1, where={y: k})", "T.Let(y + 1, where={y: k})", "int32"),
        ("T.call_extern('f', k, dtype='int8')", 'T.call_extern("int8", "f", k)', "int8"),
        ("T.call_extern('float32', 'f', 'text')", 'T.call_extern("float32", "f", "text")', "float32"),
        ("T.call_packed('f', k)", 'T.call_packed("f", k)', "int32"),
        ("T.Broadcast(x, 4) * T.ramp(x, 1, 4)", "T.Broadcast(x, 4) * T.Ramp(x, T.float32(1.0), 4)", "float32x4"),
        ("A[0, 0:4]", "A[0, 0:4]", "float32x4"),
        ("A[B[k], k]", "A[B[k], k]", "float32"),
        ("T.likely(k < 4)", "T.likely(k < 4)", "bool"),
        ("A.shape[0] + len((1, 2)) + max(3, 4)", "22", "int32"),
        ("2147483648", "T.int64(2147483648)", "int64"),
    ],
)
def test_expressions(text: str, printed: str, dtype: str) -> None:
    expr = value_of(text)
    assert (print_script(expr), expr.dtype) == (printed, dtype)


def test_every_intrinsic_can_be_called() -> None:
    for row in ir.INTRINSICS.values():
        if row.arity is not None and not row.lazy and row.result != "given":
            operand = "k" if row.operands == "integer" else "x"
            call = value_of(f"T.{row.name}({', '.join([operand] * row.arity)})")
            assert isinstance(call, ir.Call)
            assert call.op == row.name


def test_names_of_T_build_nodes_outside_scripts() -> None:
    x = T.float32()
    assert repr(T.exp(T.max(x, 0.0))).startswith("T.exp(T.max(")
    assert T.Buffer((4,), "int8").dtype == "int8"
    assert T.float32x4(1.0).dtype == "float32x4"
    assert isinstance(T.int64(3), Const)
