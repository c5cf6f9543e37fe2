"""Invariants of the IR, per stage. Checked after every schedule primitive and every lowering pass."""

from __future__ import annotations

from typing import Any

from mlcref import dtype as dt
from mlcref.errors import WellformedError
from mlcref.ir.base import CHILDREN, FIELDS, Node, Role
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.compound import Shuffle
from mlcref.ir.expr import Binary, Cast, Const, Var
from mlcref.ir.function import PrimFunc
from mlcref.ir.stmt import (
    FOR_KINDS,
    ITER_TYPES,
    THREAD_TAGS,
    AllocBuffer,
    Block,
    BlockRealize,
    BufferStore,
    For,
    IterVar,
    MatchBufferRegion,
    Return,
    SeqStmt,
    Stmt,
    Token,
)

STAGES = ("schedulable", "blockless")


def wellformed(func: PrimFunc, stage: str = "schedulable") -> None:
    """Raise ``WellformedError`` unless ``func`` keeps the invariants of ``stage``.

    * W1 each variable, buffer and block token is bound once, and used only where it is bound;
    * W2 no statement node occurs twice;
    * W3 operands have equal types, accesses have the buffer's rank, stores the buffer's type; returns agree;
    * W4 sequences are flat with two statements or more; kinds and iterator types are known, steps positive;
    * W5 a schedulable function is a root block without iterators and has no flat allocations; a blockless one has no
      blocks.
    """
    _Checker(func, stage).check()


