"""The graph level: functions on whole tensors that call tensor programs and functions of the host language.

Node and field names are TVM's (``relax.Function``, ``VarBinding.value``, …). A graph function is in normal form: every
call is bound to a variable, and the operands of a call are variables, constants, shapes or tuples of those.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import ml_dtypes  # noqa: F401  (gives numpy the names of bfloat16 and the float8 types)
import numpy as np

from mlcref import dtype as dt
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.ir import expr as tir
from mlcref.ir.base import NO_ATTRS, Attrs, Node, Value, binds, node, plain
from mlcref.ir.function import BaseFunc, GlobalVar
from mlcref.ir.struct_info import (
    GraphExpr as GraphExpr,
    ObjectStructInfo as ObjectStructInfo,
    ShapeExpr as ShapeExpr,
    ShapeStructInfo as ShapeStructInfo,
    StructInfo as StructInfo,
    TensorStructInfo as TensorStructInfo,
    TupleStructInfo as TupleStructInfo,
    dim as dim,
    extents_of as extents_of,
)


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
        """The operator called ``name``, such as "relax.add"; raises ``MlcrefError`` where there is none.

        Source: ``tvm.ir.Op.get``.
        """
        if name not in _OPS:
            load_operators()
        if name not in _OPS:
            close = difflib.get_close_matches(name, _OPS, 1)
            hint = f"did you mean {close[0]!r}?" if close else None
            raise MlcrefError(f"there is no operator {name!r}", rule="graph.op", hint=hint)
        return _OPS[name]

    @property
    def struct_info(self) -> ObjectStructInfo:
        """Nothing."""
        return ObjectStructInfo()


_OPS: dict[str, Op] = {}
_INFERENCE: dict[Op, Callable[[Call], StructInfo]] = {}


_ON_USE: list[str] = []


def operators_on_use(module: str) -> None:
    """Import ``module``, which enters operators, when one is asked for that is not known yet."""
    _ON_USE.append(module)


def load_operators() -> None:
    """Import what enters operators."""
    while _ON_USE:
        import_module(_ON_USE.pop())


def new_op(name: str, infer: Callable[[Call], StructInfo] | None = None) -> Op:
    """The new operator ``name``; ``infer`` says what is known about the result of a call of it."""
    op = _OPS[name] = Op(name)
    if infer is not None:
        _INFERENCE[op] = infer
    return op


CALL_TIR = new_op("relax.call_tir")
CALL_DPS_PACKED = new_op("relax.call_dps_packed")


def _as_attrs(attrs: Mapping[str, Any] | None) -> Attrs:
    return attrs if isinstance(attrs, Attrs) else Attrs(attrs) if attrs else NO_ATTRS


@node
class Call(GraphExpr):
    """``op`` applied to ``args``; ``sinfo_args`` says what is known about the result where the operator does not.

    For ``relax.call_tir`` and ``relax.call_dps_packed`` the arguments are the callee, the tuple of inputs and, where
    the callee takes scalars behind its buffers, the shape of their values. A ``GlobalVar`` as ``op`` calls a graph
    function of the module; ``BlockBuilder.normalize`` fills in what such a call returns.
    """

    op: GraphExpr | GlobalVar
    args: tuple[GraphExpr | GlobalVar, ...]
    attrs: Attrs = NO_ATTRS
    sinfo_args: tuple[StructInfo, ...] = ()
    _known: Value = dataclasses.field(init=False)

    if TYPE_CHECKING:

        def __init__(
            self,
            op: GraphExpr | GlobalVar,
            args: Iterable[GraphExpr | GlobalVar],
            attrs: Mapping[str, Any] | None = None,
            sinfo_args: Iterable[StructInfo] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", None)
        object.__setattr__(self, "args", tuple(self.args))
        object.__setattr__(self, "sinfo_args", tuple(self.sinfo_args or ()))
        object.__setattr__(self, "attrs", _as_attrs(self.attrs))

    @property
    def struct_info(self) -> StructInfo:
        """The struct info argument, else what the operator infers; raises ``TypeMismatch`` for unfit operands."""
        if self.sinfo_args:
            return self.sinfo_args[0] if len(self.sinfo_args) == 1 else TupleStructInfo(self.sinfo_args)
        if self._known is None:
            infer = _INFERENCE.get(self.op) if isinstance(self.op, Op) else None
            object.__setattr__(self, "_known", infer(self) if infer else ObjectStructInfo())
        known: StructInfo = self._known
        return known


@node
class VarBinding(Node):
    """``var`` stands for ``value`` from here on."""

    var: Var = binds()
    value: GraphExpr


@node
class MatchCast(Node):
    """``var`` stands for ``value``, which is found to be what ``struct_info`` says when the program runs.

    Symbolic dimensions that ``struct_info`` mentions first are bound to what they are in ``value``.
    """

    var: Var = binds()
    value: GraphExpr
    struct_info: StructInfo

    def new_dims(self, known: Collection[tir.Var]) -> tuple[tir.Var, ...]:
        """The dimensions that this binds, where those in ``known`` are bound before."""
        dims = (extent for extent in extents_of(self.struct_info) if isinstance(extent, tir.Var))
        return tuple(dict.fromkeys(var for var in dims if var not in known))


Binding = VarBinding | MatchCast


@node
class BindingBlock(Node):
    """Bindings in order."""

    bindings: tuple[Binding, ...]

    if TYPE_CHECKING:

        def __init__(self, bindings: Iterable[Binding]) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "bindings", tuple(self.bindings))


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
    ret_struct_info: StructInfo = None  # type: ignore[assignment]  # what the body is
    attrs: Attrs = NO_ATTRS

    if TYPE_CHECKING:

        def __init__(
            self,
            params: Iterable[Var],
            body: GraphExpr,
            ret_struct_info: StructInfo | None = None,
            attrs: Mapping[str, Any] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        body = self.body if isinstance(self.body, SeqExpr) else SeqExpr((), self.body)
        object.__setattr__(self, "params", tuple(self.params))
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "ret_struct_info", self.ret_struct_info or body.struct_info)
        object.__setattr__(self, "attrs", _as_attrs(self.attrs))

    @property
    def name(self) -> str:
        """The global symbol, "main" when there is none."""
        return str(self.attrs.get("global_symbol", "main"))

    def bindings(self) -> Iterator[Binding]:
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

    def all_dims(self) -> tuple[tir.Var, ...]:
        """The symbolic dimensions: of the parameters, then those that ``MatchCast`` binds."""
        found = dict.fromkeys(self.shape_vars())
        for binding in self.bindings():
            if isinstance(binding, MatchCast):
                found.update(dict.fromkeys(binding.new_dims(found)))
        return tuple(found)


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
    func: str | GlobalVar | ExternFunc,
    args: Sequence[GraphExpr] | Tuple,
    out_sinfo: Any,
    tir_vars: ShapeExpr | None = None,
) -> Call:
    """Call the tensor program ``func`` with ``args`` and fresh tensors like ``out_sinfo``, which are the result.

    ``out_sinfo`` is a ``TensorStructInfo``, ``R.Tensor(...)``, or a list of those for several results. ``tir_vars`` are
    the values of scalar parameters behind the buffers. Raises ``TypeMismatch`` unless the result is tensors of known
    shape. Source: ``relax.call_tir``.
    """
    callee = ExternFunc(func) if isinstance(func, str) else func
    return _destination_call(CALL_TIR, callee, args, out_sinfo, tir_vars)


def call_dps_packed(
    func: str | ExternFunc | GlobalVar, args: Sequence[GraphExpr] | Tuple, out_sinfo: Any
) -> Call:
    """Call a function by name, in destination-passing style: a function of the module, else a registered one.

    Source: ``relax.call_dps_packed``.
    """
    callee = ExternFunc(func) if isinstance(func, str) else func
    return _destination_call(CALL_DPS_PACKED, callee, args, out_sinfo, None)


def _destination_call(
    op: Op, func: GlobalVar | ExternFunc, args: Sequence[GraphExpr] | Tuple, out_sinfo: Any, tir_vars: ShapeExpr | None
) -> Call:
    inputs = args if isinstance(args, Tuple) else Tuple((args,) if isinstance(args, GraphExpr) else args)
    result = _described(out_sinfo)
    for info in destinations(result):
        if not isinstance(info, TensorStructInfo) or info.shape is None:
            raise TypeMismatch(
                f"{op.name} allocates its result, so the result must be tensors of known shape",
                hint='write for example R.Tensor((1, n), "float32")',
            )
    return Call(op, (func, inputs) if tir_vars is None else (func, inputs, tir_vars), NO_ATTRS, (result,))


def _described(out_sinfo: Any) -> StructInfo:
    """What ``R.Tensor(...)`` and lists of such stand for."""
    if isinstance(out_sinfo, StructInfo):
        return out_sinfo
    if hasattr(out_sinfo, "describe"):
        info: StructInfo = out_sinfo.describe()
        return info
    return TupleStructInfo([_described(item) for item in out_sinfo])


def destinations(result: StructInfo) -> tuple[StructInfo, ...]:
    """The tensors that a destination-passing call allocates: the fields of a tuple, else the one result."""
    return result.fields if isinstance(result, TupleStructInfo) else (result,)
