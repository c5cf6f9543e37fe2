"""Sums of products: ``topi.matmul``, ``topi.tensordot``, ``topi.einsum``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from operator import mul
from typing import Any

from mlcref import te
from mlcref.ir import Expr, ExprLike
from mlcref.te import Tensor
from mlcref.topi.operands import OperatorError, each, fits, number, told


def matmul(a: Tensor, b: Tensor, transp_a: bool = False, transp_b: bool = False) -> Tensor:
    """The product of two matrices, either of them given transposed. Raises OperatorError (topi.O1). As
    ``tvm.topi.matmul``; :func:`mlcref.topi.nn.matmul` takes more dimensions.

    >>> from mlcref import te, topi
    >>> C = topi.matmul(te.placeholder((3, 4)), te.placeholder((5, 4)), transp_b=True)
    >>> [int(extent) for extent in C.shape]
    [3, 5]
    """
    if a.ndim != 2 or b.ndim != 2:
        raise OperatorError(f"matmul of {told(a.shape)} and {told(b.shape)}, which are no matrices", rule="topi.O1")
    rows, depth = reversed(a.shape) if transp_a else a.shape
    other, columns = reversed(b.shape) if transp_b else b.shape
    fits(depth, other, f"matmul of {told(a.shape)} and {told(b.shape)}")
    k = te.reduce_axis((0, depth), "k")

    def element(i: Any, j: Any) -> Any:
        return te.sum((a(k, i) if transp_a else a(i, k)) * (b(j, k) if transp_b else b(k, j)), axis=k)

    return each((rows, columns), element, "T_matmul", "matmul")


def tensordot(a: Tensor, b: Tensor, axes: ExprLike | Sequence[Any]) -> Tensor:
    """The sum of products over the last ``axes`` dimensions of ``a`` and the first of ``b``, or over the pairs of axes
    in ``axes = (axes of a, axes of b)``. Raises OperatorError (topi.O1, topi.O2). As ``tvm.topi.tensordot``.

    >>> from mlcref import te, topi
    >>> A, B = te.placeholder((2, 3, 4)), te.placeholder((4, 3, 5))
    >>> [int(extent) for extent in topi.tensordot(A, B, ((1, 2), (1, 0))).shape]
    [2, 5]
    """
    over_a, over_b = _pairs(a, b, axes)
    axis = [te.reduce_axis((0, a.shape[d]), f"k{n}") for n, d in enumerate(over_a)]
    free_a = [d for d in range(a.ndim) if d not in over_a]
    free_b = [d for d in range(b.ndim) if d not in over_b]

    def element(*i: Any) -> Any:
        at_a = dict(zip(free_a, i, strict=False)) | dict(zip(over_a, axis, strict=True))
        at_b = dict(zip(free_b, i[len(free_a) :], strict=True)) | dict(zip(over_b, axis, strict=True))
        term = a(*(at_a[d] for d in range(a.ndim))) * b(*(at_b[d] for d in range(b.ndim)))
        return te.sum(term, axis=axis) if axis else term

    shape = [a.shape[d] for d in free_a] + [b.shape[d] for d in free_b]
    return each(shape, element, "T_tensordot", "matmul")


def _pairs(a: Tensor, b: Tensor, axes: ExprLike | Sequence[Any]) -> tuple[list[int], list[int]]:
    """The axes of both that are summed over together."""
    if isinstance(axes, tuple | list):
        lists = [list(each) if isinstance(each, tuple | list) else [each] for each in axes]
    else:
        count = number(axes, "the number of axes of tensordot")
        lists = [list(range(a.ndim - count, a.ndim)), list(range(count))]
    if len(lists) != 2 or len(lists[0]) != len(lists[1]):
        raise OperatorError(f"tensordot pairs axes, {axes!r} are no pairs", rule="topi.O2")
    over = []
    for x, given in zip((a, b), lists, strict=True):
        found = [number(d, "an axis of tensordot") for d in given]
        if any(not -x.ndim <= d < x.ndim for d in found) or len({d % x.ndim for d in found}) != len(found):
            raise OperatorError(f"tensordot over the axes {found} of {told(x.shape)}", rule="topi.O2")
        over.append([d % x.ndim for d in found])
    for d, e in zip(*over, strict=True):
        fits(a.shape[d], b.shape[e], f"tensordot of {told(a.shape)} and {told(b.shape)}")
    return over[0], over[1]


def einsum(subscripts: str, *operand: Tensor) -> Tensor:
    """The sum of products that ``subscripts`` describes, as ``numpy.einsum`` reads them: one letter per dimension,
    operands separated by ``,``, after ``->`` the letters of the result (without it: those that come once, in order).

    Raises OperatorError: topi.O3 for subscripts that it cannot read (``...`` among them), topi.O1 for extents that do
    not fit. As ``tvm.topi.einsum``.

    >>> from mlcref import te, topi
    >>> topi.einsum("bij,bjk->bik", te.placeholder((2, 3, 4)), te.placeholder((2, 4, 5))).ndim
    3
    """
    inputs, output = _subscripts(subscripts, [x.ndim for x in operand])
    extents: dict[str, Expr] = {}
    for x, letters in zip(operand, inputs, strict=True):
        for letter, extent in zip(letters, x.shape, strict=True):
            fits(extents.setdefault(letter, extent), extent, f"{letter} of {subscripts!r} has the extents")
    summed = [letter for letter in extents if letter not in output]
    axis = {letter: te.reduce_axis((0, extents[letter]), letter) for letter in summed}

    def element(*i: Any) -> Expr:
        at = dict(zip(output, i, strict=True)) | axis
        factors = [x(*(at[letter] for letter in letters)) for x, letters in zip(operand, inputs, strict=True)]
        term: Expr = reduce(mul, factors)
        return te.sum(term, axis=list(axis.values())) if axis else term

    return each([extents[letter] for letter in output], element, "T_einsum", "einsum")


def _subscripts(subscripts: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand, and those of the result."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    letters = Counter("".join(inputs))
    if not arrow:
        output = "".join(sorted(letter for letter, count in letters.items() if count == 1))
    known = all(letter.isalpha() for letter in letters) and set(output) <= set(letters)
    if not known or len(set(output)) != len(output) or [len(each) for each in inputs] != list(ndims):
        raise OperatorError(
            f"einsum cannot read {subscripts!r} for {len(ndims)} operands of {', '.join(map(str, ndims))} dimensions",
            rule="topi.O3", hint='one letter per dimension: "ij,jk->ik"',
        )  # fmt: skip
    return inputs, output
