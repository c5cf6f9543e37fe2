"""What convolutions and pooling share: windows, and how much is padded on each side."""

from __future__ import annotations

from collections.abc import Sequence

from mlcref.ir import Const, Expr, ExprLike
from mlcref.te import Tensor
from mlcref.topi.nn.padding import pad
from mlcref.topi.operands import OperatorError, number, numbers, one_of, same

Padding = str | ExprLike | Sequence[ExprLike]


def pad_amounts(padding: Padding, kernel: Sequence[ExprLike]) -> tuple[list[int], list[int]]:
    """How many elements are padded before and after each spatial dimension, for a (dilated) ``kernel``.

    ``padding`` is "VALID" (none), "SAME" (as many results as positions with stride 1), a number for all sides, a number
    per dimension for both sides, or the numbers before, then those after. Raises OperatorError (topi.O3, topi.O5).

    >>> pad_amounts((0, 1, 2, 3), (3, 3)), pad_amounts("SAME", (3, 2))
    (([0, 1], [2, 3]), ([1, 1], [1, 0]))
    """
    count = len(kernel)
    if isinstance(padding, str):
        if one_of(padding, ("VALID", "SAME"), "padding") == "VALID":
            return [0] * count, [0] * count
        whole = [number(extent, "an extent of the kernel") - 1 for extent in kernel]
        return [(amount + 1) // 2 for amount in whole], [amount // 2 for amount in whole]
    if isinstance(padding, tuple | list) and len(padding) == 2 * count:
        given = numbers(padding, 2 * count, "the padding")
        return list(given[:count]), list(given[count:])
    before = numbers(padding, count, "the padding")
    return list(before), list(before)


def dilated(kernel: Sequence[Expr], dilation: Sequence[int]) -> list[Expr]:
    """The extents of a kernel whose elements are ``dilation`` apart."""
    return [extent if step == 1 else (extent - 1) * step + 1 for extent, step in zip(kernel, dilation, strict=True)]


def positions(
    extents: Sequence[Expr], window: Sequence[Expr], strides: Sequence[int], before: Sequence[int],
    after: Sequence[int], name: str,
) -> list[Expr]:  # fmt: skip
    """How many places a window of the (dilated) extents ``window`` has along each padded dimension.

    Raises OperatorError: topi.O3 for a stride that is not positive, topi.O1 where the window does not fit.
    """
    if any(step < 1 for step in strides):
        raise OperatorError(f"{name} has the strides {tuple(strides)}", rule="topi.O3")
    found = []
    for extent, inside, step, low, high in zip(extents, window, strides, before, after, strict=True):
        room = extent + (low + high) - inside
        if isinstance(room, Const) and room.value < 0:
            raise OperatorError(f"the window of {name} is larger than the padded input", rule="topi.O1")
        found.append(room + 1 if step == 1 else room // step + 1)
    return found


def padded_input(
    data: Tensor, axes: Sequence[int], before: Sequence[int], after: Sequence[int], name: str = "pad_temp",
    value: ExprLike = 0.0,
) -> Tensor:  # fmt: skip
    """``data`` padded along ``axes``; a copy where nothing is padded, which is a block of its own as in TVM."""
    low, high = [0] * data.ndim, [0] * data.ndim
    for axis, b, a in zip(axes, before, after, strict=True):
        low[axis], high[axis] = b, a
    return pad(data, low, high, value, name)


def divides(count: ExprLike, groups: int, name: str) -> None:
    """Check that channels fall into ``groups`` groups; raises OperatorError (topi.O1, topi.O3)."""
    if groups < 1:
        raise OperatorError(f"{name} has {groups} groups", rule="topi.O3")
    if same(count % groups, 0) is False:
        raise OperatorError(f"{name}: {count!r} channels do not fall into {groups} groups", rule="topi.O1")
