"""Arithmetic on shapes with symbolic extents: what inference is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlcref import te
from mlcref.arith import same, simplified
from mlcref.errors import TypeMismatch
from mlcref.ir import Expr, constant
from mlcref.ir.graph import TensorStructInfo, dim

Shape = tuple[Expr, ...]


def described(x: te.Tensor) -> TensorStructInfo:
    """The struct info of a tensor of a tensor expression."""
    return TensorStructInfo(x.shape, x.dtype)


def extents(info: TensorStructInfo) -> Shape:
    """The extents of a tensor of known shape."""
    assert info.shape is not None
    return info.shape.values


def tensor(shape: Iterable[object], dtype: str) -> TensorStructInfo:
    """A tensor with simplified extents.

    >>> from mlcref.ir import Var
    >>> n = Var("n", "int64")
    >>> tensor([n * 2 - n, 3 + 4], "float32")
    R.Tensor((n, 7), dtype="float32")
    """
    return TensorStructInfo([simplified(dim(extent)) for extent in shape], dtype)


def is_one(extent: Expr) -> bool:
    """Is the extent 1, so that it broadcasts?"""
    return constant(extent) == 1


def require_same(a: Expr, b: Expr, what: str) -> None:
    """Raise ``TypeMismatch`` unless two extents are equal."""
    if not same(a, b):
        raise TypeMismatch(lambda: f"{what}: {written(a)} and {written(b)} are not known to be equal")


def broadcast(a: Shape, b: Shape, name: str) -> Shape:
    """The shape of an elementwise operation on ``a`` and ``b``: aligned at the end, 1 stretches (numpy's rule)."""
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    skipped = len(longer) - len(shorter)
    return longer[:skipped] + tuple(
        _stretched(x, y, name, a, b) for x, y in zip(longer[skipped:], shorter, strict=True)
    )


def _stretched(x: Expr, y: Expr, name: str, a: Shape, b: Shape) -> Expr:
    if is_one(y) or same(x, y):
        return x
    if is_one(x):
        return y
    raise TypeMismatch(lambda: f"{name}: shapes {listed(a)} and {listed(b)} do not broadcast")


def axis_of(axis: int, ndim: int, name: str) -> int:
    """``axis`` counted from the front; raises ``TypeMismatch`` when there is none."""
    if not -ndim <= axis < ndim:
        raise TypeMismatch(f"{name}: axis {axis} of a tensor of {ndim} dimensions")
    return axis % ndim


def axes_of(axes: Sequence[int] | None, ndim: int, name: str) -> tuple[int, ...]:
    """``axes`` counted from the front, all of them for None; raises ``TypeMismatch`` for one given twice."""
    if axes is None:
        return tuple(range(ndim))
    found = tuple(axis_of(axis, ndim, name) for axis in axes)
    if len(set(found)) != len(found):
        raise TypeMismatch(f"{name}: an axis is given twice in {list(axes)}")
    return found


def number(extent: Expr, what: str) -> int:
    """An extent that must be a number; raises ``TypeMismatch``."""
    value = constant(extent)
    if value is None:
        raise TypeMismatch(lambda: f"{what} is {written(extent)}, which must be a number here")
    return value


def written(extent: Expr) -> str:
    """An extent as text."""
    value = constant(extent)
    return repr(extent) if value is None else str(value)


def listed(shape: Sequence[Expr]) -> str:
    """A shape as text."""
    return f"({', '.join(written(extent) for extent in shape)}{',' if len(shape) == 1 else ''})"
