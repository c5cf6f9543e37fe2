"""What a call of a graph function gives: its announced result, with the dimensions that the arguments fix."""

from __future__ import annotations

from collections.abc import Sequence

from mlcref.errors import TypeMismatch
from mlcref.ir.expr import Expr, Var
from mlcref.ir.graph import Function, ShapeStructInfo, StructInfo, TensorStructInfo, TupleStructInfo
from mlcref.ir.stmt import constant
from mlcref.ir.visit import substitute


def call_result(func: Function, args: Sequence[StructInfo]) -> StructInfo:
    """What ``func`` returns for arguments that are ``args``. Raises ``TypeMismatch`` for those that cannot fit.

    >>> from mlcref.ir import Var as Dim, graph
    >>> n = Dim("n", "int64")
    >>> x = graph.Var("x", TensorStructInfo((n,), "int8"))
    >>> call_result(Function([x], x), [TensorStructInfo((3,), "int8")])
    R.Tensor((3,), dtype="int8")
    """
    return result_of(func.name, [param.struct_info for param in func.params], func.ret_struct_info, args)


def result_of(
    name: str, params: Sequence[StructInfo], result: StructInfo, args: Sequence[StructInfo]
) -> StructInfo:
    """:func:`call_result` of a function that is known by its signature."""
    if len(params) != len(args):
        raise TypeMismatch(f"{name} takes {len(params)} arguments, got {len(args)}")
    dims: dict[Var, Expr] = {}
    for place, (param, arg) in enumerate(zip(params, args, strict=True)):
        _match(f"argument {place} of {name}", param, arg, dims)
    return substitute(result, dims)


def _match(place: str, param: StructInfo, arg: StructInfo, dims: dict[Var, Expr]) -> None:
    if isinstance(param, TensorStructInfo) and isinstance(arg, TensorStructInfo):
        if param.dtype != arg.dtype or (-1 not in (param.ndim, arg.ndim) and param.ndim != arg.ndim):
            raise TypeMismatch(lambda: f"{place} is {param!r}, got {arg!r}")
        if param.shape is not None and arg.shape is not None:
            _match_extents(place, param.shape.values, arg.shape.values, dims)
    elif isinstance(param, ShapeStructInfo) and isinstance(arg, ShapeStructInfo):
        if param.values is not None and arg.values is not None:
            _match_extents(place, param.values, arg.values, dims)
    elif isinstance(param, TupleStructInfo) and isinstance(arg, TupleStructInfo):
        if len(param.fields) != len(arg.fields):
            raise TypeMismatch(f"{place} is a tuple of {len(param.fields)}, got one of {len(arg.fields)}")
        for inner, given in zip(param.fields, arg.fields, strict=True):
            _match(place, inner, given, dims)


def _match_extents(place: str, wanted: Sequence[Expr], given: Sequence[Expr], dims: dict[Var, Expr]) -> None:
    if len(wanted) != len(given):
        raise TypeMismatch(f"{place} has {len(wanted)} extents, got {len(given)}")
    for extent, other in zip(wanted, given, strict=True):
        known = dims.setdefault(extent, other) if isinstance(extent, Var) else extent
        a, b = constant(known), constant(other)
        if a is not None and b is not None and a != b:
            raise TypeMismatch(f"{place} has an extent of {b} where {a} is expected")