class _Checker:
    def __init__(self, func: PrimFunc, stage: str) -> None:
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}: one of {', '.join(STAGES)}")
        self.func, self.stage = func, stage
        self.bound: set[Any] = set()
        self.scope: set[Any] = set()
        self.seen: set[Stmt] = set()
        self.returned: str | None = None

    def check(self) -> None:
        for param in self.func.params:
            self.bind(param, self.func)
        self.scope.update(self.func.shape_vars())
        root = self.func.body
        if self.stage == "schedulable" and not (isinstance(root, BlockRealize) and not root.iter_values):
            self.fail("W5", "the body is not a root block without iterators", root)
        self.visit(root)

    def fail(self, rule: str, what: str, node: Any) -> None:
        # A node with an unknown kind or a value too few has no script.
        root = None if rule == "W4" else self.func
        raise WellformedError(what, rule=f"wellformed.{rule}", root=root, marks=[(node, what)])

    def bind(self, item: Any, at: Node) -> None:
        if item in self.bound:
            self.fail("W1", f"{_name(item)} is bound twice", at)
        self.bound.add(item)
        self.scope.add(item)

    def visit(self, node: Node) -> None:
        """Check ``node`` and what it owns; what it binds goes out of scope with it."""
        if isinstance(node, Stmt):
            if node in self.seen:
                self.fail("W2", f"a {type(node).__name__} occurs twice", node)
            self.seen.add(node)
        if isinstance(node, Var):
            if node not in self.scope:
                self.fail("W1", f"{_name(node)} is used where it is not bound", node)
            return
        self.check_node(node)
        mine: list[Any] = []
        for name, role, _ in FIELDS[type(node)]:
            value = getattr(node, name)
            items = value if type(value) is tuple else (value,)
            if role is Role.BINDING:
                mine += items
            elif role is Role.REFERENCE:
                self.check_buffer(value, node)
        self.descend(node, mine)

    def descend(self, node: Node, mine: list[Any]) -> None:
        # Iterators and matched buffers go out of scope with their block, everything else with the node that binds it.
        before = set(self.scope) if mine or isinstance(node, (Block, MatchBufferRegion)) else None
        for item in mine:
            self.bind(item, node)
        if isinstance(node, MatchBufferRegion):  # its strides and offset take their values from the region
            offset = () if node.buffer.elem_offset is None else (node.buffer.elem_offset,)
            declared = (*node.buffer.shape, *node.buffer.strides, *offset)
            self.scope.update(part for part in declared if isinstance(part, Var))
        for name in CHILDREN[type(node)]:
            value = getattr(node, name)
            for child in value if type(value) is tuple else (value,):
                if child is not None:
                    self.visit(child)
        if before is not None and not isinstance(node, (IterVar, MatchBufferRegion)):
            self.scope = before

    def check_buffer(self, buffer: Any, node: Node) -> None:
        if isinstance(buffer, Buffer) and buffer not in self.scope:
            self.fail("W1", f"{_name(buffer)} is used where it is not bound", node)

    def check_node(self, node: Node) -> None:
        if isinstance(node, Binary):
            if node.a.dtype != node.b.dtype:
                self.fail("W3", f"operands of {node.symbol} are {node.a.dtype} and {node.b.dtype}", node)
            if node.a.dtype == "handle":
                self.fail("W3", f"{node.symbol} is not defined on pointers", node)
        elif isinstance(node, (BufferLoad, BufferStore)):
            self.check_access(node)
        elif isinstance(node, Shuffle):
            self.check_shuffle(node)
        elif isinstance(node, Cast):
            dt.parse(node.type)
        elif isinstance(node, Stmt):
            self.check_stmt(node)
        elif isinstance(node, IterVar) and node.iter_type not in ITER_TYPES:
            self.fail("W4", f"unknown iterator type {node.iter_type!r}", node)

    def check_access(self, node: Any) -> None:
        if len(node.indices) != len(node.buffer.shape):
            self.fail(
                "W3",
                f"{node.buffer.name} has {len(node.buffer.shape)} dimensions, indexed with {len(node.indices)}",
                node,
            )
        if any(not dt.is_integer(index.dtype) for index in node.indices):
            self.fail("W3", f"an index of {node.buffer.name} is no integer", node)
        if isinstance(node, BufferStore) and dt.parse(node.value.dtype).element != dt.parse(node.buffer.type).element:
            self.fail("W3", f"{node.value.dtype} is stored to {node.buffer.name} of {node.buffer.type}", node)

    def check_shuffle(self, node: Shuffle) -> None:
        kinds = {dt.parse(vector.dtype).element for vector in node.vectors}
        lanes = sum(dt.lanes(vector.dtype) for vector in node.vectors)
        if len(kinds) != 1:
            self.fail("W3", f"a shuffle of {' and '.join(sorted(kinds)) or 'nothing'}", node)
        picked = [int(index.value) if isinstance(index, Const) else -1 for index in node.indices]
        if not picked or not all(0 <= lane < lanes for lane in picked):
            self.fail("W3", f"the indices of a shuffle of {lanes} lanes are constants from 0 to {lanes - 1}", node)

    def check_loop(self, node: For) -> None:
        if node.kind not in FOR_KINDS or (node.thread is not None) != (node.kind == "thread_binding"):
            self.fail("W4", f"unknown loop kind {node.kind!r} with thread {node.thread!r}", node)
        if node.thread is not None and node.thread not in THREAD_TAGS:
            self.fail("W4", f"unknown thread axis {node.thread!r}", node)
        if node.step is None:
            return
        if node.thread is not None:
            self.fail("W4", "a thread axis has no step", node)
        if node.step.dtype != node.loop_var.dtype:
            self.fail("W3", f"the step of a loop over {node.loop_var.dtype} is {node.step.dtype}", node)
        if isinstance(node.step, Const) and node.step.value <= 0:
            self.fail("W4", f"the step of a loop is positive, not {node.step.value}", node)

    def check_return(self, node: Return) -> None:
        kind = node.value.dtype
        if self.returned is None:
            self.returned = kind
        elif self.returned != kind:
            self.fail("W3", f"{kind} is returned, and {self.returned} elsewhere", node)

    def check_stmt(self, node: Stmt) -> None:
        if isinstance(node, SeqStmt):
            if len(node.seq) < 2 or any(isinstance(part, SeqStmt) for part in node.seq):
                self.fail("W4", "a sequence is nested or has fewer than two statements", node)
        elif isinstance(node, For):
            self.check_loop(node)
        elif isinstance(node, Return):
            self.check_return(node)
        elif isinstance(node, BlockRealize):
            if len(node.iter_values) != len(node.block.iter_vars):
                counts = f"{len(node.block.iter_vars)} iterators, {len(node.iter_values)} values"
                self.fail("W4", f"block {node.block.name} has {counts}", node)
            if self.stage == "blockless":
                self.fail("W5", f"block {node.block.name} is left after lowering", node)
        elif isinstance(node, AllocBuffer) and self.stage == "schedulable":
            self.fail("W5", f"flat allocation of {node.buffer.name} in a schedulable function", node)


def _name(item: Any) -> str:
    if isinstance(item, Token):
        return f"block {item.hint}"
    kind = "buffer" if isinstance(item, Buffer) else "variable"
    return f"{kind} {item.name}" if item.name else f"a {kind} without a name"
