"""Passes over modules with graph functions: a pass is called with a module and gives a new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlcref.arith import simplified
from mlcref.errors import CallError, MlcrefError
from mlcref.ir import graph
from mlcref.ir.expr import Add, Cast, Const, Expr, Mul, Sub, Var, const
from mlcref.ir.function import IRModule
from mlcref.ir.shapes import Sizes, evaluate, match_arguments
from mlcref.ir.visit import map_children, substitute, variables


class BindParams:
    """Turn parameters of the graph function ``func_name`` into constants of the program.

    ``params`` maps parameter names to numpy arrays, runtime tensors, or ``Constant``. Symbolic dimensions that the
    arrays determine become numbers: 5 elements in a parameter of shape ``(n * 2 + 1,)`` say that ``n`` is 2. Raises
    ``MlcrefError`` for a name that is no parameter (rule ``BindParams.name``) and for an array from whose shape the
    dimension does not follow (rule ``BindParams.dimension``), ``CallError`` for an array that does not fit. Source:
    ``relax.transform.BindParams``.

    >>> import numpy as np
    >>> from mlcref.ir import Var
    >>> n = Var("n", "int64")
    >>> x, w = (graph.Var(name, graph.TensorStructInfo((n,), "float32")) for name in "xw")
    >>> f = graph.Function((x, w), graph.SeqExpr((), graph.Tuple((x, w))), graph.TupleStructInfo((x.struct_info,) * 2))
    >>> bound = BindParams("main", {"w": np.zeros(3, "float32")})(IRModule({"main": f}))
    >>> [(param.name_hint, int(param.struct_info.shape[0])) for param in bound["main"].params]
    [('x', 3)]
    """

    name = "BindParams"

    def __init__(self, func_name: str, params: Mapping[str, Any]) -> None:
        self.func_name = func_name
        self.params = {name: _constant(value) for name, value in params.items()}

    def __call__(self, module: IRModule) -> IRModule:
        """A copy of ``module`` with the parameters bound; the module itself stays as it is."""
        func = module[self.func_name]
        if not isinstance(func, graph.Function):
            raise MlcrefError(f"{self.func_name} is no graph function", rule="BindParams.function")
        by_name = {param.name_hint: param for param in func.params}
        for name in self.params:
            if name not in by_name:
                hint = f"parameters of {self.func_name}: {', '.join(by_name) or 'none'}"
                raise MlcrefError(f"{self.func_name} has no parameter {name!r}", rule="BindParams.name", hint=hint)
        result = module.clone()
        result.update_func(self.func_name, bind(func, {by_name[name]: value for name, value in self.params.items()}))
        return result


def bind(func: graph.Function, values: Mapping[graph.Var, graph.Constant]) -> graph.Function:
    """``func`` with some of its parameters fixed, and with the dimensions that they determine as numbers.

    Raises ``CallError`` for a value whose shape or data type does not fit, ``MlcrefError`` where a dimension does not
    follow from the shapes.
    """
    bound = list(values)
    solved = _solved(func.name, {param: values[param].data.shape for param in bound})
    sizes = match_arguments(func.name, bound, [values[param].data for param in bound], solved)
    return _Binding(dict(values), sizes).function(func)


def _solved(name: str, shapes: Mapping[graph.Var, tuple[int, ...]]) -> Sizes:
    """The dimensions that stand only inside the extents of parameters, such as ``n + 1``."""
    extents = [
        (param, extent, size)
        for param, shape in shapes.items()
        if isinstance(param.struct_info, graph.TensorStructInfo)
        for extent, size in zip(param.struct_info.shape or (), shape, strict=False)
    ]
    direct = {extent: size for _, extent, size in extents if isinstance(extent, Var)}
    solved: Sizes = {}
    waiting = [one for one in extents if not isinstance(one[1], Const | Var)]
    while waiting:
        unknown = [variables(extent) - {*direct, *solved} for _, extent, _ in waiting]
        place = min(range(len(waiting)), key=lambda place: len(unknown[place]))
        param, extent, size = waiting.pop(place)
        if len(unknown[place]) > 1:
            raise _undetermined(name, param, extent)
        for var in unknown[place]:
            solved[var] = _solution(name, param, extent, var, size, {**direct, **solved})
    return solved


def _solution(name: str, param: graph.Var, extent: Expr, var: Var, size: int, known: Sizes) -> int:
    """What ``var`` is when ``extent`` is ``size``."""
    line = _line(extent, var, known)
    if line is None or line[0] == 0:
        raise _undetermined(name, param, extent)
    slope, start = line
    found, rest = divmod(size - start, slope)
    if rest or found < 0:
        raise CallError(f"{name}: an extent of {param.name_hint} is {size}, which no {var.name} makes of {extent!r}",
                        rule="call.symbol")  # fmt: skip
    return found


def _line(expr: Expr, var: Var, known: Sizes) -> tuple[int, int] | None:
    """``(a, b)`` where ``expr`` is ``a * var + b``; None where it is no such thing."""
    if var not in variables(expr):
        return 0, evaluate(expr, known)
    if expr is var:
        return 1, 0
    if isinstance(expr, Cast):
        return _line(expr.value, var, known)
    if not isinstance(expr, Add | Sub | Mul):
        return None
    left, right = _line(expr.a, var, known), _line(expr.b, var, known)
    if left is None or right is None:
        return None
    if isinstance(expr, Mul):
        return (left[0] * right[1] + right[0] * left[1], left[1] * right[1]) if 0 in (left[0], right[0]) else None
    sign = 1 if isinstance(expr, Add) else -1
    return left[0] + sign * right[0], left[1] + sign * right[1]


def _undetermined(name: str, param: graph.Var, extent: Expr) -> MlcrefError:
    missing = ", ".join(sorted(var.name for var in variables(extent)))
    what = f"{name}: the extent {extent!r} of {param.name_hint} does not say what {missing} is"
    hint = "bind a parameter that has the dimension itself for an extent, too"
    return MlcrefError(what, rule="BindParams.dimension", hint=hint)


def _constant(value: Any) -> graph.Constant:
    if isinstance(value, graph.Constant):
        return value
    return graph.Constant(value.numpy() if hasattr(value, "numpy") else value)


class _Binding:
    def __init__(self, values: dict[graph.Var, graph.Constant], sizes: Sizes) -> None:
        self.sizes = sizes
        self.dims: dict[Any, Expr] = {var: const(size, "int64") for var, size in sizes.items()}
        self.variables: dict[graph.Var, graph.GraphExpr] = dict(values)

    def function(self, func: graph.Function) -> graph.Function:
        params = tuple([self.introduced(param) for param in func.params if param not in self.variables])
        blocks = tuple([map_children(self.binding, block) for block in func.body.blocks])
        body = graph.SeqExpr(blocks, self.node(func.body.body))
        return graph.Function(params, body, self.node(func.ret_struct_info), func.attrs)

    def introduced(self, var: graph.Var) -> graph.Var:
        """``var``, or the variable of the new struct info that stands for it from here on."""
        info = self.node(var.struct_info)
        new = var if info is var.struct_info else type(var)(var.name_hint, info)
        self.variables[var] = new
        return new

    def binding(self, binding: graph.Binding) -> graph.Binding:
        value = self.node(binding.value)
        if isinstance(binding, graph.MatchCast):
            return graph.MatchCast(self.introduced(binding.var), value, self.node(binding.struct_info))
        return graph.VarBinding(self.introduced(binding.var), value)

    def node(self, node: Any) -> Any:
        if isinstance(node, graph.Var):
            return self.variables.get(node, node)
        if isinstance(node, Expr):
            return self.extent(node)
        return map_children(self.node, node)

    def extent(self, expr: Expr) -> Expr:
        new = substitute(expr, self.dims)
        if new is expr:
            return expr
        return simplified(new) if variables(new) else const(evaluate(new, {}), "int64")
