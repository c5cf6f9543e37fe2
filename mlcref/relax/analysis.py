"""Questions about graph functions: variables and bindings, what is used, and ``remove_all_unused``."""

from __future__ import annotations

from collections.abc import Callable

from mlcref.errors import WellformedError
from mlcref.ir import GlobalVar, IRModule, graph, walk
from mlcref.ir.base import Node
from mlcref.relax.wellformed import wellformed_graph


def post_order_visit(expr: Node, fvisit: Callable[[Node], object]) -> None:
    """Call ``fvisit`` with each expression of ``expr`` once, parts before the whole. Source: TVM's of that name.

    >>> from mlcref import relax
    >>> x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> post_order_visit(relax.op.exp(x), lambda node: print(type(node).__name__))
    Op
    Var
    Call
    """
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(expr, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            fvisit(node)
        elif id(node) not in seen:
            seen.add(id(node))
            parts = _parts(node)
            if isinstance(node, graph.GraphExpr | graph.Function | GlobalVar):
                stack.append((node, True))
            stack.extend((part, False) for part in reversed(parts))


def _parts(node: Node) -> tuple[Node, ...]:
    if isinstance(node, graph.Function):
        return (*node.params, node.body)
    if isinstance(node, graph.SeqExpr):
        return (*(binding for block in node.blocks for binding in block.bindings), node.body)
    if isinstance(node, graph.VarBinding | graph.MatchCast):
        return (node.value, node.var)
    if isinstance(node, graph.Call):
        return (node.op, *node.args)
    if isinstance(node, graph.Tuple):
        return node.fields
    return (node.tuple_value,) if isinstance(node, graph.TupleGetItem) else ()


def get_var2val(func: graph.Function) -> dict[graph.Var, graph.GraphExpr]:
    """The value of each variable that ``func`` binds. Source: ``relax.analysis.get_var2val``."""
    return {binding.var: binding.value for binding in func.bindings()}


def name_to_binding(func: graph.Function) -> dict[str, list[graph.Binding]]:
    """The bindings of ``func`` by the names of their variables. Source: ``relax.analysis.name_to_binding``."""
    found: dict[str, list[graph.Binding]] = {}
    for binding in func.bindings():
        found.setdefault(binding.var.name_hint, []).append(binding)
    return found


def all_vars(expr: Node) -> list[graph.Var]:
    """The variables in ``expr``, used or bound, in order. Source: ``relax.analysis.all_vars``."""
    found: dict[graph.Var, None] = {}
    post_order_visit(expr, lambda node: found.setdefault(node) if isinstance(node, graph.Var) else None)
    return list(found)


def bound_vars(expr: Node) -> list[graph.Var]:
    """The variables that ``expr`` binds: parameters, then bindings. Source: ``relax.analysis.bound_vars``."""
    params = expr.params if isinstance(expr, graph.Function) else ()
    bindings = (node for node in walk(expr) if isinstance(node, graph.VarBinding | graph.MatchCast))
    return list(dict.fromkeys([*params, *(binding.var for binding in bindings)]))


def free_vars(expr: Node) -> list[graph.Var]:
    """The variables that ``expr`` uses and does not bind. Source: ``relax.analysis.free_vars``."""
    bound = set(bound_vars(expr))
    return [var for var in all_vars(expr) if var not in bound]


def all_global_vars(expr: Node) -> list[GlobalVar]:
    """The functions of the module that ``expr`` names. Source: ``relax.analysis.all_global_vars``."""
    return [node for node in walk(expr) if isinstance(node, GlobalVar)]


def well_formed(mod: IRModule | graph.Function) -> bool:
    """Do the graph functions of ``mod`` keep their invariants? Source: ``relax.analysis.well_formed``."""
    try:
        wellformed_graph(mod)
    except WellformedError:
        return False
    return True


def remove_all_unused(func: graph.Function) -> graph.Function:
    """``func`` without bindings whose variables nothing uses; calls are pure. A ``match_cast``, which checks, stays.

    Source: ``relax.analysis.remove_all_unused``.

    >>> from mlcref import relax
    >>> bb = relax.BlockBuilder()
    >>> x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> with bb.function("main", [x]):
    ...     unused = bb.emit(relax.op.exp(x))
    ...     bb.emit_func_output(x)
    >>> len(list(remove_all_unused(bb.get()["main"]).bindings()))
    0
    """
    used = {var for var in walk(func.body.body) if isinstance(var, graph.Var)}
    blocks: list[graph.BindingBlock] = []
    for block in reversed(func.body.blocks):
        kept: list[graph.Binding] = []
        for binding in reversed(block.bindings):
            if binding.var in used or isinstance(binding, graph.MatchCast):
                kept.append(binding)
                used.update(var for var in walk(binding.value) if isinstance(var, graph.Var))
        if kept:
            blocks.append(type(block)(tuple(reversed(kept))))
    blocks = _merged(list(reversed(blocks)))
    if sum(len(b.bindings) for b in blocks) == sum(len(b.bindings) for b in func.body.blocks):
        return func
    return graph.Function(func.params, graph.SeqExpr(tuple(blocks), func.body.body), func.ret_struct_info, func.attrs)


def _merged(blocks: list[graph.BindingBlock]) -> list[graph.BindingBlock]:
    """Plain blocks that follow each other as one."""
    merged: list[graph.BindingBlock] = []
    for block in blocks:
        if merged and type(block) is type(merged[-1]) is graph.BindingBlock:
            merged[-1] = graph.BindingBlock((*merged[-1].bindings, *block.bindings))
        else:
            merged.append(block)
    return merged
