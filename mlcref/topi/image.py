"""Images of another size: ``topi.image.resize2d``.

Where a pixel of the result lies in the input is computed in integers, as a fraction: no rounding of floats decides
which pixel is the nearest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlcref import dtype as dt
from mlcref import te
from mlcref.errors import UnsupportedError
from mlcref.ir import Expr, ExprLike, as_expr
from mlcref.te import Tensor
from mlcref.topi.operands import OperatorError, each, number, numbers, one_of, spatial_axes

__all__ = ["resize1d", "resize2d", "resize3d"]

Size = ExprLike | Sequence[ExprLike]
_MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def resize1d(
    data: Tensor, roi: Sequence[float], size: Size, layout: str = "NCW", method: str = "linear",
    coordinate_transformation_mode: str = "half_pixel", rounding_method: str = "", bicubic_alpha: float = -0.75,
    bicubic_exclude: int = 0, extrapolation_value: float = 0.0, out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """As :func:`resize2d`, in one spatial dimension. As ``tvm.topi.image.resize1d``.

    >>> from mlcref import te, topi
    >>> topi.image.resize1d(te.placeholder((1, 3, 4)), [0.0, 0.0], 8).ndim
    3
    """
    return _resize(data, size, layout, method, coordinate_transformation_mode, rounding_method, out_dtype)


def resize2d(
    data: Tensor, roi: Sequence[float], size: Size, layout: str = "NCHW", method: str = "linear",
    coordinate_transformation_mode: str = "half_pixel", rounding_method: str = "", bicubic_alpha: float = -0.75,
    bicubic_exclude: int = 0, extrapolation_value: float = 0.0, out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """Images of ``size`` H x W: by the nearest pixel, or linearly between the pixels around ("linear", floats).

    Pixel p of n lies in an extent e at ``(p + 0.5) * e / n - 0.5`` ("half_pixel"; "pytorch_half_pixel": at 0 for n of
    1), ``p * (e - 1) / (n - 1)`` ("align_corners") or ``p * e / n`` ("asymmetric"). The nearest pixel is found by the
    ``rounding_method`` "round" (to the later one of two), "round_prefer_floor", "round_prefer_ceil", "floor" or "ceil";
    by default "floor", but "round" where corners are aligned. Cubic interpolation and the
    mode of ``roi`` are not supported, UnsupportedError (topi.U1); the other parameters are theirs.

    Raises OperatorError (topi.O3, topi.O5). As ``tvm.topi.image.resize2d``.

    >>> from mlcref import te, topi
    >>> Y = topi.image.resize2d(te.placeholder((1, 3, 4, 4)), [0.0] * 4, (8, 6), method="nearest_neighbor")
    >>> [int(extent) for extent in Y.shape]
    [1, 3, 8, 6]
    """
    return _resize(data, size, layout, method, coordinate_transformation_mode, rounding_method, out_dtype)


def resize3d(
    data: Tensor, roi: Sequence[float], size: Size, layout: str = "NCDHW", method: str = "linear",
    coordinate_transformation_mode: str = "half_pixel", rounding_method: str = "", bicubic_alpha: float = -0.75,
    bicubic_exclude: int = 0, extrapolation_value: float = 0.0, out_dtype: str | None = None,
) -> Tensor:  # fmt: skip
    """As :func:`resize2d`, in three spatial dimensions. As ``tvm.topi.image.resize3d``.

    >>> from mlcref import te, topi
    >>> topi.image.resize3d(te.placeholder((1, 1, 2, 2, 2)), [0.0] * 6, 4).ndim
    5
    """
    return _resize(data, size, layout, method, coordinate_transformation_mode, rounding_method, out_dtype)


def upsampling(
    data: Tensor, scale_h: int, scale_w: int, layout: str = "NCHW", method: str = "nearest_neighbor",
    align_corners: bool = False,
) -> Tensor:  # fmt: skip
    """Images ``scale_h`` times as high and ``scale_w`` times as wide, by :func:`resize2d`: asymmetric, or with
    ``align_corners``; "bilinear" is its "linear". Raises OperatorError (topi.O3). As ``tvm.topi.nn.upsampling``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.upsampling(te.placeholder((1, 3, 4, 4)), 2, 3).shape]
    [1, 3, 8, 12]
    """
    axes = spatial_axes(layout, data.ndim, "upsampling")
    size = [data.shape[d] * number(scale, "a scale") for d, scale in zip(axes, (scale_h, scale_w), strict=True)]
    known = "linear" if method == "bilinear" else method
    mode = "align_corners" if align_corners else "asymmetric"
    return _resize(data, size, layout, known, mode, "", None)


@dataclass(frozen=True)
class _Line:
    """How pixels of a line of ``new`` lie in one of ``old``: pixel p at ``(p * slope + start) / scale``."""

    old: int
    new: int
    slope: int
    start: int
    scale: int

    def position(self, pixel: Any) -> Expr:
        """The numerator over ``scale``."""
        return as_expr(pixel * self.slope + self.start)


def _line(old: int, new: int, mode: str) -> _Line:
    if mode == "align_corners":
        return _Line(old, new, old - 1, 0, new - 1) if new > 1 else _Line(old, new, 0, 0, 1)
    if mode == "asymmetric":
        return _Line(old, new, old, 0, new)
    if mode == "pytorch_half_pixel" and new == 1:
        return _Line(old, new, 0, 0, 1)
    return _Line(old, new, 2 * old, old - new, 2 * new)


def _resize(
    data: Tensor, size: Size, layout: str, method: str, mode: str, rounding: str, out_dtype: str | None
) -> Tensor:  # fmt: skip
    if method == "cubic" or mode.startswith("tf_"):
        raise UnsupportedError(f"resize with {method}, {mode} is not supported", rule="topi.U1")
    one_of(method, ("nearest_neighbor", "linear"), "method")
    one_of(mode, _MODES, "coordinate_transformation_mode")
    axes = spatial_axes(layout, data.ndim, "resize")
    sizes = numbers(size, len(axes), "size")
    if min(sizes) < 1:
        raise OperatorError(f"resize to {sizes}", rule="topi.O3")
    extents = [number(data.shape[d], "an extent of resize") for d in axes]
    lines = [_line(old, new, mode) for old, new in zip(extents, sizes, strict=True)]
    shape = list(data.shape)
    for d, extent in zip(axes, sizes, strict=True):
        shape[d] = as_expr(extent)
    rounding = rounding or ("round" if mode == "align_corners" else "floor")
    element = _between(data, axes, lines) if method == "linear" else _nearest(data, axes, lines, rounding)
    dtype = out_dtype or data.dtype
    return each(shape, lambda *i: element(*i).astype(dtype), "resize", axes="i")


def _nearest(data: Tensor, axes: Sequence[int], lines: Sequence[_Line], rounding: str) -> Callable[..., Expr]:
    choose = _ROUNDINGS[one_of(rounding, tuple(_ROUNDINGS), "rounding_method")]

    def element(*i: Any) -> Expr:
        at = list(i)
        for d, line in zip(axes, lines, strict=True):
            at[d] = _clamped(choose(line.position(i[d]), line.scale), line.old)
        return as_expr(data(*at))

    return element


def _half_up(position: Expr, scale: int) -> Expr:
    return (position * 2 + scale) // (2 * scale)


_ROUNDINGS: dict[str, Callable[[Expr, int], Expr]] = {
    "round": _half_up,
    "round_prefer_floor": lambda position, scale: (position * 2 + scale - 1) // (2 * scale),
    "round_prefer_ceil": _half_up,
    "floor": lambda position, scale: position // scale,
    "ceil": lambda position, scale: (position + (scale - 1)) // scale,
}
"""A fraction as a whole number."""


def _clamped(place: Expr, extent: int) -> Any:
    return te.max(te.min(place, extent - 1), 0)


def _between(data: Tensor, axes: Sequence[int], lines: Sequence[_Line]) -> Callable[..., Expr]:
    """The pixels around, weighted by how near they are, one dimension after the other, the last first."""
    if not dt.is_float(data.dtype):
        raise OperatorError(f"linear interpolation is defined on floats, not on {data.dtype}", rule="topi.O4")

    def element(*i: Any) -> Expr:
        def weighted(at: list[Any], rest: Sequence[tuple[int, _Line]]) -> Expr:
            if not rest:
                return as_expr(data(*at))
            (d, line), *others = rest
            position = line.position(i[d])
            low = position // line.scale
            share = (position % line.scale).astype(data.dtype) / float(line.scale)
            ends = []
            for place in (low, low + 1):
                ends.append(weighted([*at[:d], _clamped(place, line.old), *at[d + 1 :]], others))
            return ends[0] * (1.0 - share) + ends[1] * share

        return weighted(list(i), list(zip(axes, lines, strict=True)))

    return element
