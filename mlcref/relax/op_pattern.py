"""What kind of operator a tensor program is, for deciding what to fuse."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from mlcref.ir import (
    Add, Block, BufferLoad, BufferStore, Cast, Expr, IterVar, Mul, PrimFunc, Var, any_node, blocks_in, constant, loads,
    variables, walk,
)  # fmt: skip
from mlcref.ir.expr import Call
from mlcref.ir.function import IRModule
from mlcref.ir.stmt import Evaluate, IfThenElse, Stmt, While
from mlcref.ir.transform import Pass, PassContext, PassInfo

OP_PATTERN = "op_pattern"
"""The attribute of a tensor program that holds its kind, a number of ``OpPatternKind``."""


class OpPatternKind(IntEnum):
    """Kinds of operators, in TVM's numbers: a larger one can be fused with less.

    ``ELEM_WISE`` reads each input where it writes; ``BROADCAST`` leaves out dimensions, or reads the one place that
    they have; ``INJECTIVE`` reads one element of an input for each that it writes; ``COMM_REDUCE`` combines elements;
    ``OUT_EWISE_FUSABLE`` sums products, and what follows element by element can be done with its results; ``OPAQUE`` is
    anything else.
    """

    ELEM_WISE = 0
    BROADCAST = 1
    INJECTIVE = 2
    COMM_REDUCE = 3
    OUT_EWISE_FUSABLE = 4
    OPAQUE = 8


class AnnotateTIROpPattern(Pass):
    """Say of each tensor program what kind of operator it is, in the attribute ``op_pattern``.

    Programs that have the attribute keep it. Source: ``relax.transform.AnnotateTIROpPattern``.

    >>> from mlcref import te
    >>> A = te.placeholder((4, 4), name="A")
    >>> exp = te.create_prim_func([A, te.compute((4, 4), lambda i, j: A[i, j] + 1.0)])
    >>> AnnotateTIROpPattern()(IRModule({"main": exp}))["main"].attrs["op_pattern"]
    0
    """

    info = PassInfo(0, "AnnotateTIROpPattern")

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the attributes."""
        result = mod.clone()
        for name, func in mod.prim_funcs().items():
            if OP_PATTERN not in func.attrs:
                result.update_func(name, func.with_attr(OP_PATTERN, int(op_pattern(func))))
        return result


def op_pattern(func: PrimFunc) -> OpPatternKind:
    """The kind of operator that ``func`` is: the largest kind of its blocks, opaque where it is more than blocks that
    store one element each.

    Source: TVM's ``AnalyzeOpPatternKind``.
    """
    root = getattr(func.body, "block", None)
    if not isinstance(root, Block) or func.scalars or any_node(func.body, (IfThenElse, While, Evaluate)):
        return OpPatternKind.OPAQUE
    blocks = [block for block in blocks_in(root) if block is not root]
    return max((_kind(block) for block in blocks), default=OpPatternKind.OPAQUE)


def _kind(block: Block) -> OpPatternKind:
    stored = block.body
    others = [node for node in walk(block) if isinstance(node, Stmt) and not isinstance(node, Block | BufferStore)]
    if not isinstance(stored, BufferStore) or others or block.match_buffers or block.alloc_buffers:
        return OpPatternKind.OPAQUE
    read = [load for load in loads(stored.value) if load.buffer is not stored.buffer]
    reduced = {item.var for item in block.iter_vars if item.iter_type == "reduce"}
    if any(item.iter_type not in ("spatial", "reduce") for item in block.iter_vars):
        return OpPatternKind.OPAQUE
    if reduced:
        return OpPatternKind.OUT_EWISE_FUSABLE if _sums_products(stored) else OpPatternKind.COMM_REDUCE
    if any(load.buffer is stored.buffer for load in loads(stored.value)):
        return OpPatternKind.OPAQUE
    return max([_access(load, stored, block.iter_vars) for load in read], default=OpPatternKind.ELEM_WISE)


def _access(load: BufferLoad, stored: BufferStore, items: tuple[IterVar, ...]) -> OpPatternKind:
    """How an element that is read stands to the one that is written."""
    own = {item.var for item in items}
    if any(isinstance(node, BufferLoad) for index in load.indices for node in walk(index)):
        return OpPatternKind.OPAQUE
    pairs = zip(load.indices, load.buffer.shape, strict=True)
    places = [_place(index, stored) for index, extent in pairs if not (constant(extent) == 1 and constant(index) == 0)]
    if None not in places:
        found = [place for place in places if place is not None]
        if found == list(range(len(stored.indices))):
            return OpPatternKind.ELEM_WISE
        if found == sorted(set(found)):
            return OpPatternKind.BROADCAST
    if all(variables(index) <= own and not any_node(index, Call) for index in load.indices):
        return OpPatternKind.INJECTIVE
    return OpPatternKind.OPAQUE


def _place(index: Expr, stored: BufferStore) -> int | None:
    """Which dimension of the result an index is the place in."""
    if not isinstance(index, Var):
        return None
    return next((d for d, other in enumerate(stored.indices) if other is index), None)


def _sums_products(stored: BufferStore) -> bool:
    value: Any = stored.value
    if not isinstance(value, Add):
        return False
    terms = [value.a, value.b]
    if not any(isinstance(term, BufferLoad) and term.buffer is stored.buffer for term in terms):
        return False
    product = next((_plain(term) for term in terms if isinstance(_plain(term), Mul)), None)
    return isinstance(product, Mul) and all(isinstance(_plain(part), BufferLoad) for part in (product.a, product.b))


def _plain(expr: Expr) -> Expr:
    return _plain(expr.value) if isinstance(expr, Cast) else expr
