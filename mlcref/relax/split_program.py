"""A tensor program in two: what depends on some of its parameters only, and the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlcref.ir import (
    NO_ATTRS, BlockRealize, Buffer, BufferRegion, BufferStore, Call, For, IfThenElse, IterVar, PrimFunc, Range, SeqStmt,
    Stmt, Token, Var, blocks_in, buffers_used, const, fresh, loads, loop, make_block, replace, seq, store, variables,
    walk,
)  # fmt: skip
from mlcref.ir.index import index, stmt_children, with_stmt_children
from mlcref.ir.shapes import evaluate


@dataclass(frozen=True, slots=True)
class Part:
    """A program that computes one buffer, its last parameter, from the parameters ``inputs`` of the whole."""

    program: PrimFunc
    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """``program`` takes the parameters ``inputs`` of the whole, then what the parts ``before`` compute, then the
    results."""

    before: tuple[Part, ...]
    program: PrimFunc
    inputs: tuple[int, ...]


def split_program(func: PrimFunc, free: tuple[int, ...], input_count: int) -> Split | None:
    """``func`` without the blocks that compute buffers from its parameters ``free`` alone; None where it has none.

    ``input_count`` of the parameters are inputs, the others results and scalars. Blocks qualify that stand under plain
    loops of the root, whose loops and conditions are constant, and that write to no parameter. A part starts from
    zeros: it says what is in elements that the blocks leave out.
    """
    if not isinstance(func.body, BlockRealize) or not _is_simple(func):
        return None
    chosen = _dependent(func, {func.params[i] for i in free})
    made = {buffer for realize in chosen for buffer in _written(realize)}
    rest = _without(func, {realize.block.token for realize in chosen})
    wanted = [buffer for buffer in func.root.alloc_buffers if buffer in made and buffer in buffers_used(rest)]
    if not wanted:
        return None
    before = tuple([_part(func, chosen, made, buffer) for buffer in wanted])
    used = buffers_used(rest)
    kept = tuple([i for i in range(input_count) if i not in free or func.params[i] in used])
    root = replace(rest.block, alloc_buffers=tuple([b for b in func.root.alloc_buffers if b not in made]))
    params = (*[func.params[i] for i in kept], *wanted, *func.params[input_count:])
    attrs = func.attrs.updated({"layout_free_buffers": None})
    return Split(before, fresh(PrimFunc(params, replace(rest, block=root), attrs)), kept)


_STATEMENTS = (BufferStore, For, IfThenElse, SeqStmt)


def _is_simple(func: PrimFunc) -> bool:
    """Do statements only store, and blocks stand under loops alone? (The calls that expressions make have no effects.)
    """
    statements: list[Stmt] = [func.root.body]
    while statements:
        stmt = statements.pop()
        if isinstance(stmt, BlockRealize):
            continue
        if not isinstance(stmt, For | SeqStmt) or (isinstance(stmt, For) and (stmt.thread or stmt.step is not None)):
            return False
        statements += stmt_children(stmt)
    return func.root.init is None and not func.root.match_buffers


def _dependent(func: PrimFunc, free: set[Any]) -> list[BlockRealize]:
    """The blocks of the root that read ``free`` and each other's buffers alone, in order."""
    blocks = [realize for realize in index(func).blocks.values() if _stands_in_root(func, realize)]
    every = sorted(blocks, key=lambda realize: index(func).order[realize])
    chosen = [realize for realize in every if _is_plain(func, realize)]
    while True:
        theirs = {buffer for realize in chosen for buffer in _written(realize)}
        theirs -= {buffer for realize in every if realize not in chosen for buffer in _written(realize)}
        kept = [
            realize for realize in chosen
            if _written(realize) <= theirs and _read(func, realize) <= free | theirs
        ]  # fmt: skip
        if len(kept) == len(chosen):
            return chosen
        chosen = kept


def _stands_in_root(func: PrimFunc, realize: BlockRealize) -> bool:
    above = next((stmt for stmt in index(func).above(realize) if isinstance(stmt, BlockRealize)), None)
    return above is func.body


def _is_plain(func: PrimFunc, realize: BlockRealize) -> bool:
    block = realize.block
    bodies = [block.body, *([block.init] if block.init is not None else [])]
    if block.match_buffers or block.alloc_buffers or any(blocks_in(body) for body in bodies):
        return False
    if any(isinstance(node, Stmt) and not isinstance(node, _STATEMENTS) for body in bodies for node in walk(body)):
        return False
    outer = [stmt for stmt in index(func).above(realize) if isinstance(stmt, For)]
    if any(variables(extent) for stmt in outer for extent in (stmt.min, stmt.extent)):
        return False
    allocated = set(func.root.alloc_buffers)
    plain = {b for b in allocated if b.scope == "global" and not b.strides and not any(map(variables, b.shape))}
    return _written(realize) <= plain


