"""What the statement-level names of ``T`` evaluate to: plain records that the parser turns into statements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch, UnsupportedError
from mlcref.ir import (
    Add,
    Break,
    Buffer,
    BufferLoad,
    BufferRegion,
    Const,
    Continue,
    Expr,
    ExprLike,
    GlobalVar,
    Ramp,
    Range,
    Sub,
    Var,
    as_expr,
    binary,
    call,
    cast,
    constant,
    structural_equal,
)  # fmt: skip
from mlcref.ir.expr import match_types
from mlcref.records import dataclass


@dataclass(frozen=True, slots=True)
class Loops:
    """One loop (``T.serial`` …) or several (``T.grid``)."""

    kind: str
    ranges: tuple[Range, ...]
    thread: str | None = None
    annotations: Mapping[str, Any] | None = None
    step: Expr | None = None


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """``T.block(name)``."""

    name: str


@dataclass(frozen=True, slots=True)
class Init:
    """``T.init()``."""


@dataclass(frozen=True, slots=True)
class Axes:
    """``T.axis.…``: iterator types, domains (None: the range of the loop bound to it) and bound values."""

    iter_types: tuple[str, ...]
    domains: tuple[Range | None, ...]
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """``T.reads`` or ``T.writes``."""

    field: str
    regions: tuple[BufferRegion, ...]


@dataclass(frozen=True, slots=True)
class Where:
    """``T.where``."""

    condition: Expr


@dataclass(frozen=True, slots=True)
class Attributes:
    """``T.func_attr`` (``of`` is "function") or ``T.block_attr`` ("block")."""

    of: str
    attrs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Allocation:
    """``T.alloc_buffer``; ``block`` when the spelling says that it is a block's. ``T.allocate`` and
    ``T.allocate_const`` make a ``pointer``, with ``contents``.
    """

    buffer: Buffer
    block: bool
    annotations: Mapping[str, Any] | None = None
    pointer: bool = False
    contents: tuple[Const, ...] = ()


@dataclass(frozen=True, slots=True)
class Declaration:
    """``T.decl_buffer(…, data=source.data)``, or over a pointer parameter."""

    buffer: Buffer
    source: Buffer | HandleParameter | Var


@dataclass(frozen=True, slots=True)
class Match:
    """``T.match_buffer`` of a handle parameter or of a region."""

    buffer: Buffer
    source: HandleParameter | BufferRegion


@dataclass(frozen=True, slots=True)
class HandleParameter:
    """A parameter ``a: T.handle``, to be matched. In an expression it is the pointer ``var``, of which the function
    knows nothing."""

    name: str
    var: Var
    used: list[Expr] = field(default_factory=list)

    def as_expr(self) -> Expr:
        """The pointer."""
        self.used.append(self.var)
        return self.var


@dataclass(frozen=True, slots=True)
class Binding:
    """``T.LetStmt(value)``, ``T.bind(value)``."""

    value: Expr


@dataclass(frozen=True, slots=True)
class Attribute:
    """``T.attr(target, key, value)``."""

    target: Expr | None
    key: str
    value: Expr


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """``T.attr({key: value, …})``: attributes of nothing in particular."""

    attrs: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class Thread:
    """``T.env_thread("threadIdx.x")``: a thread axis that ``T.launch_thread`` opens. ``name`` is its variable's."""

    tag: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """``T.launch_thread(axis, extent)``."""

    thread: Thread
    extent: Expr


@dataclass(frozen=True, slots=True)
class Jump:
    """``T.break_loop()``, ``T.continue_loop()``."""

    stmt: type[Break] | type[Continue]


@dataclass(frozen=True, slots=True)
class Cell:
    """A variable that is stored to: ``x: T.float32`` in a flat function, memory of one element."""

    buffer: Buffer

    def as_expr(self) -> Expr:
        """Its value."""
        return BufferLoad(self.buffer, (Const(0),))


@dataclass(frozen=True, slots=True)
class Assertion:
    """``T.Assert(condition, message)``."""

    condition: Expr
    message: str


@dataclass(frozen=True, slots=True)
class Returned:
    """``T.ret(value)``."""

    value: Expr


@dataclass(frozen=True, slots=True)
class FunctionName:
    """``Module.h``: another function of the module. ``params`` are the types of its scalar parameters (None: memory),
    ``result`` that of its value ("void": none)."""

    name: str
    params: tuple[str | None, ...]
    result: str

    def __call__(self, *args: Any) -> Expr:
        """The call of the function. Buffers are given as they are, numbers in the type of the parameter."""
        if len(args) != len(self.params):
            raise TypeMismatch(f"{self.name} takes {len(self.params)} arguments, got {len(args)}")
        given = [self.argument(k, arg) for k, arg in enumerate(args)]
        return call("call_function", GlobalVar(self.name), *given, dtype=self.result)

    def argument(self, k: int, arg: Any) -> Expr:
        """The argument for parameter ``k``."""
        if isinstance(arg, Buffer):
            arg = call("buffer_argument", load_origin(arg))
        expr, expected = as_expr(arg), self.params[k]
        pointer = expr.dtype == "handle"
        if pointer is not (expected is None):
            kind = "memory" if expected is None else f"a number of type {expected}"
            raise TypeMismatch(f"argument {k} of {self.name} is {kind}, not {expr.dtype}")
        return expr if expected is None else cast(expected, expr)


