"""The names of ``R``: descriptions of values, calls, and the records that the graph parser turns into bindings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcref.errors import TypeMismatch
from mlcref.ir import Expr, GlobalVar, graph
from mlcref.records import dataclass
from mlcref.script.type_names import dtype_of

Dimension = Callable[[str], Expr]
"""The extent that a string in a shape (``"n"``, ``"n + 1"``) stands for."""


def _no_strings(name: str) -> Expr:
    what = f'a dimension in quotes, "{name}", stands in annotations only'
    raise TypeMismatch(what, hint=f"write {name} without quotes")


@dataclass(frozen=True, slots=True)
class TensorForm:
    """``R.Tensor(shape, dtype)``."""

    shape: tuple[Any, ...] | None
    dtype: str
    ndim: int

    def describe(self, dimension: Dimension = _no_strings) -> graph.StructInfo:
        """The struct info, with ``dimension`` for the extents in quotes."""
        extents = None if self.shape is None else _extents(self.shape, dimension)
        return graph.TensorStructInfo(extents, self.dtype, self.ndim)


@dataclass(frozen=True, slots=True)
class ShapeForm:
    """``R.Shape(values)``."""

    values: tuple[Any, ...] | None
    ndim: int

    def describe(self, dimension: Dimension = _no_strings) -> graph.StructInfo:
        """The struct info, with ``dimension`` for the extents in quotes."""
        return graph.ShapeStructInfo(None if self.values is None else _extents(self.values, dimension), self.ndim)


@dataclass(frozen=True, slots=True)
class TupleForm:
    """``R.Tuple(…)``."""

    fields: tuple[Form, ...]

    def describe(self, dimension: Dimension = _no_strings) -> graph.StructInfo:
        """The struct info, with ``dimension`` for the extents in quotes."""
        return graph.TupleStructInfo([field.describe(dimension) for field in self.fields])


@dataclass(frozen=True, slots=True)
class ObjectForm:
    """``R.Object``, with or without ``()``."""

    def __call__(self) -> ObjectForm:
        return self

    def describe(self, dimension: Dimension = _no_strings) -> graph.StructInfo:
        """The struct info."""
        del dimension
        return graph.ObjectStructInfo()


Form = TensorForm | ShapeForm | TupleForm | ObjectForm
FORMS = (TensorForm, ShapeForm, TupleForm, ObjectForm)


@dataclass(frozen=True, slots=True)
class Dataflow:
    """``R.dataflow()``."""


@dataclass(frozen=True, slots=True)
class Output:
    """``R.output(…)``."""

    variables: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Cast:
    """``R.match_cast(value, form)``."""

    value: Any
    form: Form


@dataclass(frozen=True, slots=True)
class FunctionAttributes:
    """``R.func_attr``."""

    attrs: Mapping[str, Any]


def _extents(shape: Sequence[Any], dimension: Dimension) -> list[Any]:
    return [dimension(extent) if isinstance(extent, str) else extent for extent in shape]


def Tensor(shape: Any = None, dtype: Any = None, vdevice: None = None, ndim: int = -1) -> TensorForm:
    """A tensor: ``R.Tensor((1, "n"), "float32")``, or ``R.Tensor(dtype="float32", ndim=2)`` of unknown shape."""
    if isinstance(shape, str) and dtype is None:
        shape, dtype = None, shape
    if vdevice is not None:
        raise TypeMismatch("R.Tensor(vdevice=...) is not supported: modules run on one device")
    if dtype is None:
        raise TypeMismatch("R.Tensor needs a data type", hint='write for example R.Tensor((1, "n"), "float32")')
    if isinstance(shape, graph.ShapeExpr):
        shape = shape.values
    if shape is not None and not isinstance(shape, tuple | list):
        raise TypeMismatch("the shape of a tensor is a tuple", hint='write R.Tensor((n,), "float32")')
    return TensorForm(None if shape is None else tuple(shape), dtype_of(dtype), ndim)


def Shape(values: Any = None, ndim: int = -1) -> ShapeForm:
    """A shape: ``R.Shape(["n", 128])``, or ``R.Shape(ndim=2)``."""
    return ShapeForm(None if values is None else tuple(values), ndim)


def Tuple(*fields: Any) -> TupleForm:
    """A tuple of described values: ``R.Tuple(R.Tensor((2,), "float32"), R.Object)``."""
    flat = fields[0] if len(fields) == 1 and isinstance(fields[0], tuple | list) else fields
    for field in flat:
        if not isinstance(field, FORMS):
            raise TypeMismatch(f"R.Tuple holds descriptions such as R.Tensor(...), not {type(field).__name__}")
    return TupleForm(tuple(flat))


Object = ObjectForm()
"""Anything."""


def dataflow() -> Dataflow:
    """A block of pure bindings: ``with R.dataflow():``."""
    return Dataflow()


def output(*variables: Any) -> Output:
    """The variables of a dataflow block that are seen outside."""
    return Output(variables)


def match_cast(value: Any, struct_info: Any) -> Cast:
    """``value``, of which ``struct_info`` is found to hold when the program runs; new dimensions in it are bound."""
    if not isinstance(struct_info, FORMS):
        raise TypeMismatch("R.match_cast takes a description such as R.Tensor((n,), dtype)")
    return Cast(value, struct_info)


def func_attr(attrs: Mapping[str, Any]) -> FunctionAttributes:
    """Attributes of the function."""
    return FunctionAttributes(attrs)


def call_tir(
    gvar: Any, args: Any, out_sinfo: Any = None, tir_vars: Any = None, *, out_ty: Any = None
) -> graph.Call:
    """Call a tensor program of the module (``cls.matmul``) with ``args`` and new tensors, the result."""
    callee = graph.ExternFunc(gvar) if isinstance(gvar, str) else gvar
    if not isinstance(callee, GlobalVar | graph.ExternFunc):
        hint = "write cls.name, or the name in quotes"
        raise TypeMismatch("R.call_tir calls a tensor program of its module", hint=hint)
    scalars = tir_vars if isinstance(tir_vars, graph.ShapeExpr | None) else graph.ShapeExpr(tir_vars)
    return graph.call_tir(callee, operands(args), _result(out_sinfo, out_ty), scalars)


def call_dps_packed(func: Any, args: Any, out_sinfo: Any = None, *, out_ty: Any = None) -> graph.Call:
    """Call a function by name, in destination-passing style: a tensor program of the module, or a registered one."""
    if not isinstance(func, str | GlobalVar | graph.ExternFunc):
        hint = 'write the name in quotes: "env.relu"'
        raise TypeMismatch("R.call_dps_packed calls a function by its name", hint=hint)
    return graph.call_dps_packed(func, operands(args), _result(out_sinfo, out_ty))


def operands(args: Any) -> graph.Tuple:
    """The inputs of a call as a tuple; a single value stands for the tuple of it."""
    if isinstance(args, graph.Tuple):
        return args
    return graph.Tuple([value(arg) for arg in (args if isinstance(args, tuple | list) else (args,))])


def make_tuple(*fields: Any) -> tuple[Any, ...]:
    """Several values as one: ``R.tuple(x, y)``."""
    return fields


def value(item: Any) -> graph.GraphExpr:
    """``item`` as a value of the graph; raises ``TypeMismatch`` for numbers and other things that are none."""
    if isinstance(item, graph.GraphExpr):
        return item
    if isinstance(item, tuple | list):
        return graph.Tuple([value(field) for field in item])
    raise TypeMismatch(
        f"a value of a graph is a tensor, a tuple or a shape, not {type(item).__name__}",
        hint="write R.const(1.0) for a number, R.shape([n]) for a shape",
    )


def _result(out_sinfo: Any, out_ty: Any) -> Any:
    given = out_ty if out_sinfo is None else out_sinfo
    if given is None:
        hint = 'add out_sinfo=R.Tensor((1, n), "float32")'
        raise TypeMismatch("the call does not say what its result is", hint=hint)
    if isinstance(given, tuple | list):
        return graph.TupleStructInfo([_described(item) for item in given])
    return _described(given)


def _described(given: Any) -> graph.StructInfo:
    if isinstance(given, graph.StructInfo):
        return given
    if not isinstance(given, FORMS):
        raise TypeMismatch("a result is described by R.Tensor(shape, dtype)")
    return given.describe()


def shape(values: Any) -> graph.ShapeExpr:
    """A shape as a value: ``R.shape([n, 128])``."""
    return graph.ShapeExpr(values)


def const(value: Any, dtype: Any = None) -> graph.Constant:
    """A constant tensor: ``R.const(1.5, "float32")``, ``R.const([1, 2], "int64")``."""
    return graph.const(value, None if dtype is None else dtype_of(dtype))


def ExternFunc(name: str) -> graph.ExternFunc:
    """A function by name."""
    return graph.ExternFunc(name)


__all__ = [
    "ExternFunc", "Object", "Shape", "Tensor", "Tuple", "call_dps_packed", "call_tir", "const", "dataflow", "func_attr",
    "match_cast", "output", "shape",
]  # fmt: skip
