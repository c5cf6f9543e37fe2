"""Where things stand in a function: the parent of each statement, the loop of each variable, the realize of each block
token.

One walk over the statements per function, remembered as long as the function lives. Edits rebuild only the path from
the root to the edited statements (:func:`replace_at`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from mlcref.ir.base import replace
from mlcref.ir.expr import Var
from mlcref.ir.function import PrimFunc
from mlcref.ir.stmt import Block, BlockRealize, For, IfThenElse, SeqStmt, Stmt, Token, seq


def stmt_children(stmt: Stmt) -> tuple[Stmt, ...]:
    """The statements directly inside ``stmt``, in execution order (a block's init before its body)."""
    if type(stmt) is SeqStmt:
        return stmt.seq
    if type(stmt) is BlockRealize:
        block = stmt.block
        return (block.body,) if block.init is None else (block.init, block.body)
    if type(stmt) is IfThenElse:
        return (stmt.then_case,) if stmt.else_case is None else (stmt.then_case, stmt.else_case)
    body = getattr(stmt, "body", None)
    return () if body is None else (body,)


def with_stmt_children(stmt: Stmt, parts: tuple[Stmt | None, ...]) -> Stmt | None:
    """``stmt`` with its parts exchanged; a part that is None is removed, and ``stmt`` with it when nothing is left."""
    if type(stmt) is SeqStmt:
        kept = [part for part in parts if part is not None]
        return seq(*kept) if kept else None
    if type(stmt) is BlockRealize:
        body = parts[-1]
        init = parts[0] if stmt.block.init is not None else None
        return None if body is None else replace(stmt, block=replace(stmt.block, init=init, body=body))
    if type(stmt) is IfThenElse:
        if parts[0] is None:
            return None
        return IfThenElse(stmt.condition, parts[0], parts[1] if len(parts) > 1 else None)
    if parts and parts[0] is None:
        return None
    return replace(stmt, body=parts[0]) if parts else stmt


class Index:
    """The places of one function's statements. ``parent``, ``loops`` (by variable), ``blocks`` (by token), ``order``.
    """

    __slots__ = ("blocks", "loops", "order", "parent")

    def __init__(self, func: PrimFunc) -> None:
        self.parent: dict[Stmt, Stmt] = {}
        self.loops: dict[Var, For] = {}
        self.blocks: dict[Token, BlockRealize] = {}
        self.order: dict[Stmt, int] = {}
        stack: list[Stmt] = [func.body]
        while stack:
            stmt = stack.pop()
            self.order[stmt] = len(self.order)
            if type(stmt) is For:
                self.loops[stmt.loop_var] = stmt
            elif type(stmt) is BlockRealize:
                self.blocks[stmt.block.token] = stmt
            parts = stmt_children(stmt)
            for part in reversed(parts):
                self.parent[part] = stmt
                stack.append(part)

    def above(self, stmt: Stmt) -> Iterator[Stmt]:
        """The statements around ``stmt``, inner to outer."""
        up = self.parent.get(stmt)
        while up is not None:
            yield up
            up = self.parent.get(up)


_indices: WeakKeyDictionary[PrimFunc, Index] = WeakKeyDictionary()


def index(func: PrimFunc) -> Index:
    """The index of ``func``."""
    found = _indices.get(func)
    if found is None:
        found = _indices[func] = Index(func)
    return found


def replace_at(func: PrimFunc, edits: Mapping[Any, Stmt | None]) -> PrimFunc:
    """``func`` with statements exchanged or (None) removed, and loops that became empty removed with them.

    The statements must be statements of ``func``, none inside another. Only the paths to them are rebuilt.
    """
    parent = index(func).parent
    spine: set[Stmt] = set()
    for stmt in edits:
        up = parent.get(stmt)
        while up is not None and up not in spine:
            spine.add(up)
            up = parent.get(up)

    def rebuild(stmt: Stmt) -> Stmt | None:
        if stmt in edits:
            return edits[stmt]
        if stmt not in spine:
            return stmt
        return with_stmt_children(stmt, tuple([rebuild(part) for part in stmt_children(stmt)]))

    body = rebuild(func.body)
    if body is None:
        raise ValueError("an edit removed the whole body")
    return PrimFunc(func.params, body, func.attrs)


def replace_block(func: PrimFunc, token: Token, block: Block) -> PrimFunc:
    """``func`` with the block of ``token`` exchanged."""
    realize = index(func).blocks[token]
    return replace_at(func, {realize: replace(realize, block=block)})
