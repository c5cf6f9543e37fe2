"""Tensor expressions in graphs: a te function applied to values of a graph becomes a tensor program and its call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from mlcref import te
from mlcref.arith import simplified
from mlcref.errors import TypeMismatch
from mlcref.ir import Expr, PrimFunc, Var, graph, substitute, variables


@dataclass(frozen=True)
class TensorProgram:
    """A tensor program and how it is called: with ``inputs``, ``result`` and the scalars ``dims``."""

    func: PrimFunc
    inputs: tuple[graph.GraphExpr, ...]
    result: graph.StructInfo
    dims: tuple[Expr, ...]


def tensor_program(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> TensorProgram:
    """The program of ``function(*args, **options)``, with tensors of a graph as placeholders.

    The function gets a te tensor for each tensor, a list for a tuple, extents for a shape; other arguments as they are.
    Raises ``TypeMismatch`` for a value that is no tensor of known shape, and unless the function returns te tensors.
    """
    conversion = _Conversion()
    converted = [conversion.value(arg) for arg in args]
    made = function(*converted, **{name: conversion.value(option) for name, option in options.items()})
    results = list(made) if isinstance(made, tuple | list) else [made]
    for item in results:
        if not isinstance(item, te.Tensor):
            name = getattr(function, "__name__", "the function")
            raise TypeMismatch(f"{name} returns {type(item).__name__}, no te.Tensor")
    return conversion.program([_computed(item) for item in results])


def _computed(tensor: te.Tensor) -> te.Tensor:
    """``tensor``, copied where nothing computes it."""
    if isinstance(tensor.op, te.ComputeOp):
        return tensor
    return te.compute(tensor.shape, lambda *i: tensor(*i), name="T_identity", tag="elemwise")


class _Conversion:
    """Placeholders for the tensors of a graph; each symbolic dimension gets a variable of the program's own."""

    def __init__(self) -> None:
        self.dims: dict[Var, Expr] = {}
        self.placeholders: dict[graph.GraphExpr, te.Tensor] = {}

    def value(self, arg: Any) -> Any:
        if isinstance(arg, graph.ShapeExpr):
            return [self.extent(extent) for extent in arg.values]
        if isinstance(arg, graph.GraphExpr):
            return self.tensors(arg)
        if isinstance(arg, Expr):
            return self.extent(arg)
        if isinstance(arg, tuple | list):
            return type(arg)([self.value(item) for item in arg])
        return arg

    def tensors(self, arg: graph.GraphExpr) -> Any:
        info = arg.struct_info
        if isinstance(arg, graph.Tuple):
            return [self.tensors(field) for field in arg.fields]
        if not isinstance(info, graph.TensorStructInfo) or info.shape is None:
            raise TypeMismatch(
                lambda: f"a tensor expression takes tensors of known shape, not {info!r}",
                hint="take the fields of a tuple one by one; R.match_cast gives a tensor a shape",
            )
        if arg not in self.placeholders:
            shape = [self.extent(extent) for extent in info.shape]
            self.placeholders[arg] = te.placeholder(shape, info.dtype, self.name(arg))
        return self.placeholders[arg]

    def name(self, arg: graph.GraphExpr) -> str:
        """TVM's: that of the variable, else a letter by position."""
        return arg.name_hint if isinstance(arg, graph.Var) else ascii_uppercase[len(self.placeholders) % 26]

    def extent(self, extent: Expr) -> Expr:
        for var in variables(extent) - self.dims.keys():
            self.dims[var] = Var(var.name, var.dtype)
        return substitute(extent, self.dims)

    def program(self, results: list[te.Tensor]) -> TensorProgram:
        outer = {own: var for var, own in self.dims.items() if isinstance(own, Var)}
        tensors = [*self.placeholders.values(), *results]
        bound = {extent for tensor in tensors for extent in tensor.shape if isinstance(extent, Var)}
        scalars = [own for own in outer if own not in bound]
        func = te.create_prim_func([*tensors, *scalars]).without_attr("global_symbol")
        infos = [_info(tensor, outer) for tensor in results]
        result = infos[0] if len(infos) == 1 else graph.TupleStructInfo(infos)
        return TensorProgram(func, tuple(self.placeholders), result, tuple(outer[own] for own in scalars))


def _info(tensor: te.Tensor, outer: dict[Var, Var]) -> graph.StructInfo:
    shape = [simplified(graph.dim(substitute(extent, outer))) for extent in tensor.shape]
    return graph.TensorStructInfo(shape, tensor.dtype)