@dataclass(frozen=True, slots=True)
class ModuleName:
    """``Module``, the class of the module that is read, with its functions."""

    name: str
    functions: Mapping[str, FunctionName]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``T.evaluate(value)``."""

    value: Expr


@dataclass(frozen=True, slots=True)
class MetaValue:
    """``T.meta_var(value)``: a name for a value of the parser, not of the program."""

    value: Any


@dataclass(frozen=True, slots=True)
class DataOf:
    """``A.data``: the memory of a buffer."""

    buffer: Buffer

    def as_expr(self) -> Expr:
        """The pointer that this is in an expression."""
        return call("buffer_data", load_origin(self.buffer))


@dataclass(frozen=True, slots=True)
class BufferSlice:
    """``A[i, 0:16]``: a region where one is asked for, a vector load elsewhere."""

    region: BufferRegion
    sliced: tuple[bool, ...]
    step: int = 1

    def as_expr(self) -> Expr:
        """The vector load that this is in an expression."""
        return BufferLoad(self.region.buffer, self.indices())

    def indices(self) -> tuple[Expr, ...]:
        """Indices with a ramp in place of the slice."""
        return tuple(
            _ramp(dim, self.step) if sliced else dim.min
            for dim, sliced in zip(self.region.region, self.sliced, strict=True)
        )


def load_origin(buffer: Buffer) -> BufferLoad:
    """The first element of a buffer: what the calls on buffers (``A.data``, ``A.elem_offset``) are about."""
    return BufferLoad(buffer, tuple(Const(0, extent.dtype) for extent in buffer.shape))


MAX_LANES = 65535


def lanes_of(count: Any) -> int:
    """A number of lanes: a constant up to 65535, as TVM has it."""
    number = constant(as_expr(count))
    if number is None:
        raise UnsupportedError("a vector whose length is no constant", rule="script.unsupported")
    if not 1 <= number <= MAX_LANES:
        raise TypeMismatch(f"a vector has 1 to {MAX_LANES} lanes, not {number}")
    return number


def _ramp(dim: Range, step: int) -> Expr:
    extent = constant(dim.extent)
    if extent is None or extent < 1:
        raise TypeMismatch(
            "a slice outside T.reads, T.writes and T.match_buffer is a vector: its length must be a constant"
        )
    if step < 1:
        raise TypeMismatch(f"the step of a slice is a positive number, not {step}")
    lanes = lanes_of(-(-extent // step))
    return dim.min if lanes == 1 else Ramp(dim.min, Const(step, dim.min.dtype), lanes)


def span(start: ExprLike, stop: ExprLike) -> Range:
    """The range from ``start`` up to ``stop``, both in one integer type. The inverse of :func:`stop_of`."""
    low, high = match_types(start, stop)
    if not dt.is_integer(low.dtype):
        raise TypeMismatch(f"a range counts integers, not {low.dtype}")
    if constant(low) == 0:
        return Range(low, high)
    if isinstance(high, Add) and structural_equal(high.a, low):
        return Range(low, high.b)
    return Range(low, binary(Sub, high, low))


def stop_of(dim: Range) -> Expr:
    """The expression for the end of a range from which :func:`span` finds the same range again."""
    low, extent = dim.min, dim.extent
    if constant(low) == 0:
        return extent
    if isinstance(extent, Sub) and structural_equal(extent.b, low):
        whole = extent.a
        if not isinstance(low, Const) and not (isinstance(whole, Add) and structural_equal(whole.a, low)):
            return whole
    return binary(Add, low, extent)


def point(index: ExprLike) -> Range:
    """The range of one index."""
    expr = as_expr(index)
    return Range(expr, Const(1, expr.dtype))


def region_of(value: Any) -> BufferRegion:
    """The region that ``A``, ``A[i, j]`` or ``A[i, 0:16]`` stands for."""
    if isinstance(value, BufferRegion):
        return value
    if isinstance(value, BufferSlice):
        if value.step != 1:
            raise TypeMismatch("the slices of a region have no step")
        return value.region
    if isinstance(value, Buffer):
        return BufferRegion(value, tuple(Range(Const(0, extent.dtype), extent) for extent in value.shape))
    if isinstance(value, BufferLoad):
        return BufferRegion(value.buffer, tuple(point(index) for index in value.indices))
    raise TypeMismatch(f"{type(value).__name__} is no region of a buffer", hint="write A, A[i, j] or A[i, 0:16]")
