"""The graph level: functions on whole tensors that call tensor programs and functions of the host language.

Node and field names are TVM's (``relax.Function``, ``VarBinding.value``, …). A graph function is in normal form: every
call is bound to a variable, and the operands of a call are variables, constants, shapes or tuples of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import ml_dtypes  # noqa: F401  (gives numpy the names of bfloat16 and the float8 types)
import numpy as np

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch
from mlcref.ir import expr as tir
from mlcref.ir.base import NO_ATTRS, Attrs, Node, Value, binds, node, plain
from mlcref.ir.function import BaseFunc, GlobalVar

DimLike = Any
"""An extent: an int, or an int64 expression over symbolic dimensions."""


class StructInfo(Node):
    """What is known about a value before the program runs."""

    __slots__ = ()


class GraphExpr(Node):
    """Base of expressions of the graph level."""

    __slots__ = ()

    @property
    def struct_info(self) -> StructInfo:
        """What is known about the value."""
        raise NotImplementedError


def dim(value: DimLike) -> tir.Expr:
    """``value`` as an int64 extent; raises ``TypeMismatch`` for a negative number or another type."""
    expr = value if isinstance(value, tir.Expr) else tir.as_expr(value, "int64")
    if isinstance(expr, tir.Const) and dt.is_integer(expr.type):
        expr = tir.cast("int64", expr)
    if expr.dtype != "int64":
        raise TypeMismatch(
            lambda: f"a dimension of a tensor is int64, not {expr.dtype}: {expr!r}", hint="declare it with T.int64()"
        )
    if isinstance(expr, tir.Const) and expr.value < 0:
        raise TypeMismatch(f"a dimension cannot be {expr.value}")
    return expr


@node
class ObjectStructInfo(StructInfo):
    """Nothing is known."""


@node
class ShapeExpr(GraphExpr):
    """A shape as a value: int64 extents."""

    values: tuple[tir.Expr, ...]

    if TYPE_CHECKING:

        def __init__(self, values: Iterable[DimLike]) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple([dim(value) for value in self.values]))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tir.Expr]:
        return iter(self.values)

    def __getitem__(self, index: int) -> tir.Expr:
        return self.values[index]

    @property
    def struct_info(self) -> ShapeStructInfo:
        """The shape of itself."""
        return ShapeStructInfo(self.values)


@node
class TensorStructInfo(StructInfo):
    """A tensor of ``dtype``; ``shape`` is a ``ShapeExpr``, or None when only ``ndim`` (-1: not even that) is known.

    >>> TensorStructInfo((1, 784), "float32").ndim
    2
    """

    shape: ShapeExpr | None = None
    dtype: str = "float32"
    ndim: int = -1

    if TYPE_CHECKING:

        def __init__(
            self, shape: ShapeExpr | Iterable[DimLike] | None = None, dtype: str = "float32", ndim: int = -1
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", dt.canonical(self.dtype))
        if self.shape is None:
            return
        shape = ShapeExpr(self.shape) if type(self.shape) is not ShapeExpr else self.shape
        if self.ndim not in (-1, len(shape)):
            raise TypeMismatch(f"a shape of {len(shape)} dimensions with ndim={self.ndim}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "ndim", len(shape))


@node
class ShapeStructInfo(StructInfo):
    """A shape; ``values`` are its extents, or None when only ``ndim`` is known."""

    values: tuple[tir.Expr, ...] | None = None
    ndim: int = -1

    if TYPE_CHECKING:

        def __init__(self, values: Iterable[DimLike] | None = None, ndim: int = -1) -> None: ...

    def __post_init__(self) -> None:
        if self.values is not None:
            object.__setattr__(self, "values", tuple([dim(value) for value in self.values]))
            object.__setattr__(self, "ndim", len(self.values))


@node
class TupleStructInfo(StructInfo):
    """A tuple of values."""

    fields: tuple[StructInfo, ...] = ()

    if TYPE_CHECKING:

        def __init__(self, fields: Iterable[StructInfo] = ()) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(self.fields))


@node
class Var(GraphExpr):
    """A variable of a graph function. Identity is the object.

    The struct info is part of the variable, not of its uses: traversals do not enter it.
    """

    name_hint: str = plain(structural=False)
    struct_info: StructInfo = plain(default_factory=ObjectStructInfo)

    if TYPE_CHECKING:

        def __init__(self, name_hint: str, struct_info: StructInfo = ...) -> None: ...

    @property
    def name(self) -> str:
        """The name that the script gives it."""
        return self.name_hint


@node
class DataflowVar(Var):
    """A variable that is used in its dataflow block only."""


@node
class Constant(GraphExpr):
    """A tensor that the program carries with it: ``data`` is a read-only numpy array.

    >>> Constant(np.zeros((2, 3), "float32")).struct_info.ndim
    2
    """

    data: Value = plain()

    def __post_init__(self) -> None:
        array = np.array(self.data, order="C")
        dt.canonical(array.dtype)
        array.flags.writeable = False
        object.__setattr__(self, "data", array)

    @property
    def struct_info(self) -> TensorStructInfo:
        """Shape and data type of the array."""
        return TensorStructInfo(self.data.shape, dt.canonical(self.data.dtype))


@node
class Tuple(GraphExpr):
    """Several values as one."""

    fields: tuple[GraphExpr, ...] = ()

    if TYPE_CHECKING:

        def __init__(self, fields: Iterable[GraphExpr] = ()) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(self.fields))

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[GraphExpr]:
        return iter(self.fields)

    def __getitem__(self, index: int) -> GraphExpr:
        return self.fields[index]

    @property
    def struct_info(self) -> TupleStructInfo:
        """The tuple of what is known about the fields."""
        return TupleStructInfo([field.struct_info for field in self.fields])


@node
class TupleGetItem(GraphExpr):
    """Field ``index`` of a tuple."""

    tuple_value: GraphExpr
    index: int

    @property
    def struct_info(self) -> StructInfo:
        """What is known about the field."""
        whole = self.tuple_value.struct_info
        if not isinstance(whole, TupleStructInfo):
            return ObjectStructInfo()
        if not 0 <= self.index < len(whole.fields):
            raise TypeMismatch(f"a tuple of {len(whole.fields)} fields has no field {self.index}")
        return whole.fields[self.index]


@node
class ExternFunc(GraphExpr):
    """A function by its name: one of the module, or one that is registered when the program runs."""

    global_symbol: str

    @property
    def struct_info(self) -> ObjectStructInfo:
        """Nothing."""
        return ObjectStructInfo()


@node
class Op(GraphExpr):
    """An operator of the graph level; one object per name (``Op.get``), so that operators compare with ``==``."""

    name: str

    @staticmethod
    def get(name: str) -> Op:
        """The operator called ``name``, such as "relax.call_tir"."""
        return _OPS.setdefault(name, Op(name))

    @property
    def struct_info(self) -> ObjectStructInfo:
        """Nothing."""
        return ObjectStructInfo()


_OPS: dict[str, Op] = {}
CALL_TIR = Op.get("relax.call_tir")
CALL_DPS_PACKED = Op.get("relax.call_dps_packed")


@node
class Call(GraphExpr):
    """``op`` applied to ``args``; ``sinfo_args`` says what is known about the result.

    For ``relax.call_tir`` and ``relax.call_dps_packed`` the arguments are the callee, the tuple of inputs and, where
    the callee takes scalars behind its buffers, the shape of their values. Where ``op`` is the name of a graph function
    of the module they are what that function takes.
    """

    op: GraphExpr | GlobalVar
    args: tuple[GraphExpr | GlobalVar, ...]
    attrs: Attrs = NO_ATTRS
    sinfo_args: tuple[StructInfo, ...] = ()

    @property
    def struct_info(self) -> StructInfo:
        """The struct info argument, or the tuple of them."""
        return self.sinfo_args[0] if len(self.sinfo_args) == 1 else TupleStructInfo(self.sinfo_args)


@node
class VarBinding(Node):
    """``var`` stands for ``value`` from here on."""

    var: Var = binds()
    value: GraphExpr


@node
class BindingBlock(Node):
    """Bindings in order."""

    bindings: tuple[VarBinding, ...]


@node
class DataflowBlock(BindingBlock):
    """Bindings of pure values; a ``DataflowVar`` is not seen outside."""


@node
class SeqExpr(GraphExpr):
    """``body`` after the bindings of ``blocks``."""

    blocks: tuple[BindingBlock, ...]
    body: GraphExpr

    @property
    def struct_info(self) -> StructInfo:
        """What is known about the body."""
        return self.body.struct_info


@node
class Function(BaseFunc):
    """A graph function. Symbolic dimensions are bound by the shapes of the arguments."""

    params: tuple[Var, ...] = binds()
    body: SeqExpr
    ret_struct_info: StructInfo
    attrs: Attrs = NO_ATTRS

    @property
    def name(self) -> str:
        """The global symbol, "main" when there is none."""
        return str(self.attrs.get("global_symbol", "main"))

    def bindings(self) -> Iterator[VarBinding]:
        """All bindings, in order."""
        for block in self.body.blocks:
            yield from block.bindings

    def shape_vars(self) -> tuple[tir.Var, ...]:
        """The symbolic dimensions that the parameters bind, in order of appearance."""
        found: dict[tir.Var, None] = {}
        for param in self.params:
            for extent in extents_of(param.struct_info):
                if isinstance(extent, tir.Var):
                    found[extent] = None
        return tuple(found)


def extents_of(info: StructInfo) -> Iterator[tir.Expr]:
    """The extents that ``info`` mentions, in order."""
    if isinstance(info, TensorStructInfo) and info.shape is not None:
        yield from info.shape
    elif isinstance(info, ShapeStructInfo) and info.values is not None:
        yield from info.values
    elif isinstance(info, TupleStructInfo):
        for field in info.fields:
            yield from extents_of(field)


def const(value: Any, dtype: str | None = None) -> Constant:
    """A constant tensor from a number, nested lists or an array.

    Without ``dtype`` Python floats become float32 and Python ints int32; arrays keep theirs. Raises ``TypeMismatch``
    for values that no data type holds. Source: ``relax.const``.

    >>> const([1.0, 2.0]).struct_info.dtype
    'float32'
    """
    if hasattr(value, "numpy"):
        value = value.numpy()
    array = np.asarray(value)
    if dtype is None and not isinstance(value, np.ndarray | np.generic):
        dtype = {"float64": "float32", "int64": "int32"}.get(array.dtype.name)
    wanted = dt.canonical(array.dtype if dtype is None else dtype)
    converted = array.astype(dt.numpy_dtype(wanted))
    if dt.is_integer(wanted) and not np.array_equal(converted, array):
        raise TypeMismatch(f"not all of the values are {wanted}", hint="convert them first")
    return Constant(converted)


def call_tir(
    func: GlobalVar | ExternFunc,
    args: Sequence[GraphExpr] | Tuple,
    out_sinfo: StructInfo | Sequence[StructInfo],
    tir_vars: ShapeExpr | None = None,
) -> Call:
    """Call the tensor program ``func`` with ``args`` and fresh tensors like ``out_sinfo``, which are the result.

    ``tir_vars`` are the values of scalar parameters behind the buffers. Raises ``TypeMismatch`` unless the result is
    tensors of known shape. Source: ``relax.call_tir``.
    """
    return _destination_call(CALL_TIR, func, args, out_sinfo, tir_vars)


def call_dps_packed(
    func: str | ExternFunc | GlobalVar, args: Sequence[GraphExpr] | Tuple, out_sinfo: StructInfo | Sequence[StructInfo]
) -> Call:
    """Call a function by name, in destination-passing style: a function of the module, else a registered one.

    Source: ``relax.call_dps_packed``.
    """
    callee = ExternFunc(func) if isinstance(func, str) else func
    return _destination_call(CALL_DPS_PACKED, callee, args, out_sinfo, None)


def _destination_call(
    op: Op, func: GlobalVar | ExternFunc, args: Sequence[GraphExpr] | Tuple, out_sinfo: Any, tir_vars: ShapeExpr | None
) -> Call:
    inputs = args if isinstance(args, Tuple) else Tuple(args)
    result = out_sinfo if isinstance(out_sinfo, StructInfo) else TupleStructInfo(out_sinfo)
    for info in destinations(result):
        if not isinstance(info, TensorStructInfo) or info.shape is None:
            raise TypeMismatch(
                f"{op.name} allocates its result, so the result must be tensors of known shape",
                hint='write for example R.Tensor((1, n), "float32")',
            )
    return Call(op, (func, inputs) if tir_vars is None else (func, inputs, tir_vars), NO_ATTRS, (result,))


def destinations(result: StructInfo) -> tuple[StructInfo, ...]:
    """The tensors that a destination-passing call allocates: the fields of a tuple, else the one result."""
    return result.fields if isinstance(result, TupleStructInfo) else (result,)
