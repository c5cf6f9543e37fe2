"""Expressions as TVMScript. Each text parses back to an equal expression, with as few parentheses as Python needs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

from mlcref import dtype as dt
from mlcref import ir
from mlcref.ir import Buffer, BufferRegion, Const, Expr, GlobalVar, Range, StringImm, Target, Var, constant
from mlcref.ir.typed_number import TypedFloat
from mlcref.script.forms import stop_of
from mlcref.script.page import Page
from mlcref.script.registry import node_printer

OR, AND, NOT, COMPARE, SUM, PRODUCT, UNARY, ATOM = range(1, 9)
"""Binding strength of operators, loosest first."""

Text = tuple[str, int]


def expr_text(page: Page, node: Any, strength: int = 0) -> str:
    """The text of ``node``, in parentheses where it binds looser than ``strength``."""
    make = _PRINT.get(type(node))
    if make is None:
        return _other(page, node)
    text, own = make(page, node)
    text = page.mark(node, text)
    return f"({text})" if own < strength else text


def _other(page: Page, node: Any) -> str:
    printer = node_printer(type(node))
    if printer is not None:
        return page.mark(node, printer(page, node))
    if isinstance(node, ir.Node):
        return f"{type(node).__name__}(...)"
    return repr(node)


def quote(text: str) -> str:
    """A string literal in double quotes."""
    literal = repr(text)
    if literal.startswith("'") and '"' not in literal:
        return f'"{literal[1:-1]}"'
    return literal


def name_of(page: Page, item: Any) -> str:
    """The name of a variable or buffer where it is used."""
    return page.names.bind(item, item.name)


def _var(page: Page, node: Var) -> Text:
    return name_of(page, node), ATOM


def _const(page: Page, node: Const) -> Text:
    if node.type == "int32":
        return str(node.value), ATOM if node.value >= 0 else UNARY
    value = node.value
    if isinstance(value, float) and not math.isfinite(value):
        return f'T.{node.type}("{value}")', ATOM
    if node.type == "float64" and abs(value) == _LARGEST and not page.dialect.wide_literals:
        return f'T.{"max" if value > 0 else "min"}_value("float64")', ATOM
    return f"T.{node.type}({value!r})", ATOM


_LARGEST = sys.float_info.max


def _string(page: Page, node: StringImm) -> Text:
    return quote(node.value), ATOM


def _global(page: Page, node: GlobalVar) -> Text:
    return node.name_hint, ATOM


_INFIX: dict[type[Expr], int] = {
    ir.Add: SUM, ir.Sub: SUM, ir.Mul: PRODUCT, ir.FloorDiv: PRODUCT, ir.FloorMod: PRODUCT, ir.Div: PRODUCT,
    ir.EQ: COMPARE, ir.NE: COMPARE, ir.LT: COMPARE, ir.LE: COMPARE, ir.GT: COMPARE, ir.GE: COMPARE, ir.And: AND,
    ir.Or: OR,
}  # fmt: skip


def _binary(page: Page, node: ir.Binary) -> Text:
    kind = type(node)
    folds = isinstance(node.a, Const) and isinstance(node.b, Const) and dt.is_integer(node.a.dtype)
    if folds or kind not in _INFIX or (kind is ir.Div and not dt.is_float(node.dtype)):
        name = kind.__name__ if folds else _FUNCTIONS.get(kind, kind.__name__)
        return f"T.{name}({expr_text(page, node.a)}, {expr_text(page, node.b)})", ATOM
    strength = _INFIX[kind]
    left = expr_text(page, node.a, strength + 1 if strength == COMPARE else strength)
    return f"{left} {node.symbol} {expr_text(page, node.b, strength + 1)}", strength


_FUNCTIONS: dict[type[Expr], str] = {ir.Min: "min", ir.Max: "max", ir.Mod: "truncmod"}


def _not(page: Page, node: ir.Not) -> Text:
    return f"not {expr_text(page, node.a, NOT)}", NOT


def _cast(page: Page, node: ir.Cast) -> Text:
    return f'T.Cast("{node.type}", {expr_text(page, node.value)})', ATOM


def _select(page: Page, node: ir.Select) -> Text:
    return _function(page, "Select", node.condition, node.true_value, node.false_value)


def _ramp(page: Page, node: ir.Ramp) -> Text:
    return _function(page, "Ramp", node.base, node.stride, node.lanes)


def _broadcast(page: Page, node: ir.Broadcast) -> Text:
    return _function(page, "Broadcast", node.value, node.lanes)


def _function(page: Page, name: str, *args: Any) -> Text:
    return f"T.{name}({', '.join(str(arg) if isinstance(arg, int) else expr_text(page, arg) for arg in args)})", ATOM


def _shuffle(page: Page, node: ir.Shuffle) -> Text:
    vectors, indices = (", ".join(expr_text(page, item) for item in part) for part in (node.vectors, node.indices))
    return f"T.Shuffle([{vectors}], [{indices}])", ATOM


def _let(page: Page, node: ir.Let) -> Text:
    value = expr_text(page, node.value)
    with page.names.frame():
        name = page.define(node.var, node.var.name)
        body = expr_text(page, node.body)
    if page.dialect.declares_lets and page.in_function:
        page.line(f"{name} = T.{node.var.type}()")
    return f"T.Let({body}, where={{{name}: {value}}})", ATOM


_TYPE_FIRST = frozenset(["call_extern", "call_pure_extern", "reinterpret", "type_annotation"])


def _call(page: Page, node: ir.Call) -> Text:
    if node.op == "call_function":
        function, *given = (expr_text(page, arg) for arg in node.args)
        return f"{page.module}.{function}({', '.join(given)})", ATOM
    if node.op == "buffer_argument" and isinstance(node.args[0], ir.BufferLoad):
        return name_of(page, node.args[0].buffer), ATOM
    of_buffer = _OF_BUFFER.get(node.op)
    if of_buffer is not None and isinstance(node.args[0], ir.BufferLoad):
        return f"{name_of(page, node.args[0].buffer)}.{of_buffer}", ATOM
    args = [expr_text(page, arg) for arg in node.args]
    row = ir.INTRINSICS.get(node.op)
    if node.op in _TYPE_FIRST:
        args.insert(0, quote(node.type))
    elif node.op == "tvm_struct_get":
        args.append(quote(node.type))
    elif (row is None and node.type != "handle") or (
        row is not None and row.result == "given" and not row.lazy and node.type != row.type
    ):
        args.append(f'dtype="{node.type}"')
    return f"T.{node.op}({', '.join(args)})", ATOM


_OF_BUFFER = {"buffer_data": "data", "buffer_offset": "elem_offset"}


def _reducer(page: Page, node: ir.CommReducer) -> Text:
    identity = ", ".join(expr_text(page, value) for value in node.identity)
    with page.names.frame():
        names = ", ".join(page.define(var, var.name) for var in (*node.lhs, *node.rhs))
        results = [expr_text(page, value) for value in node.result]
    result = results[0] if len(results) == 1 else f"({', '.join(results)})"
    return f"T.comm_reducer(lambda {names}: {result}, [{identity}])", ATOM


def _load(page: Page, node: ir.BufferLoad) -> Text:
    if not page.dialect.loads_slices:
        return f"{name_of(page, node.buffer)}[{', '.join(expr_text(page, i) for i in node.indices) or '()'}]", ATOM
    return access_text(page, node.buffer, node.indices), ATOM


def access_text(page: Page, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
    """``A[i, j]``; a ramp of step one is a slice."""
    return f"{name_of(page, buffer)}[{', '.join(_index(page, index) for index in indices) or '()'}]"


def _index(page: Page, index: Expr) -> str:
    step = constant(index.stride) if isinstance(index, ir.Ramp) and index not in page.marks else None
    if not isinstance(index, ir.Ramp) or step is None or step < 1 or index.lanes < 2:
        return expr_text(page, index)
    text = _slice(page, Range(index.base, Const(index.lanes * step, index.base.dtype)))
    return text if step == 1 else f"{text}:{step}"


def _slice(page: Page, dim: Range) -> str:
    return f"{expr_text(page, dim.min)}:{expr_text(page, stop_of(dim))}"


def _region(page: Page, node: BufferRegion) -> Text:
    dims = [expr_text(page, dim.min) if _is_point(dim) else _slice(page, dim) for dim in node.region]
    return f"{name_of(page, node.buffer)}[{', '.join(dims) or '()'}]", ATOM


def _is_point(dim: Range) -> bool:
    return constant(dim.extent) == 1 and dim.extent.dtype == dim.min.dtype


def _range(page: Page, node: Range) -> Text:
    return f"range({expr_text(page, node.min)}, {expr_text(page, stop_of(node))})", ATOM


def _iter_var(page: Page, node: ir.IterVar) -> Text:
    return f"{name_of(page, node.var)}: {node.iter_type} {expr_text(page, node.dom)}", ATOM


def _matched(page: Page, node: ir.MatchBufferRegion) -> Text:
    return f"{name_of(page, node.buffer)} = T.match_buffer({expr_text(page, node.source)})", ATOM


def _buffer(page: Page, node: Buffer) -> Text:
    return name_of(page, node), ATOM


_PRINT: dict[type, Callable[[Page, Any], Text]] = {
    Var: _var, Const: _const, StringImm: _string, GlobalVar: _global, ir.Not: _not, ir.Cast: _cast, ir.Select: _select,
    ir.Ramp: _ramp, ir.Broadcast: _broadcast, ir.Let: _let, ir.Call: _call, ir.BufferLoad: _load, BufferRegion: _region,
    Range: _range, ir.IterVar: _iter_var, ir.MatchBufferRegion: _matched, Buffer: _buffer,
    ir.CommReducer: _reducer, ir.Shuffle: _shuffle,
    **dict.fromkeys((*_INFIX, ir.Min, ir.Max, ir.Mod), _binary),
}  # fmt: skip


def is_expression(node: Any) -> bool:
    """Is ``node`` printed in one piece, without lines of its own?"""
    return type(node) in _PRINT or node_printer(type(node)) is not None


def literal(page: Page, value: Any) -> str:
    """A value of an attribute."""
    if isinstance(value, ir.Node):
        return expr_text(page, value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Target):
        return f"T.target({quote(value.spec)})"
    if isinstance(value, dict | ir.Attrs):
        return "{" + ", ".join(f"{literal(page, key)}: {literal(page, item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(literal(page, item) for item in value) + "]"
    if isinstance(value, float) and not isinstance(value, TypedFloat) and not math.isfinite(value):
        return f'T.float64("{value}")'
    return repr(value)


def tuple_text(page: Page, items: tuple[Expr, ...]) -> str:
    """A tuple of expressions, as shapes are written."""
    texts = [expr_text(page, item) for item in items]
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


def buffer_text(
    page: Page, function: str, buffer: Buffer, *first: str, always_dtype: bool = False, last: str = ""
) -> str:
    """``T.<function>(<first>, shape, dtype, …)`` with the fields of ``buffer`` that are not the defaults."""
    parts = [*first, tuple_text(page, buffer.shape)]
    if always_dtype or buffer.type != "float32":
        parts.append(quote(buffer.type))
    if last:
        parts.append(last)
    if buffer.strides:
        parts.append(f"strides={tuple_text(page, buffer.strides)}")
    if buffer.elem_offset is not None:
        parts.append(f"elem_offset={expr_text(page, buffer.elem_offset)}")
    if buffer.scope != "global":
        parts.append(f"scope={quote(buffer.scope)}")
    if buffer.align != 64:
        parts.append(f"align={buffer.align}")
    if buffer.offset_factor:
        parts.append(f"offset_factor={buffer.offset_factor}")
    return f"T.{function}({', '.join(parts)})"