def _written(realize: BlockRealize) -> set[Buffer]:
    return {node.buffer for node in walk(realize.block) if isinstance(node, BufferStore)}


def _read(func: PrimFunc, realize: BlockRealize) -> set[Any]:
    """What a block depends on beside the variables of its own loops."""
    own: set[Any] = {stmt.loop_var for stmt in index(func).above(realize) if isinstance(stmt, For)}
    own |= {item.var for item in realize.block.iter_vars}
    own |= {node.loop_var for node in walk(realize.block) if isinstance(node, For)}
    calls = {node for node in walk(realize) if isinstance(node, Call) and buffers_used(node)}
    return {load.buffer for load in loads(realize)} | (variables(realize) - own) | _opaque(calls)


def _opaque(calls: set[Call]) -> set[Any]:
    """Calls whose arguments name buffers other than by loading elements: they may do anything."""
    return {node for node in calls if set(buffers_used(node)) - {load.buffer for load in loads(node)}}


def _without(func: PrimFunc, tokens: set[Token]) -> BlockRealize:
    body = _filtered(func.root.body, lambda realize: realize.block.token not in tokens)
    root = replace(func.root, body=body if body is not None else SeqStmt(()))
    return BlockRealize((), (), root)


def _filtered(stmt: Stmt, keeps: Callable[[BlockRealize], bool]) -> Stmt | None:
    """``stmt`` with those of its outermost blocks that ``keeps`` accepts."""
    if isinstance(stmt, BlockRealize):
        return stmt if keeps(stmt) else None
    return with_stmt_children(stmt, tuple([_filtered(part, keeps) for part in stmt_children(stmt)]))


def _part(func: PrimFunc, chosen: list[BlockRealize], made: set[Buffer], wanted: Buffer) -> Part:
    """The program that computes ``wanted`` with the blocks ``chosen``."""
    needed, tokens = {wanted}, set()
    while True:
        more = [realize for realize in chosen if _written(realize) & needed and realize.block.token not in tokens]
        if not more:
            break
        for realize in more:
            tokens.add(realize.block.token)
            needed |= {load.buffer for load in loads(realize)} | _written(realize)
    body = _filtered(func.root.body, lambda realize: realize.block.token in tokens)
    assert body is not None
    own = [buffer for buffer in func.root.alloc_buffers if buffer in needed & made]
    nests = seq(*[_zeros(buffer) for buffer in own], _serial(body))
    inputs = tuple([i for i, param in enumerate(func.params) if param in needed])
    allocated = [buffer for buffer in own if buffer is not wanted]
    root = BlockRealize((), (), make_block("root", nests, alloc_buffers=allocated))
    params = (*[func.params[i] for i in inputs], wanted)
    attrs = NO_ATTRS.updated({"tir.noalias": True})
    return Part(fresh(PrimFunc(params, root, attrs)), inputs)


def _serial(stmt: Stmt) -> Stmt:
    """``stmt`` on one thread, element by element, without loops that only repeat it."""
    if isinstance(stmt, BlockRealize):
        return stmt
    if not isinstance(stmt, For):
        changed = with_stmt_children(stmt, tuple([_serial(part) for part in stmt_children(stmt)]))
        assert changed is not None
        return changed
    body = _serial(stmt.body)
    if stmt.loop_var not in variables(body) and evaluate(stmt.extent, {}) > 0 and not _accumulates(body):
        return body
    return For(stmt.loop_var, stmt.min, stmt.extent, "serial", body)


def _accumulates(stmt: Stmt) -> bool:
    """Does running it twice differ from running it once, for all that can be seen?"""
    stored = {node.buffer for node in walk(stmt) if isinstance(node, BufferStore)}
    return any(load.buffer in stored for load in loads(stmt))


def _zeros(buffer: Buffer) -> Stmt:
    loops = [Var(f"i{d}") for d in range(len(buffer.shape))]
    axes = [Var(f"v{d}") for d in range(len(buffer.shape))]
    domains = [Range(const(0), const(evaluate(extent, {}))) for extent in buffer.shape]
    zero = const(False, "bool") if buffer.type == "bool" else const(0, buffer.type)
    items = tuple([IterVar(axis, domain, "spatial") for axis, domain in zip(axes, domains, strict=True)])
    element = BufferRegion(buffer, tuple([Range(axis, const(1)) for axis in axes]))
    block = make_block(f"{buffer.name}_zeros", store(buffer, zero, axes), iter_vars=items, writes=[element])
    body: Stmt = BlockRealize(tuple(loops), (), block)
    for var, domain in zip(reversed(loops), reversed(domains), strict=True):
        body = loop(var, domain.extent, body)
    return body
