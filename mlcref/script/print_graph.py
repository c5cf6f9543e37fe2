"""Graph functions as TVMScript, in TVM's layout. The text parses back to a structurally equal function.

Constants of more than a few elements are left out of the text, as in TVM: ``metadata["relax.expr.Constant"][0]`` stands
for one, and the text parses back with ``env={"metadata": metadata_of(mod)}``. ``script(show_meta=True)`` writes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.ir import BaseFunc, Binary, Const, Expr, GlobalVar, IRModule, Node, graph, replace, rewrite, walk
from mlcref.script.page import Page
from mlcref.script.print import print_page
from mlcref.script.print_expr import expr_text, literal, name_of, quote
from mlcref.script.registry import register_function_printer, register_node_printer

INLINE_ELEMENTS = 16
"""Constants of up to so many elements are always written in full."""

_METADATA = "relax.expr.Constant"
_DESTINATION_CALLS = (graph.CALL_TIR, graph.CALL_DPS_PACKED)


def metadata_of(program: IRModule | BaseFunc) -> dict[str, list[graph.Constant]]:
    """The constants that the script of ``program`` names instead of writing them: the parser's ``env["metadata"]``."""
    return {_METADATA: list(print_page(program).constants)}


def print_graph_function(page: Page, func: graph.Function, name: str) -> None:
    """Write ``func`` as a function called ``name``."""
    page.line("@R.function" if "global_symbol" in func.attrs else "@R.function(private=True)")
    with page.names.frame():
        params = [f"{page.define(p, p.name_hint)}: {_describe(page, p.struct_info, True)}" for p in func.params]
        result = _describe(page, func.ret_struct_info, True)
        page.line(f"def {name}({', '.join(params)}) -> {result}:", func)
        with page.indented():
            _function_body(page, func, name)


def _function_body(page: Page, func: graph.Function, name: str) -> None:
    attrs = {key: value for key, value in func.attrs.items() if key != "global_symbol" or value != name}
    if attrs:
        page.line(f"R.func_attr({literal(page, attrs)})")
    for var in func.all_dims():
        page.line(f"{page.define(var, var.name)} = T.int64()")
    if any(isinstance(node, GlobalVar) for node in walk(func)):
        page.line("cls = Module")
    for block in func.body.blocks:
        _block(page, block)
    page.line(f"return {expr_text(page, func.body.body)}", func.body.body)


def _block(page: Page, block: graph.BindingBlock) -> None:
    if not isinstance(block, graph.DataflowBlock):
        for binding in block.bindings:
            page.line(_binding(page, binding), binding)
        return
    outputs = [binding.var for binding in block.bindings if not isinstance(binding.var, graph.DataflowVar)]
    names = [page.names.bind(var, var.name_hint) for var in outputs]
    page.line("with R.dataflow():", block)
    with page.indented():
        for binding in block.bindings:
            page.line(_binding(page, binding), binding)
        page.line(f"R.output({', '.join(names)})")


def _binding(page: Page, binding: graph.Binding) -> str:
    """A binding; it says what its value is where the text of the value does not."""
    value = expr_text(page, binding.value)
    info = binding.var.struct_info
    if isinstance(binding, graph.MatchCast):
        value, said = f"R.match_cast({value}, {_describe(page, binding.struct_info)})", ""
    else:
        inferred = isinstance(binding.value, graph.Call) and binding.value.op not in _DESTINATION_CALLS
        said = f": {_describe(page, info)}" if inferred else ""
    return f"{page.define(binding.var, binding.var.name_hint)}{said} = {value}"


def _lines(page: Page, write: Callable[[Page], None]) -> str:
    """What ``write`` writes, as one text; for blocks that are printed by themselves."""
    inner = Page(page.dialect, indent=len(page.indent))
    write(inner)
    return inner.text()


# Descriptions of values


def _describe(page: Page, info: graph.StructInfo, quoted: bool = False) -> str:
    if isinstance(info, graph.TensorStructInfo):
        if info.shape is not None:
            return f"R.Tensor({_tuple(_extents(page, info.shape, quoted))}, dtype={quote(info.dtype)})"
        rank = "" if info.ndim < 0 else f", ndim={info.ndim}"
        return f"R.Tensor(dtype={quote(info.dtype)}{rank})"
    if isinstance(info, graph.ShapeStructInfo):
        if info.values is not None:
            return f"R.Shape([{', '.join(_extents(page, info.values, quoted))}])"
        return "R.Shape()" if info.ndim < 0 else f"R.Shape(ndim={info.ndim})"
    if isinstance(info, graph.TupleStructInfo):
        return f"R.Tuple({', '.join(_describe(page, field, quoted) for field in info.fields)})"
    return "R.Object"


