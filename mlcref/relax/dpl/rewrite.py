"""Rewriting what patterns match: single calls, or bindings of a block together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlcref.arith import same_info
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.ir import graph
from mlcref.ir.visit import walk
from mlcref.relax.analysis import remove_all_unused
from mlcref.relax.block_builder import BlockBuilder
from mlcref.relax.dpl.context import PatternContext
from mlcref.relax.dpl.pattern import DFPattern, Found
from mlcref.relax.expr_functor import PyExprMutator
from mlcref.relax.grouping import Binders, binders_of_dimensions, needs_of
from mlcref.relax.rewriter import append_block


Rewriter = Callable[[graph.Call, Found], Any]


def rewrite_call(pattern: DFPattern, rewriter: Rewriter, func: graph.Function) -> graph.Function:
    """``func`` with each call that matches replaced by ``rewriter(call, found)``; what is then unused is removed.

    ``found`` has what each part of the pattern matches. The rewriter may return ``call`` itself to keep it. Bindings
    are rewritten in order, and later ones see what earlier ones became. Source: ``relax.dpl.rewrite_call``.

    >>> from mlcref import relax
    >>> from mlcref.relax.dpl import is_op, wildcard
    >>> bb = relax.BlockBuilder()
    >>> v = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> with bb.function("main", [v]):
    ...     bb.emit_func_output(bb.emit(relax.op.add(v, v)))
    >>> x = wildcard()
    >>> twice = relax.const(2.0)
    >>> double = is_op("relax.add")(x, x)
    >>> func = rewrite_call(double, lambda call, found: relax.op.multiply(found[x], twice), bb.get()["main"])
    >>> next(func.bindings()).value
    R.multiply(x, R.const(2.0, "float32"))
    """
    rewritten: graph.Function = _Rewriter(pattern, rewriter).visit_expr(func)
    return rewritten if rewritten is func else remove_all_unused(rewritten)


class _Rewriter(PyExprMutator):
    def __init__(self, pattern: DFPattern, rewriter: Rewriter) -> None:
        super().__init__()
        self.pattern, self.rewriter = pattern, rewriter

    def visit_call_(self, op: graph.Call) -> Any:
        call = self.visit_expr_post_order(op)
        found = self.pattern.extract_matched_expr(call, self.builder_.bindings)
        if found is None:
            return call
        new = self.rewriter(call, found)
        if not isinstance(new, graph.GraphExpr):
            raise TypeMismatch(f"the rewriter returns {type(new).__name__}, no expression")
        return new


Replacements = Mapping[graph.Var, graph.GraphExpr]
BindingsRewriter = Callable[[Found, dict[graph.Var, graph.GraphExpr]], Replacements]
_MOST_ROUNDS = 200
"""Rewritings of one block, beside two for each of its bindings."""


def rewrite_bindings(ctx: PatternContext, rewriter: BindingsRewriter, func: graph.Function) -> graph.Function:
    """``func`` with bindings that the patterns of ``ctx`` match together given other values, as long as some do.

    ``rewriter(found, bindings)`` gets what each pattern matches, and the values of the block's variables; it returns
    new values for variables of the block, which may use any of its other variables, later ones too: bindings are put
    into an order that fits. It returns ``{}`` to leave a match alone; then the next one is tried. An expression that
    stands in several new values is computed once. What is then unused is removed.

    Raises ``TypeMismatch`` for a new value that is not what its variable says, ``MlcrefError`` for one that needs
    itself, and when there is no end to it. Source: ``relax.dpl.rewrite_bindings``.

    >>> from mlcref import relax
    >>> from mlcref.relax.dpl import is_op, wildcard
    >>> x, a, b = (relax.Var(name, relax.TensorStructInfo((2, 2), "float32")) for name in "xab")
    >>> bb = relax.BlockBuilder()
    >>> with bb.function("main", [x, a, b]):
    ...     with bb.dataflow():
    ...         left, right = bb.emit(relax.op.matmul(x, a)), bb.emit(relax.op.matmul(x, b))
    ...         out = bb.emit_output(relax.op.add(left, right))
    ...     bb.emit_func_output(out)
    >>> v, w1, w2 = wildcard(), wildcard(), wildcard()
    >>> with PatternContext() as ctx:
    ...     first, second = is_op("relax.matmul")(v, w1), is_op("relax.matmul")(v, w2)
    >>> def once(found, bindings):
    ...     both = relax.op.matmul(found[v], relax.op.concat([found[w1], found[w2]], axis=1))
    ...     halves = relax.op.split(both, 2, axis=1)
    ...     return {found[first]: relax.TupleGetItem(halves, 0), found[second]: relax.TupleGetItem(halves, 1)}
    >>> new = rewrite_bindings(ctx, once, bb.get()["main"])
    >>> [binding.value.op.name for binding in new.bindings() if isinstance(binding.value, relax.Call)]
    ['relax.concat', 'relax.matmul', 'relax.split', 'relax.add']
    """
    names = {binding.var.name_hint for binding in func.bindings()} | {param.name_hint for param in func.params}
    binders = binders_of_dimensions(func)
    made = [
        _rewritten(ctx, rewriter, block, names, binders) if isinstance(block, graph.DataflowBlock) else block
        for block in func.body.blocks
    ]
    if all(new is old for new, old in zip(made, func.body.blocks, strict=True)):
        return func
    blocks: list[graph.BindingBlock] = []
    for block in made:
        if block.bindings:
            append_block(blocks, block)
    body = graph.SeqExpr(tuple(blocks), func.body.body)
    return remove_all_unused(graph.Function(func.params, body, func.ret_struct_info, func.attrs))


def _rewritten(
    ctx: PatternContext, rewriter: BindingsRewriter, block: graph.DataflowBlock, names: set[str], binders: Binders
) -> graph.DataflowBlock:
    for _ in range(_MOST_ROUNDS + 2 * len(block.bindings)):
        replacements = next(filter(None, (_changes(rewriter, found, block) for found in ctx.matches(block))), None)
        if replacements is None:
            return block
        block = _Rebuilding(block, replacements, names, binders).block()
    raise MlcrefError(
        "the bindings match again and again", rule="relax.dpl.endless", hint="what the rewriter returns must not match"
    )


def _changes(rewriter: BindingsRewriter, found: Found, block: graph.DataflowBlock) -> Replacements:
    """What the rewriter changes."""
    values = {item.var: item.value for item in block.bindings if isinstance(item, graph.VarBinding)}
    given = rewriter(found, dict(values))
    if not isinstance(given, Mapping):
        raise TypeMismatch(f"the rewriter returns {type(given).__name__}, no mapping from variables to values")
    for var, value in given.items():
        if var not in values:
            what = var.name_hint if isinstance(var, graph.Var) else type(var).__name__
            raise TypeMismatch(f"the rewriter gives a value for {what}, which the block does not bind")
        if not isinstance(value, graph.GraphExpr):
            raise TypeMismatch(f"the rewriter returns {type(value).__name__} for {var.name_hint}, no expression")
        if not same_info(var.struct_info, value.struct_info):
            raise TypeMismatch(f"the new value of {var.name_hint} is {value.struct_info!r}, not {var.struct_info!r}")
    return {var: value for var, value in given.items() if value is not values[var] and value is not var}


class _Shared(BlockBuilder):
    """A builder that binds an expression once, wherever it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.shared: dict[graph.GraphExpr, graph.GraphExpr] = {}

    def _operand(self, expr: graph.GraphExpr) -> graph.GraphExpr:
        if expr not in self.shared:
            self.shared[expr] = super()._operand(expr)
        return self.shared[expr]


