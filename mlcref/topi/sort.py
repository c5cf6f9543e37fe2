"""Sorting: ``topi.sort``, ``argsort`` and ``topk`` call functions of the runtime, ``searchsorted`` counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref import te
from mlcref.ir import Buffer, Const, Expr, Select, as_expr, cast, const
from mlcref.script.expression_names import call_packed
from mlcref.te import Tensor
from mlcref.topi.operands import OperatorError, axis_of, each, fits, number, one_of, told


def sort(data: Tensor, axis: int = -1, is_ascend: bool = True) -> Tensor:
    """``data`` sorted along ``axis``, the largest first without ``is_ascend``; NaN is refused when the program runs.
    Raises OperatorError (topi.O2). As ``tvm.topi.sort``.

    >>> from mlcref import te, topi
    >>> topi.sort(te.placeholder((2, 3))).ndim
    2
    """
    at = axis_of(axis, data.ndim, "sort")
    return _called("sort", data, [data.shape], [data.dtype], at, int(is_ascend))[0]


def argsort(
    data: Tensor, valid_count: Tensor | None = None, axis: int = -1, is_ascend: bool = True, dtype: str = "float32"
) -> Tensor:  # fmt: skip
    """Where the elements of ``data``, sorted along ``axis``, stand in it, as ``dtype``; equal ones in their order.
    Of the first ``valid_count`` elements of each row where that is given: the others stay. Raises OperatorError
    (topi.O2). As ``tvm.topi.argsort``.

    >>> from mlcref import te, topi
    >>> topi.argsort(te.placeholder((2, 3)), dtype="int32").dtype
    'int32'
    """
    at = axis_of(axis, data.ndim, "argsort")
    if valid_count is None:
        return _called("argsort", data, [data.shape], [dtype], at, int(is_ascend))[0]

    def call(ins: Sequence[Buffer], outs: Sequence[Buffer]) -> Expr:
        return call_packed("tvm.contrib.sort.argsort_nms", ins[0], ins[1], outs[0], at, int(is_ascend))

    made: Tensor = te.extern(data.shape, [data, valid_count], call, "argsort_nms_cpu", dt.canonical(dtype))
    return made


def topk(
    data: Tensor, k: int = 1, axis: int = -1, ret_type: str = "both", is_ascend: bool = False, dtype: str = "int64"
) -> Any:  # fmt: skip
    """The ``k`` largest elements along ``axis`` (the smallest with ``is_ascend``; all for ``k < 1``), sorted, and where
    they stand, as ``dtype``: a list of both, or one of them for the ``ret_type`` "values" or "indices". Raises
    OperatorError (topi.O2, topi.O3, topi.O5). As ``tvm.topi.topk``.

    >>> from mlcref import te, topi
    >>> [result.dtype for result in topi.topk(te.placeholder((2, 8)), 3)]
    ['float32', 'int64']
    """
    one_of(ret_type, ("both", "values", "indices"), "ret_type")
    at, count = axis_of(axis, data.ndim, "topk"), number(k, "k of topk")
    shape = list(data.shape)
    extent = shape[at]
    if count >= 1:
        if isinstance(extent, Const) and int(extent) < count:
            raise OperatorError(f"topk takes {count} of {told((extent,))} elements", rule="topi.O3")
        shape[at] = cast(extent.dtype, count)
    kinds = {"both": [data.dtype, dtype], "values": [data.dtype], "indices": [dtype]}[ret_type]
    made = _called("topk", data, [shape] * len(kinds), kinds, count, at, ret_type, bool(is_ascend))
    return made if ret_type == "both" else made[0]


def _called(name: str, data: Tensor, shapes: Sequence[Any], dtypes: Sequence[str], *settings: Any) -> list[Tensor]:
    """The tensors that a sorting function of the runtime writes."""

    def call(ins: Sequence[Buffer], outs: Sequence[Buffer]) -> Expr:
        return call_packed(f"tvm.contrib.sort.{name}", ins[0], *outs, *settings)

    kinds = [dt.canonical(dtype) for dtype in dtypes]
    made = te.extern([tuple(shape) for shape in shapes], [data], call, f"{name}_cpu", kinds, tag=f"{name}_cpu")
    return [made] if isinstance(made, Tensor) else list(made)


def searchsorted(
    sorted_sequence: Tensor, values: Tensor, right: bool = False, out_dtype: str = "int64"
) -> Tensor:  # fmt: skip
    """How many elements of a sorted sequence are less than each of ``values`` (or equal, with ``right``): where it can
    be inserted. The sequence is a vector, or there is one per row of ``values``, along the last dimension.

    The elements are counted, in a reduction that schedules divide. Raises OperatorError (topi.O1). As
    ``tvm.topi.searchsorted``, which searches by halves.

    >>> from mlcref import te, topi
    >>> topi.searchsorted(te.placeholder((8,)), te.placeholder((2, 3))).dtype
    'int64'
    """
    if sorted_sequence.ndim not in (1, values.ndim):
        raise OperatorError(f"searchsorted of {told(values.shape)} in {told(sorted_sequence.shape)}", rule="topi.O1")
    shared = sorted_sequence.ndim == 1
    for a, b in zip(sorted_sequence.shape[:-1], () if shared else values.shape[:-1], strict=True):
        fits(a, b, f"searchsorted of {told(values.shape)} in {told(sorted_sequence.shape)}")
    k = te.reduce_axis((0, sorted_sequence.shape[-1]), "k")
    one, none = const(1, dt.canonical(out_dtype)), const(0, dt.canonical(out_dtype))
    before: Callable[[Expr, Expr], Any] = (lambda a, b: a <= b) if right else (lambda a, b: a < b)

    def count(*i: Any) -> Any:
        element = as_expr(sorted_sequence(k) if shared else sorted_sequence(*i[:-1], k))
        return te.sum(Select(before(element, as_expr(values(*i))), one, none), axis=k)

    return each(values.shape, count, "searchsorted", "")