def _extents(page: Page, extents: Iterable[Expr], quoted: bool) -> list[str]:
    texts = []
    for extent in extents:
        text = str(extent.value) if isinstance(extent, Const) else expr_text(page, rewrite(_plain_numbers, extent))
        texts.append(text if isinstance(extent, Const) or not quoted else quote(text))
    return texts


def _plain_numbers(node: Node) -> Node | None:
    """A number beside an int64 expression is int64 without saying so."""
    if not isinstance(node, Binary) or isinstance(node.a, Const) == isinstance(node.b, Const):
        return None
    name = "a" if isinstance(node.a, Const) else "b"
    number = getattr(node, name)
    return replace(node, **{name: Const(number.value, "int32")}) if number.type == "int64" else None


# Values


def _tuple(texts: Sequence[str]) -> str:
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


def _tuple_value(page: Page, node: graph.Tuple) -> str:
    return _tuple([expr_text(page, field) for field in node.fields])


def _field(page: Page, node: graph.TupleGetItem) -> str:
    return f"{expr_text(page, node.tuple_value)}[{node.index}]"


def _shape(page: Page, node: graph.ShapeExpr) -> str:
    return f"R.shape([{', '.join(_extents(page, node.values, False))}])"


def _extern(page: Page, node: graph.ExternFunc) -> str:
    return f"R.ExternFunc({quote(node.global_symbol)})"


def _op(page: Page, node: graph.Op) -> str:
    return f"R.{node.name.removeprefix('relax.')}"


def _call(page: Page, node: graph.Call) -> str:
    if node.op not in _DESTINATION_CALLS:
        return _plain_call(page, node)
    callee, *args = node.args
    texts = [_callee(page, callee), *(expr_text(page, arg) for arg in args)]
    described = [f"{page.dialect.out_sinfo}={_describe(page, info)}" for info in node.sinfo_args]
    return f"{expr_text(page, node.op)}({', '.join([*texts[:2], *described, *(f'tir_vars={t}' for t in texts[2:])])})"


def _plain_call(page: Page, node: graph.Call) -> str:
    """A call of an operator, or of a function of the module."""
    function = _callee(page, node.op) if isinstance(node.op, GlobalVar) else expr_text(page, node.op)
    attributes = [f"{name}={_attribute(value)}" for name, value in node.attrs.items()]
    return f"{function}({', '.join([*(expr_text(page, arg) for arg in node.args), *attributes])})"


def _attribute(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_attribute(item) for item in value)}]"
    return quote(value) if isinstance(value, str) else _numbers(value)


def _callee(page: Page, node: Any) -> str:
    if isinstance(node, GlobalVar):
        return page.mark(node, f"cls.{node.name_hint}")
    return page.mark(node, quote(node.global_symbol))


def _constant(page: Page, node: graph.Constant) -> str:
    dtype = node.struct_info.dtype
    if node.data.size <= INLINE_ELEMENTS or page.full_constants:
        values = node.data.astype("float64").tolist() if dt.is_float(dtype) else node.data.tolist()
        again = np.array(values).astype(node.data.dtype)
        if again.shape == node.data.shape and again.tobytes() == node.data.tobytes():
            return f"R.const({_numbers(values)}, {quote(dtype)})"
    known = [id(constant.data) for constant in page.constants]
    if id(node.data) not in known:
        page.constants.append(node)
        known.append(id(node.data))
    return f'metadata["{_METADATA}"][{known.index(id(node.data))}]'


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_numbers(item) for item in value)}]"
    return f'float("{value}")' if isinstance(value, float) and not math.isfinite(value) else repr(value)


def _seq_expr(page: Page, node: graph.SeqExpr) -> str:
    def write(inner: Page) -> None:
        for block in node.blocks:
            _block(inner, block)
        inner.line(expr_text(inner, node.body))

    return _lines(page, write)


def _block_text(page: Page, node: graph.BindingBlock) -> str:
    return _lines(page, lambda inner: _block(inner, node))


_PRINTERS: dict[type, Callable[[Page, Any], str]] = {
    graph.Var: name_of, graph.DataflowVar: name_of, graph.Tuple: _tuple_value, graph.TupleGetItem: _field,
    graph.ShapeExpr: _shape, graph.ExternFunc: _extern, graph.Op: _op, graph.Call: _call, graph.Constant: _constant,
    graph.VarBinding: _binding, graph.MatchCast: _binding,
    graph.BindingBlock: _block_text, graph.DataflowBlock: _block_text,
    graph.SeqExpr: _seq_expr, graph.TensorStructInfo: _describe, graph.ShapeStructInfo: _describe,
    graph.TupleStructInfo: _describe, graph.ObjectStructInfo: _describe,
}  # fmt: skip

register_function_printer(graph.Function, print_graph_function)
for _kind, _printer in _PRINTERS.items():
    register_node_printer(_kind, _printer)
