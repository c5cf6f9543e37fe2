"""Expressions: what each one evaluates to, and the access to memory that loads and stores share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from mlcref import dtype as dt
from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp.host import CALLS, NULL, POINTERS, argument, call_host
from mlcref.interp.memory import PerThread, Undefined, View, element
from mlcref.interp.numeric import MACHINE, Arithmetic, Operation, Refusal
from mlcref.interp.placement import facts_of
from mlcref.interp.rules import RULES
from mlcref.ir.base import Node
from mlcref.ir.buffer import Buffer, BufferLoad
from mlcref.ir.compound import Let, Ramp, Select, Shuffle
from mlcref.ir.expr import Binary, Broadcast, Call, Cast, Const, Expr, Not, StringImm, Var
from mlcref.ir.function import PrimFunc
from mlcref.ir.intrinsics import INTRINSICS
from mlcref.ir.stmt import Stmt

Path = tuple[tuple[Any, Any], ...]
"""The iterations of parallel loops (and the threads of phases) that are going on: pairs of a fork and an iteration."""

_SPECIAL = frozenset({Undefined, tuple})


class Watcher(Protocol):
    """Something that looks on while a program runs: the race check, the signature checks, the access recorder."""

    def read(self, machine: Evaluator, view: View, position: int, indices: tuple[int, ...], node: Node) -> None:
        """An element is about to be loaded."""

    def write(
        self, machine: Evaluator, view: View, position: int, indices: tuple[int, ...], node: Node, value: Any
    ) -> None:
        """An element is about to be stored; the storage still holds the old value."""


class Evaluator:
    """The state of a running program and the meaning of its expressions.

    ``env`` maps variables to numbers, ``views`` buffers to memory. ``statement`` is what runs now, ``path`` the
    parallel iterations it belongs to, ``coordinates`` the thread it belongs to, by tag.
    """

    def __init__(
        self,
        func: PrimFunc,
        env: dict[Var, Any],
        views: dict[Buffer, View | PerThread],
        *,
        arithmetic: Arithmetic = MACHINE,
        watchers: Iterable[Watcher] = (),
        max_statements: int | None = None,
    ) -> None:
        self.func, self.env, self.views = func, env, views
        self.facts = facts_of(func)
        self.arithmetic = arithmetic
        self.watchers = tuple(watchers)
        self.remaining = max_statements if max_statements is not None else -1
        self.statement: Stmt = func.body
        self.path: Path = ()
        self.coordinates: dict[str, int] = {}
        self.hidden = frozenset(env)
        self._operations: dict[tuple[Expr, bool], Operation] = {}

    # --- expressions ---

    def value(self, e: Expr, exact: bool = False) -> Any:
        """The value of ``e``: a number, a truth value, a string, a tuple of them for a vector, or :class:`Undefined`.

        ``exact`` says that ``e`` is index arithmetic, whose integers must not overflow (rule value.index).
        """
        match e:
            case Var():
                try:
                    return self.env[e]
                except KeyError:
                    raise UnsupportedError(f"{e.name} has no value here", root=self.func, marks=[(e, "used")]) from None
            case Const():
                return e.value
            case BufferLoad():
                return self.load(e)
            case Binary():
                return self.apply(e, self.operation(e, exact), self.value(e.a, exact), self.value(e.b, exact))
            case Cast():
                return self.apply(e, self.operation(e, exact), self.value(e.value, exact))
            case Not():
                return self.apply(e, lambda a: not a, self.value(e.a, exact))
            case Select():  # rule value.lazy: both values are evaluated
                chosen = self.value(e.condition), self.value(e.true_value, exact), self.value(e.false_value, exact)
                return self.select(e, *chosen)
            case Call():
                return self.call(e, exact)
            case Let():
                self.env[e.var] = self.value(e.value)
                result = self.value(e.body, exact)
                del self.env[e.var]
                return result
            case Ramp() if dt.parse(e.base.dtype).lanes == 1 and dt.is_integer(e.base.dtype):
                base, stride = self.integer(e.base), self.integer(e.stride)
                return tuple(base + lane * stride for lane in range(e.lanes))
            case Broadcast() if dt.parse(e.value.dtype).lanes == 1:
                return (self.value(e.value, exact),) * e.lanes
            case Shuffle():  # rule value.shuffle
                return self.shuffle(e, exact)
            case StringImm():
                return e.value
        raise UnsupportedError(
            f"the oracle cannot evaluate a {type(e).__name__}", root=self.func, marks=[(e, "this one")]
        )

    def operation(self, e: Any, exact: bool) -> Operation:
        """The function that computes the node ``e`` from the values of its operands, looked up once per node."""
        found = self._operations.get((e, exact))
        if found is None:
            found = self._operations[e, exact] = self._choose(e, exact)
        return found

    def _choose(self, e: Any, exact: bool) -> Operation:
        match e:
            case Binary():
                return self.arithmetic.binary(type(e), dt.parse(e.a.dtype).element, exact)
            case Cast():
                return self.arithmetic.converter(dt.parse(e.value.dtype).element, dt.parse(e.type).element)
            case _:
                operand = dt.parse(e.args[0].dtype).element
                if e.op == "reinterpret" and e.type == "handle":
                    return self.null_pointer(e)
                if operand == "handle":
                    raise UnsupportedError(f"T.{e.op} of a pointer", root=self.func, marks=[(e, "this one")])
                return self.arithmetic.intrinsic(e.op, operand, dt.parse(e.type).element)

    def apply(self, e: Expr, operation: Operation, *operands: Any) -> Any:
        """``operation`` on the operands: lane by lane for vectors; an undefined operand makes the result undefined."""
        if not _SPECIAL.isdisjoint(map(type, operands)):
            return self._apply_special(e, operation, operands)
        try:
            return operation(*operands)
        except Refusal as refusal:
            raise self.failure(refusal.rule, refusal.what, [(e, "computed here")], hint=refusal.hint) from None

    def _apply_special(self, e: Expr, operation: Operation, operands: tuple[Any, ...]) -> Any:
        undefined = next((x for x in operands if type(x) is Undefined), None)
        if undefined is not None:
            return undefined
        return tuple(self.apply(e, operation, *lane) for lane in zip(*spread(operands), strict=True))

    def shuffle(self, e: Shuffle, exact: bool) -> Any:
        """The lanes that the indices pick from the vectors put one after the other."""
        parts = [self.value(vector, exact) for vector in e.vectors]
        if any(type(p) is not tuple and dt.lanes(v.dtype) > 1 for p, v in zip(parts, e.vectors, strict=True)):
            parts = [p if type(p) is tuple else (p,) * dt.lanes(v.dtype) for p, v in zip(parts, e.vectors, strict=True)]
        lanes = [lane for part in parts for lane in (part if type(part) is tuple else (part,))]
        picked = tuple(lanes[self.integer(index)] for index in e.indices)
        return picked if len(picked) > 1 else picked[0]

    def select(self, e: Select, condition: Any, chosen: Any, other: Any) -> Any:
        """The value of a select whose parts are known."""
        if type(condition) is Undefined:
            return condition
        if type(condition) is tuple:
            lanes = zip(*spread((condition, chosen, other)), strict=True)
            return tuple(self.select(e, *lane) for lane in lanes)
        return chosen if condition else other

    def call(self, e: Call, exact: bool) -> Any:
        """The value of a call. ``if_then_else`` evaluates one of its values (rule value.lazy)."""
        row = INTRINSICS.get(e.op)
        if row is not None and row.lazy:
            return self.value(e.args[1] if self.truth(e.args[0]) else e.args[2], exact)
        if row is None or not row.meaning:
            raise UnsupportedError(f"T.{e.op} has no meaning here", root=self.func, marks=[(e, "this call")])
        if row.effect:
            return self.effect(e)
        operands = [self.value(arg, exact) for arg in e.args]
        return self.apply(e, self.operation(e, exact), *operands)

    def effect(self, e: Call) -> Any:
        """A call that does more than compute a value: of the host, an assumption, an undefined value."""
        if e.op in CALLS:
            return call_host(self, e)
        if e.op == "undef":
            return Undefined(Buffer("T.undef()", (), e.type), (), e, self.place())
        if e.op == "assume":
            if not self.truth(e.args[0]):
                raise self.failure("stmt.assume", "an assumption does not hold", [(e, "assumed here")])
            return 0
        if e.op == "buffer_offset" and isinstance(e.args[0], BufferLoad):
            return self.view(e.args[0].buffer).offset
        if e.op == "tvm_storage_sync":
            return self.barrier(e)
        if e.op in POINTERS:  # rule value.pointer
            return argument(self, e)
        if e.op == "isnullptr":
            return self.value(e.args[0]) is NULL
        if e.op == "call_function":
            return self.call_function(e)
        raise UnsupportedError(f"T.{e.op} has no meaning here", root=self.func, marks=[(e, "this call")])

    def null_pointer(self, e: Call) -> Operation:
        """A number as a pointer: only 0 is one."""

        def pointer(number: Any) -> Any:
            if number != 0:
                raise UnsupportedError("a number as a pointer", root=self.func, marks=[(e, "this pointer")])
            return NULL

        return pointer

    def call_function(self, e: Call) -> Any:
        """The call of another function of the module."""
        raise UnsupportedError("a call of a function in an extent or an index", root=self.func, marks=[(e, "here")])

    def barrier(self, e: Call) -> int:
        """A barrier that is met outside of lock step (rule thread.sync). A single thread waits for nobody."""
        if any(tag.startswith("threadIdx") for tag in self.coordinates):
            raise self.failure(
                "thread.sync", "a barrier that not all threads reach", [(e, "this barrier")],
                hint="move the barrier out of the branch or loop on which the threads disagree",
            )  # fmt: skip
        return 0

    # --- values that must be defined ---

    def truth(self, e: Expr) -> bool:
        """The value of a condition that decides what runs."""
        value = self.defined(self.value(e, True), e, "a condition")
        if type(value) is tuple:
            raise UnsupportedError("a branch on a vector of conditions", root=self.func, marks=[(e, "this condition")])
        return bool(value)

    def integer(self, e: Expr) -> int:
        """The value of an extent, a binding or an offset."""
        value = self.value(e, True)
        return value if type(value) is int else self.defined(value, e, "an extent or a binding")

    def defined(self, value: Any, node: Node, use: str) -> Any:
        """``value``, unless it is undefined: then the report names the element and its first load (rule
        value.undefined)."""
        parts = value if type(value) is tuple else (value,)
        undefined = next((part for part in parts if type(part) is Undefined), None)
        if undefined is None:
            return value
        name = element(undefined.buffer, undefined.indices)
        marks = [(undefined.node, f"{name} has no value yet{undefined.place}"), (node, f"used as {use}")]
        what = f"{name} was never written, and its value decides {use}"
        raise self.failure(
            "value.undefined", what, marks, hint=f"write {name} first, or give the block that computes it an init"
        )

    # --- memory ---

    def view(self, buffer: Buffer) -> View:
        """The memory of ``buffer``, of this thread where each has its own."""
        found = self.views.get(buffer)
        if type(found) is View:
            return found
        if type(found) is PerThread:
            return found.view(tuple(sorted(self.coordinates.items())))
        raise self.failure(
            "memory.bounds",
            f"{buffer.name} has no memory here",
            [(self.statement, "used here")],
            hint="allocate it in a block around its uses, or declare it",
        )

    def load(self, e: BufferLoad) -> Any:
        """The element (or the vector of elements) that ``e`` loads."""
        view = self.view(e.buffer)
        indices = tuple([self.value(index, True) for index in e.indices])
        if tuple in map(type, indices):
            return tuple([self.read(view, lane, e) for lane in zip(*spread(indices), strict=True)])
        return self.read(view, indices, e)

    def read(self, view: View, indices: tuple[Any, ...], node: Node) -> Any:
        """One element; undefined when nothing was ever written to it."""
        position = self.locate(view, indices, node)
        for watcher in self.watchers:
            watcher.read(self, view, position, indices, node)
        cell = view.storage.cells[position]
        return Undefined(view.buffer, indices, node, self.place()) if cell is None else cell

    def write(self, view: View, indices: tuple[Any, ...], node: Node, value: Any) -> None:
        """Store one element."""
        position = self.locate(view, indices, node)
        for watcher in self.watchers:
            watcher.write(self, view, position, indices, node, value)
        storage = view.storage
        storage.cells[position] = value
        storage.touched[position] = 1

    def locate(self, view: View, indices: tuple[Any, ...], node: Node) -> int:
        """The cell of an element, refused when an index is outside its dimension (rule memory.bounds)."""
        if Undefined in map(type, indices):
            self.defined(indices, node, "an index")
        position = view.locate(indices)
        if position < 0:
            raise self.out_of_bounds(view, indices, node)
        return position

    # --- reports ---

    def place(self) -> str:
        """The values of the loop variables and iterators in scope: ``" at i=3, k=0"``; empty outside loops."""
        shown = [(var, value) for var, value in self.env.items() if var not in self.hidden and var.type != "handle"]
        values = [f"{var.name}={value}" for var, value in shown]
        return f" at {', '.join(values)}" if values else ""

    def failure(
        self, rule: str, what: str, marks: Sequence[tuple[object, str]] = (), *, hint: str | None = None
    ) -> OracleError:
        """The report of a broken rule, here and now."""
        assert rule in RULES, rule
        return OracleError(
            what + self.place(), rule=rule, root=self.func, marks=marks or [(self.statement, "here")], hint=hint
        )

    def out_of_bounds(self, view: View, indices: tuple[int, ...], node: Node) -> OracleError:
        """The report of an access outside of a buffer: it names the dimension."""
        name = element(view.buffer, indices)
        for axis, (index, extent) in enumerate(zip(indices, view.shape, strict=True)):
            if not 0 <= index < extent:
                what = f"{name} is out of bounds: index {index} of dimension {axis}, whose extent is {extent},"
                return self.failure(
                    "memory.bounds",
                    what,
                    [(node, f"index {index} is not in [0, {extent})")],
                    hint="guard the access with T.where or T.if_then_else, or correct the extent",
                )
        return self.failure(
            "memory.bounds", f"{name} lies outside of the memory it is a view of", [(node, "accessed here")]
        )


def spread(operands: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The operands as vectors of one length, scalars repeated.

    >>> spread([(1, 2), 5])
    [(1, 2), (5, 5)]
    """
    lanes = max(len(x) for x in operands if type(x) is tuple)
    return [x if type(x) is tuple else (x,) * lanes for x in operands]
