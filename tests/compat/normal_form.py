"""Programs in a form in which two compilers that simplify differently can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlcref.arith import linear, simplify
from mlcref.arith.linear import Linear, Quotient, Remainder, atom_expr
from mlcref.ir import (
    Block, BlockRealize, Const, Expr, FloorDiv, FloorMod, For, IRModule, PrimFunc, Var, const, map_children, substitute,
    walk,
)  # fmt: skip


def normalised(program: Any) -> PrimFunc:
    """The function with its index expressions simplified, knowing what loops and iterators run through, and the terms
    of sums in one order."""
    func = program["main"] if isinstance(program, IRModule) else program
    assert isinstance(func, PrimFunc)
    numbers: dict[Any, int] = {}
    for node in walk(func.body):
        bound = [node.loop_var] if isinstance(node, For) else []
        bound += [item.var for item in node.iter_vars] if isinstance(node, Block) else []
        for var in bound:
            numbers[var] = len(numbers)
    result = _Normal(numbers).visit(func, {})
    assert isinstance(result, PrimFunc)
    return result.without_attr("global_symbol")


class _Normal:
    def __init__(self, numbers: Mapping[Any, int]) -> None:
        self.numbers = numbers

    def visit(self, node: Any, domain: dict[Any, int]) -> Any:
        inner = domain
        if isinstance(node, For) and isinstance(node.extent, Const) and isinstance(node.min, Const):
            inner = {**domain, node.loop_var: int(node.extent.value)} if node.min.value == 0 else domain
        elif isinstance(node, Block):
            inner = {i.var: int(i.dom.extent.value) for i in node.iter_vars if isinstance(i.dom.extent, Const)}
        elif isinstance(node, Expr) and node.dtype in ("int32", "int64", "bool"):
            return self.index(node, domain)
        new = map_children(lambda child: self.visit(child, inner), node)
        if isinstance(new, BlockRealize):  # conjuncts that always hold say nothing
            kept = tuple(c for c in new.predicate if not (isinstance(c, Const) and c.value))
            return type(new)(new.iter_values, kept, new.block) if kept != new.predicate else new
        return new

    def index(self, node: Expr, domain: dict[Any, int]) -> Expr:
        units = {var: const(0, var.dtype) for var, extent in domain.items() if extent == 1}
        node = substitute(node, units) if units else node
        if node.dtype == "bool":
            return simplify(map_children(lambda child: self.visit(child, domain), node), domain)
        simple = simplify(node, domain)
        if isinstance(simple, Const | Var):
            return simple
        form = linear(simple, domain)
        if form.atom() is not None and not isinstance(form.atom(), Var | Quotient):
            return map_children(lambda child: self.visit(child, domain), simple)
        return self.ordered(form)

    def ordered(self, form: Linear) -> Expr:
        """A sum with its terms in an order that does not depend on how it came about."""
        parts = sorted(((self.key(atom), atom, factor) for atom, factor in form.terms.items()), key=lambda p: p[0])
        total: Expr = const(form.constant, form.dtype)
        for _, atom, factor in parts:
            total = total + self.atom(atom, form.dtype) * const(factor, form.dtype)
        return total

    def atom(self, atom: Any, dtype: str) -> Expr:
        if isinstance(atom, Quotient):
            kind = FloorMod if isinstance(atom, Remainder) else FloorDiv
            return kind(self.ordered(atom.form), const(atom.divisor, dtype))
        return atom_expr(atom)

    def key(self, atom: Any) -> Any:
        if isinstance(atom, Var):
            return (0, self.numbers.get(atom, -1), "")
        if isinstance(atom, Quotient):
            parts = sorted((self.key(a), f) for a, f in atom.form.terms.items())
            return (2 if isinstance(atom, Remainder) else 1, atom.divisor, repr((parts, atom.form.constant)))
        return (3, 0, type(atom_expr(atom)).__name__)