def _needed(bindings: tuple[graph.Binding, ...]) -> tuple[graph.Binding, ...]:
    """``bindings`` of a block without variables of the block that nothing in it uses."""
    used: set[graph.Var] = set()
    kept: list[graph.Binding] = []
    for binding in reversed(bindings):
        removable = isinstance(binding, graph.VarBinding) and isinstance(binding.var, graph.DataflowVar)
        if binding.var in used or not removable:
            kept.append(binding)
            used.update(node for node in walk(binding.value) if isinstance(node, graph.Var))
    return tuple(reversed(kept))


class _Rebuilding:
    """A block with new values for some variables, each binding behind those that it needs."""

    def __init__(
        self, block: graph.DataflowBlock, replacements: Replacements, names: set[str], binders: Binders
    ) -> None:
        self.old, self.replacements, self.names = block, replacements, names
        self.bindings = {binding.var: binding for binding in block.bindings}
        self.binders = binders
        self.builder, self.done = _Shared(), dict[graph.Var, bool]()

    def block(self) -> graph.DataflowBlock:
        """The new block."""
        with self.builder.scope(self.names) as scope:
            with self.builder.dataflow():
                for var in self.bindings:
                    self.emit(var)
            self.names |= scope.names
        bindings = scope.blocks[0].bindings
        return graph.DataflowBlock(_needed(bindings))

    def emit(self, var: graph.Var) -> None:
        """Write the binding of ``var``, and before it those that it needs."""
        if var in self.done:
            if not self.done[var]:
                raise MlcrefError(f"the new value of {var.name_hint} needs itself", rule="relax.dpl.cycle")
            return
        self.done[var] = False
        binding = self.bindings[var]
        value = self.replacements.get(var, binding.value)
        for needed in needs_of(var, value, self.binders):
            if needed in self.bindings:
                self.emit(needed)
        self.done[var] = True
        if var in self.replacements:
            binding = graph.VarBinding(var, self.builder.shared.get(value) or self.builder.normalize(value))
        self.builder.emit_normalized(binding)
        self.builder.shared.setdefault(value, var)
