"""Tensors with something around or between their elements: ``topi.nn.pad``, ``topi.nn.dilate`` …"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import te
from mlcref.ir import Const, Expr, ExprLike, as_expr, cast
from mlcref.te import Tensor
from mlcref.topi.operands import OperatorError, each, one_of, same

Amounts = Sequence[ExprLike]


def pad(
    data: Tensor, pad_before: Amounts, pad_after: Amounts | None = None, pad_value: ExprLike = 0.0,
    name: str = "PadInput", attrs: dict[str, Any] | None = None,
) -> Tensor:  # fmt: skip
    """``data`` with ``pad_before[d]`` elements ``pad_value`` before and ``pad_after[d]`` after it in each dimension (as
    many as before without ``pad_after``); a negative number cuts elements off.

    Raises OperatorError (topi.O3) unless there is one number per dimension. As ``tvm.topi.nn.pad``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.pad(te.placeholder((2, 3)), [0, 1], [1, 1]).shape]
    [3, 5]
    """
    before, after = _amounts(data, pad_before, pad_after)
    shape = _padded(data, before, after)
    outside = cast(data.dtype, pad_value)

    def value(*i: Any) -> Any:
        inside: list[Expr] = []
        for index, low, high, extent in zip(i, before, after, data.shape, strict=True):
            if not (same(low, 0) and same(high, 0)):
                inside += [index >= low, index < low + extent]
        element = data(*(index - low for index, low in zip(i, before, strict=True)))
        return te.if_then_else(te.all(*inside), element, outside) if inside else element

    return each(shape, value, name, "injective,pad", axes="i", attrs=attrs)


def _amounts(data: Tensor, before: Amounts, after: Amounts | None) -> tuple[list[Expr], list[Expr]]:
    found = [as_expr(amount) for amount in before], [as_expr(a) for a in (before if after is None else after)]
    if len(found[0]) != data.ndim or len(found[1]) != data.ndim:
        raise OperatorError(
            f"pad is given {len(found[0])} and {len(found[1])} numbers for {data.ndim} dimensions", rule="topi.O3"
        )
    return found


def _padded(data: Tensor, before: Sequence[Expr], after: Sequence[Expr]) -> list[Expr]:
    return [low + extent + high for low, extent, high in zip(before, data.shape, after, strict=True)]


def mirror_pad(
    data: Tensor, pad_before: Amounts, pad_after: Amounts | None = None, mode: str = "SYMMETRIC",
    name: str = "MirrorPadInput",
) -> Tensor:  # fmt: skip
    """``data`` continued by its mirror image, with the element at the border repeated (``mode="SYMMETRIC"``) or not
    ("REFLECT"). Raises OperatorError (topi.O3), also where the image is too short. As ``tvm.topi.nn.mirror_pad``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.mirror_pad(te.placeholder((4,)), [2], mode="REFLECT").shape]
    [8]
    """
    gap = 1 if one_of(mode, ("SYMMETRIC", "REFLECT"), "the mode of mirror_pad") == "REFLECT" else 0

    def place(index: Expr, extent: Expr) -> Expr:
        mirrored = te.if_then_else(index < 0, gap - 1 - index, index)
        return te.if_then_else(index >= extent, extent * 2 - 1 - gap - index, mirrored)

    return _continued(data, pad_before, pad_after, name, place, gap)


def reflect_pad(
    data: Tensor, pad_before: Amounts, pad_after: Amounts | None = None, name: str = "ReflectPadInput"
) -> Tensor:  # fmt: skip
    """:func:`mirror_pad` in mode "REFLECT". As ``tvm.topi.nn.reflect_pad``.

    >>> from mlcref import te, topi
    >>> topi.nn.reflect_pad(te.placeholder((4,)), [1]).ndim
    1
    """
    return mirror_pad(data, pad_before, pad_after, "REFLECT", name)


def replicate_pad(
    data: Tensor, pad_before: Amounts, pad_after: Amounts | None = None, name: str = "ReplicatePadInput"
) -> Tensor:  # fmt: skip
    """``data`` continued by the elements at its borders. As ``tvm.topi.nn.replicate_pad``.

    >>> from mlcref import te, topi
    >>> topi.nn.replicate_pad(te.placeholder((4,)), [5]).ndim
    1
    """

    def place(index: Expr, extent: Expr) -> Any:
        return te.min(te.max(index, 0), extent - 1)

    return _continued(data, pad_before, pad_after, name, place, None)


def circular_pad(
    data: Tensor, pad_before: Amounts, pad_after: Amounts | None = None, name: str = "CircularPadInput"
) -> Tensor:  # fmt: skip
    """``data`` repeated on all sides. As ``tvm.topi.nn.circular_pad``.

    >>> from mlcref import te, topi
    >>> topi.nn.circular_pad(te.placeholder((4,)), [1]).ndim
    1
    """
    return _continued(data, pad_before, pad_after, name, lambda index, extent: index % extent, None)


def _continued(
    data: Tensor, pad_before: Amounts, pad_after: Amounts | None, name: str, place: Callable[[Expr, Expr], Expr],
    gap: int | None,
) -> Tensor:  # fmt: skip
    """``data`` read at ``place(index, extent)`` where the index may be outside; ``gap`` not None bounds how far."""
    before, after = _amounts(data, pad_before, pad_after)
    for low, high, extent in zip(before, after, data.shape, strict=True):
        for amount in (low, high):
            if isinstance(amount, Const) and amount.value < 0:
                raise OperatorError(f"{name} of {amount.value} elements", rule="topi.O3")
            too_far = gap is not None and isinstance(extent, Const) and isinstance(amount, Const)
            if too_far and int(amount) > int(extent) - (gap or 0):  # type: ignore[call-overload]
                raise OperatorError(f"{name} of {amount!r} elements beside {extent!r}", rule="topi.O3")

    def value(*i: Any) -> Any:
        places = []
        for index, low, high, extent in zip(i, before, after, data.shape, strict=True):
            plain = same(low, 0) and same(high, 0)
            places.append(index if plain else place(index - low, extent))
        return data(*places)

    return each(_padded(data, before, after), value, name, "injective,pad", axes="i")


def dilate(data: Tensor, strides: Amounts, dilation_value: ExprLike = 0.0, name: str = "DilatedInput") -> Tensor:
    """``data`` with ``strides[d] - 1`` elements ``dilation_value`` between its elements along each dimension. Raises
    OperatorError (topi.O3). As ``tvm.topi.nn.dilate``.

    >>> from mlcref import te, topi
    >>> [int(extent) for extent in topi.nn.dilate(te.placeholder((3, 3)), [2, 1]).shape]
    [5, 3]
    """
    steps = [as_expr(step) for step in strides]
    if len(steps) != data.ndim:
        raise OperatorError(f"dilate is given {len(steps)} strides for {data.ndim} dimensions", rule="topi.O3")
    shape = [(extent - 1) * step + 1 for extent, step in zip(data.shape, steps, strict=True)]
    between = cast(data.dtype, dilation_value)

    def value(*i: Any) -> Any:
        spread = [(index, step) for index, step in zip(i, steps, strict=True) if not same(step, 1)]
        places = [index if same(step, 1) else index // step for index, step in zip(i, steps, strict=True)]
        element = data(*places)
        hit = [index % step == 0 for index, step in spread]
        return te.if_then_else(te.all(*hit), element, between) if hit else element

    return each(shape, value, name, "injective,dilate", axes="i")
