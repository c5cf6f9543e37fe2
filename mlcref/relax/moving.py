"""Tensor programs that move elements and compute nothing (layouts of weights, padding, slices, conversions), by numpy.

The oracle says what a program means; this module knows a part of it well enough to give the same bits for a whole loop
nest at once. A nest is known when it stores each element once, in a block of spatial iterators without conditions, and
when indices are arithmetic on the loops. Everything else, and everything that means nothing, is left to the oracle.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.ir import (
    EQ, GE, GT, LE, LT, NE, Add, And, Block, BlockRealize, Buffer, BufferLoad, BufferStore, Call, Cast, Compare, Const,
    Expr, FloorDiv, FloorMod, For, IterVar, Max, Min, Mul, Not, Or, PrimFunc, Stmt, Sub, Var, children_of, constant,
)  # fmt: skip

Array = np.ndarray[Any, Any]
_LARGEST = 2**31
"""Indices stay below: their products fit 64 bits."""
_ARITHMETIC: dict[type, Callable[[Any, Any], Array]] = {
    Add: operator.add, Sub: operator.sub, Mul: operator.mul, FloorDiv: operator.floordiv, FloorMod: operator.mod,
    Min: np.minimum, Max: np.maximum,
}  # fmt: skip
_CONDITIONS: dict[type, Callable[[Any, Any], Array]] = {
    EQ: operator.eq, NE: operator.ne, LT: operator.lt, LE: operator.le, GT: operator.gt, GE: operator.ge,
    And: operator.and_, Or: operator.or_,
}  # fmt: skip
_EXACT_OR_ROUNDED_ONCE = {
    ("float16", "float32"), ("float16", "float64"), ("float32", "float64"), ("bfloat16", "float32"),
    ("float32", "float16"), ("float64", "float16"), ("float64", "float32"), ("float32", "bfloat16"),
    ("int8", "int32"), ("uint8", "int32"), ("int16", "int32"), ("int8", "float32"), ("uint8", "float32"),
}  # fmt: skip
"""Conversions that numpy does in one step; of finite numbers to finite numbers, so that no NaN is at stake."""


class _Unknown(Exception):
    pass


def moved(program: PrimFunc, inputs: Sequence[Array]) -> Array | None:
    """What ``program`` writes to its last parameter for ``inputs``, all other parameters; None where the oracle has to
    say what it means.

    >>> from mlcref import te
    >>> A = te.placeholder((2, 3), name="A")
    >>> turned = te.create_prim_func([A, te.compute((3, 2), lambda i, j: A[j, i], name="B")])
    >>> moved(turned, [np.arange(6, dtype="float32").reshape(2, 3)])[:, 1]
    array([3., 4., 5.], dtype=float32)
    """
    try:
        return _Move(program, inputs).result()
    except _Unknown:
        return None


class _Move:
    def __init__(self, program: PrimFunc, inputs: Sequence[Array]) -> None:
        _need(len(program.params) == len(program.buffers) == len(inputs) + 1)
        match program.body:
            case BlockRealize(iter_values=(), predicate=(), block=Block(init=None, match_buffers=()) as root):
                self.root = root
            case _:
                raise _Unknown
        self.arrays: dict[Buffer, Array] = {}
        self.written: dict[Buffer, Array] = {}
        for param, array in zip(program.buffers, inputs, strict=False):
            _need(_shape(param) == array.shape and dt.numpy_dtype(param.type) == array.dtype)
            self.arrays[param] = array
        self.output = program.buffers[-1]
        for buffer in (self.output, *self.root.alloc_buffers):
            self.arrays[buffer] = np.empty(_shape(buffer), dt.numpy_dtype(buffer.type))
            self.written[buffer] = np.zeros(_shape(buffer), "bool")

    def result(self) -> Array:
        for nest in children_of(self.root.body):
            self.nest(nest)
        _need(self.written[self.output].all())
        return self.arrays[self.output]

    def nest(self, stmt: Stmt) -> None:
        """Run one loop nest around one block."""
        loops: list[For] = []
        while isinstance(stmt, For):
            loops.append(stmt)
            stmt = stmt.body
        match stmt:
            case BlockRealize(iter_values=values, predicate=(), block=Block(
                init=None, alloc_buffers=(), match_buffers=(), iter_vars=iterators, body=BufferStore() as body,
            )):  # fmt: skip
                grid = _grid(loops)
                own = {one.var: _counted(one, grid.number(value)) for one, value in zip(iterators, values, strict=True)}
                self.store(body, _Grid(grid.shape, {**grid.variables, **own}))
            case _:
                raise _Unknown

    def store(self, stmt: BufferStore, grid: _Grid) -> None:
        target = stmt.buffer
        _need(target in self.written)
        place = _inside([grid.number(index) for index in stmt.indices], target, None)
        value = self.value(stmt.value, grid, target, None)
        now = np.zeros(self.written[target].shape, "bool")
        now[place] = True
        _need(np.count_nonzero(now) == np.prod(grid.shape, dtype="int64"))
        self.arrays[target][place] = value
        self.written[target] |= now

    def value(self, expr: Expr, grid: _Grid, target: Buffer, taken: Array | None) -> Array:
        """The values of ``expr``, wanted where ``taken`` holds (None: everywhere)."""
        match expr:
            case BufferLoad():
                return self.load(expr, grid, target, taken)
            case Const():
                return np.asarray(expr.value, dt.numpy_dtype(expr.type))
            case Cast():
                return _converted(self.value(expr.value, grid, target, taken), expr.value.dtype, expr.type)
            case Call(op="if_then_else", args=(test, yes, no)):
                holds = grid.condition(test)
                there, elsewhere = (holds, ~holds) if taken is None else (holds & taken, ~holds & taken)
                one, other = self.value(yes, grid, target, there), self.value(no, grid, target, elsewhere)
                return np.where(holds, one, other)
            case _:
                raise _Unknown

    def load(self, expr: BufferLoad, grid: _Grid, target: Buffer, taken: Array | None) -> Array:
        source = expr.buffer
        _need(source in self.arrays and source is not target)
        _need(source not in self.written or self.written[source].all())
        found: Array = self.arrays[source][_inside([grid.number(one) for one in expr.indices], source, taken)]
        return found


class _Grid:
    """The iterations of a nest: each variable as an array that broadcasts to ``shape``, an axis per loop."""

    def __init__(self, shape: tuple[int, ...], variables: dict[Var, Array]) -> None:
        self.shape, self.variables = shape, variables

    def number(self, expr: Expr) -> Array:
        """The integer ``expr`` in all iterations."""
        found = self._number(expr)
        _need(found.size > 0 and -_LARGEST < found.min() and found.max() < _LARGEST)
        return found

    def _number(self, expr: Expr) -> Array:
        match expr:
            case Const(type="int32" | "int64", value=value):
                return np.asarray(value, "int64")
            case Var() if expr in self.variables:
                return self.variables[expr]
            case Cast(type="int32" | "int64", value=value) if value.dtype in ("int32", "int64"):
                return self.number(value)
            case FloorDiv(a=a, b=Const(value=divisor)) | FloorMod(a=a, b=Const(value=divisor)) if divisor > 0:
                return _ARITHMETIC[type(expr)](self.number(a), divisor)
            case Add(a=a, b=b) | Sub(a=a, b=b) | Mul(a=a, b=b) | Min(a=a, b=b) | Max(a=a, b=b):
                return _ARITHMETIC[type(expr)](self.number(a), self.number(b))
            case _:
                raise _Unknown

    def condition(self, expr: Expr) -> Array:
        """Where ``expr`` holds."""
        match expr:
            case Not(a=a):
                return ~self.condition(a)
            case And(a=a, b=b) | Or(a=a, b=b):
                return _CONDITIONS[type(expr)](self.condition(a), self.condition(b))
            case Compare(a=a, b=b) if type(expr) in _CONDITIONS:
                return _CONDITIONS[type(expr)](self.number(a), self.number(b))
            case _:
                raise _Unknown


def _grid(loops: Sequence[For]) -> _Grid:
    counts: dict[Var, Array] = {}
    for place, loop in enumerate(loops):
        _need(constant(loop.min) == 0 and loop.thread is None and loop.step is None)
        extent = _size(loop.extent)
        shape = [extent if axis == place else 1 for axis in range(len(loops))]
        counts[loop.loop_var] = np.arange(extent).reshape(shape)
    return _Grid(tuple([_size(loop.extent) for loop in loops]), counts)


def _counted(iterator: IterVar, values: Array) -> Array:
    """The values of a spatial iterator, which are in its domain."""
    low = constant(iterator.dom.min)
    _need(iterator.iter_type == "spatial" and low is not None)
    _need(low is not None and _within(values - low, _size(iterator.dom.extent)))
    return values


def _inside(indices: Sequence[Array], buffer: Buffer, taken: Array | None) -> tuple[Array, ...]:
    """The indices, which are in bounds where ``taken`` holds; 0 elsewhere, if need be."""
    made: list[Array] = []
    for index, extent in zip(indices, _shape(buffer), strict=True):
        if taken is not None and not _within(index, extent):
            index = np.where(taken, index, 0)
        _need(_within(index, extent))
        made.append(index)
    return tuple(made)


def _within(index: Array, extent: int) -> bool:
    return bool(index.min() >= 0 and index.max() < extent)


def _converted(value: Array, source: str, target: str) -> Array:
    _need((source, target) in _EXACT_OR_ROUNDED_ONCE)
    with np.errstate(over="ignore", under="ignore"):
        found = value.astype(dt.numpy_dtype(target))
    _need(bool(np.isfinite(found).all()) and bool(np.isfinite(value).all()))
    return found


def _shape(buffer: Buffer) -> tuple[int, ...]:
    _need(not buffer.strides and buffer.elem_offset is None and buffer.data is None)
    return tuple([_size(extent) for extent in buffer.shape])


def _size(extent: Expr) -> int:
    known = constant(extent)
    if known is None or not 0 < known < _LARGEST:
        raise _Unknown
    return known


def _need(holds: Any) -> None:
    if not holds:
        raise _Unknown
