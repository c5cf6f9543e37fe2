"""A block's only access of a buffer, as reindex and its relatives need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith import affine, expr_key, proved
from mlcref.ir import (
    BlockRealize, Buffer, BufferLoad, BufferStore, Expr, IterVar, LetStmt, PrimFunc, Stmt, Token, Var, any_node,
    children_of, constant, variables, walk,
)  # fmt: skip
from mlcref.schedule.dataflow import check_scope
from mlcref.schedule.find import block_of, is_reduction
from mlcref.schedule.maps import find_access, other_use
from mlcref.schedule.nest import iterator_ranges
from mlcref.schedule.nest import starts_at_zero as iterator_from_zero
from mlcref.schedule.table import refusal, refuse


@dataclass(frozen=True, slots=True)
class Use:
    """How the block uses the buffer: for reading or writing, at which indices, with which of its iterators."""

    realize: BlockRealize
    scope: BlockRealize
    kind: str
    buffer: Buffer
    indices: tuple[Expr, ...]
    items: tuple[IterVar, ...]


def find_use(func: PrimFunc, name: str, block: Token, buffer: Any, kind: str | None) -> Use:
    """The use that is meant, checked (P1, P2, P3, P4)."""
    realize = block_of(func, block)
    scope = check_scope(func, f"{name}.P2", realize)
    kind, _, found = find_access(func, f"{name}.P1", realize, buffer, kind)
    marks = [(realize, "this block")]
    _check_leaf(func, name, realize)
    accesses = [n for n in walk(realize.block) if isinstance(n, BufferLoad | BufferStore) and n.buffer is found]
    odd = next((text for n in walk(realize.block) if (text := other_use(n, found))), "")
    if odd:
        raise refusal(func, f"{name}.P3", f"{found.name} {odd}", marks)
    indices = accesses[0].indices if accesses else ()
    keys = {tuple([expr_key(e) for e in n.indices]) for n in accesses}
    if len(keys) != 1:
        what = f"block {realize.block.name} uses {found.name} at more than one place"
        raise refusal(func, f"{name}.P3", what, marks)
    used = {v for e in indices for v in variables(e)}
    items = tuple([item for item in realize.block.iter_vars if item.var in used])
    if used - {item.var for item in items} or any(any_node(e, BufferLoad) for e in indices):
        what = f"the place in {found.name} depends on more than the iterators of block {realize.block.name}"
        raise refusal(func, f"{name}.P3", what, marks)
    if not items or not all(iterator_from_zero(item) for item in items):
        what = f"the place in {found.name} depends on no iterator, or on one that does not start at 0"
        raise refusal(func, f"{name}.P3", what, marks)
    _check_inside(func, name, realize, found, indices, items)
    use = Use(realize, scope, kind, found, tuple(indices), items)
    _check_direction(func, name, use, accesses)
    return use


def _check_leaf(func: PrimFunc, name: str, realize: BlockRealize) -> None:
    for part in (realize.block.init, realize.block.body):
        inner = part and next((n for n in walk(part) if isinstance(n, BlockRealize)), None)
        if inner is not None:
            what = f"block {realize.block.name} has blocks inside"
            raise refusal(func, f"{name}.P2", what, [(inner, "inside"), (realize, "this block")])


def _check_inside(
    func: PrimFunc, name: str, realize: BlockRealize, buffer: Buffer, indices: Sequence[Expr], items: Sequence[IterVar]
) -> None:
    """The indices are in bounds for all values of the iterators: the copy is made whatever the block's conditions."""
    ranges = iterator_ranges(items)
    for place, extent in zip(indices, buffer.shape, strict=True):
        if proved(place >= 0, ranges) is not True or proved(place < extent, ranges) is not True:
            what = f"`{place!r}` is not in the bounds of {buffer.name} for all values of the iterators"
            refuse(func, f"{name}.P3", what, [(realize, "this block")])


def _check_direction(func: PrimFunc, name: str, use: Use, accesses: Sequence[BufferLoad | BufferStore]) -> None:
    """A buffer that is read is not written by the block; one that is written is written from an init on, each
    element by an instance of its own (P4)."""
    block, marks = use.realize.block, [(use.realize, "this block")]
    stores = [n for n in accesses if isinstance(n, BufferStore)]
    if use.kind == "read" and stores:
        refuse(func, f"{name}.P4", f"block {block.name} also writes {use.buffer.name}", marks)
    if use.kind == "read":
        return
    reduced = any(item.iter_type == "reduce" for item in block.iter_vars)
    if not is_reduction(use.realize) and (reduced or len(stores) < len(accesses)):
        what = f"block {block.name} reads what {use.buffer.name} held before"
        refuse(func, f"{name}.P4", what, marks, "before decompose_reduction")
    if not all(_stores(n, use.buffer) for n in (block.init, block.body) if n is not None):
        refuse(func, f"{name}.P4", f"block {block.name} is more than stores, one of them to {use.buffer.name}", marks)
    spatial = [i.var for i in block.iter_vars if i.iter_type == "spatial" and constant(i.dom.extent) != 1]
    shown = affine(use.indices, iterator_ranges(use.items), told_apart=spatial)
    if any(i.iter_type != "spatial" for i in use.items) or not set(spatial) <= set(variables_of(use)) or shown is None:
        what = f"instances of block {block.name} are not known to write elements of their own"
        refuse(func, f"{name}.P4", what, marks)


def _stores(stmt: Stmt, buffer: Buffer) -> bool:
    """Is the statement a sequence of stores under lets, so that it always stores its element of the buffer?"""
    while isinstance(stmt, LetStmt):
        stmt = stmt.body
    parts = children_of(stmt)
    return all(isinstance(part, BufferStore) for part in parts) and buffer in [
        part.buffer for part in parts if isinstance(part, BufferStore)
    ]


def variables_of(use: Use) -> list[Var]:
    """The iterators in the access."""
    return [item.var for item in use.items]
