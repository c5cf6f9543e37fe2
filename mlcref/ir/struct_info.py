"""What is known about a value of the graph level before the program runs, and shapes as values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch
from mlcref.ir import expr as tir
from mlcref.ir.base import Node, node

DimLike = Any
"""An extent: an int, or an int64 expression over symbolic dimensions."""


class StructInfo(Node):
    """What is known about a value before the program runs."""

    __slots__ = ()


class GraphExpr(Node):
    """Base of expressions of the graph level."""

    __slots__ = ()

    @property
    def struct_info(self) -> StructInfo:
        """What is known about the value."""
        raise NotImplementedError


def dim(value: DimLike) -> tir.Expr:
    """``value`` as an int64 extent; raises ``TypeMismatch`` for a negative number or another type."""
    expr = value if isinstance(value, tir.Expr) else tir.as_expr(value, "int64")
    if isinstance(expr, tir.Const) and dt.is_integer(expr.type):
        expr = tir.cast("int64", expr)
    if expr.dtype != "int64":
        raise TypeMismatch(
            lambda: f"a dimension of a tensor is int64, not {expr.dtype}: {expr!r}", hint="declare it with T.int64()"
        )
    if isinstance(expr, tir.Const) and expr.value < 0:
        raise TypeMismatch(f"a dimension cannot be {expr.value}")
    return expr


@node
class ObjectStructInfo(StructInfo):
    """Nothing is known."""


@node
class ShapeExpr(GraphExpr):
    """A shape as a value: int64 extents."""

    values: tuple[tir.Expr, ...]

    if TYPE_CHECKING:

        def __init__(self, values: Iterable[DimLike]) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple([dim(value) for value in self.values]))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tir.Expr]:
        return iter(self.values)

    def __getitem__(self, index: int) -> tir.Expr:
        return self.values[index]

    @property
    def struct_info(self) -> ShapeStructInfo:
        """The shape of itself."""
        return ShapeStructInfo(self.values)


@node
class TensorStructInfo(StructInfo):
    """A tensor of ``dtype``; ``shape`` is a ``ShapeExpr``, or None when only ``ndim`` (-1: not even that) is known.

    >>> TensorStructInfo((1, 784), "float32").ndim
    2
    """

    shape: ShapeExpr | None = None
    dtype: str = "float32"
    ndim: int = -1

    if TYPE_CHECKING:

        def __init__(
            self, shape: ShapeExpr | Iterable[DimLike] | None = None, dtype: str = "float32", ndim: int = -1
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", dt.canonical(self.dtype))
        if self.shape is None:
            return
        shape = ShapeExpr(self.shape) if type(self.shape) is not ShapeExpr else self.shape
        if self.ndim not in (-1, len(shape)):
            raise TypeMismatch(f"a shape of {len(shape)} dimensions with ndim={self.ndim}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "ndim", len(shape))


@node
class ShapeStructInfo(StructInfo):
    """A shape; ``values`` are its extents, or None when only ``ndim`` is known."""

    values: tuple[tir.Expr, ...] | None = None
    ndim: int = -1

    if TYPE_CHECKING:

        def __init__(self, values: Iterable[DimLike] | None = None, ndim: int = -1) -> None: ...

    def __post_init__(self) -> None:
        if self.values is not None:
            object.__setattr__(self, "values", tuple([dim(value) for value in self.values]))
            object.__setattr__(self, "ndim", len(self.values))


@node
class TupleStructInfo(StructInfo):
    """A tuple of values."""

    fields: tuple[StructInfo, ...] = ()

    if TYPE_CHECKING:

        def __init__(self, fields: Iterable[StructInfo] = ()) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(self.fields))


def extents_of(info: StructInfo) -> Iterator[tir.Expr]:
    """The extents that ``info`` mentions, in order."""
    if isinstance(info, TensorStructInfo) and info.shape is not None:
        yield from info.shape
    elif isinstance(info, ShapeStructInfo) and info.values is not None:
        yield from info.values
    elif isinstance(info, TupleStructInfo):
        for field in info.fields:
            yield from extents_of(field)
