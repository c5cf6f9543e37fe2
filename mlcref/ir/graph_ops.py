"""The table of graph operators: one record says how an operator is called, printed, typed, legalized and executed.

The records stand in :mod:`mlcref.relax.op`; the parser, the printer and the oracle look them up here by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch
from mlcref.ir import graph
from mlcref.ir.base import Attrs
from mlcref.records import dataclass

REQUIRED = inspect.Parameter.empty
"""The default of an attribute that every call must give."""

KINDS = ("tensor", "tensors", "shape")


@dataclass(frozen=True, slots=True)
class Operand:
    """An operand: one ``"tensor"``, a tuple of ``"tensors"``, or a ``"shape"``."""

    name: str
    kind: str = "tensor"
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute: ``convert`` makes the one stored form of what a caller writes, or raises ``TypeMismatch``."""

    name: str
    convert: Callable[[Any], Any]
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the graph level.

    The three functions take the operands in order and the attributes by name:

    * ``infer`` takes ``TensorStructInfo`` (a tuple of them, the extents of a shape, None for an operand left out) and
      says what the result is, or raises ``TypeMismatch``;
    * ``legalize`` takes te tensors and gives the te tensor, or the list of them, that is the result;
    * ``reference`` takes numpy arrays, floats as float64, and gives arrays, which are rounded to the result's type
      once. It is the meaning of the operator.
    """

    name: str
    operands: tuple[Operand, ...]
    attributes: tuple[Attribute, ...]
    infer: Callable[..., graph.StructInfo]
    legalize: Callable[..., Any]
    reference: Callable[..., Any]
    summary: str

    @property
    def op(self) -> graph.Op:
        """The operator as a node."""
        return graph.Op.get(self.name)

    def call(self, operands: tuple[Any, ...], attrs: Mapping[str, Any]) -> graph.Call:
        """A checked call. Raises ``TypeMismatch`` for operands and attributes that do not fit."""
        pairs = zip(self.operands, operands, strict=False)
        args = [_operand(self, operand, value) for operand, value in pairs if value is not None]
        made = graph.Call(self.op, args, Attrs(self.converted(attrs)))
        made.struct_info  # noqa: B018  (raises here, where the call is written)
        return made

    def converted(self, attrs: Mapping[str, Any]) -> dict[str, Any]:
        """All attributes in their stored form, with the defaults of those that ``attrs`` leaves out."""
        known = {attribute.name for attribute in self.attributes}
        for name in attrs:
            if name not in known:
                raise TypeMismatch(f"{self.name} has no attribute {name!r}")
        return {attribute.name: self._attribute(attribute, attrs) for attribute in self.attributes}

    def _attribute(self, attribute: Attribute, attrs: Mapping[str, Any]) -> Any:
        value = attrs.get(attribute.name, attribute.default)
        if value is REQUIRED:
            raise TypeMismatch(f"{self.name} needs the attribute {attribute.name!r}")
        try:
            return attribute.convert(value)
        except TypeMismatch as error:
            raise TypeMismatch(f"{self.name}: {attribute.name} {error.what}", hint=error.hint) from None

    def infer_call(self, call: graph.Call) -> graph.StructInfo:
        """What is known about the result of ``call``."""
        return self.infer(*self.operand_infos(call), **self.converted(call.attrs))

    def operand_infos(self, call: graph.Call) -> Iterator[Any]:
        """What is known about each operand of ``call``; None for one that is left out."""
        required = sum(not operand.optional for operand in self.operands)
        if not required <= len(call.args) <= len(self.operands):
            raise TypeMismatch(f"{self.name} takes {len(self.operands)} operands, got {len(call.args)}")
        for operand, arg in zip(self.operands, call.args, strict=False):
            yield _known(self.name, operand, arg.struct_info)  # type: ignore[union-attr]
        yield from [None] * (len(self.operands) - len(call.args))

    def compute(self, operands: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
        """What the reference gives for arrays (tuples of them, shapes): an array or a tuple, not rounded yet.

        Raises ``OracleError`` where the operator means nothing.
        """
        given = [*map(_wide, operands), *[None] * (len(self.operands) - len(operands))]
        with np.errstate(all="ignore"):
            return self.reference(*given, **self.converted(attrs))

    def signature(self) -> inspect.Signature:
        """How the function of ``relax.op`` is called."""
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        first = [inspect.Parameter(o.name, kind, default=None if o.optional else REQUIRED) for o in self.operands]
        return inspect.Signature(
            [*first, *(inspect.Parameter(a.name, kind, default=a.default) for a in self.attributes)]
        )


def _wide(value: Any) -> Any:
    """An operand of a reference: floats in float64."""
    if isinstance(value, tuple):
        return tuple([_wide(item) for item in value])
    if isinstance(value, np.ndarray) and dt.is_float(dt.canonical(value.dtype)):
        return value.astype("float64")
    return value


def _known(name: str, operand: Operand, info: graph.StructInfo) -> Any:
    if operand.kind == "shape":
        if isinstance(info, graph.ShapeStructInfo) and info.values is not None:
            return info.values
        raise TypeMismatch(f"{name} takes a shape of known extents as {operand.name}", hint="write R.shape([n, 128])")
    if operand.kind == "tensor":
        return _tensor(name, operand, info)
    if not isinstance(info, graph.TupleStructInfo) or not info.fields:
        raise TypeMismatch(f"{name} takes a tuple of tensors as {operand.name}")
    return tuple([_tensor(name, operand, field) for field in info.fields])


def _tensor(name: str, operand: Operand, info: graph.StructInfo) -> graph.TensorStructInfo:
    if isinstance(info, graph.TensorStructInfo) and info.shape is not None:
        return info
    raise TypeMismatch(
        lambda: f"{name} takes a tensor of known shape as {operand.name}, not {info!r}",
        hint="R.match_cast(x, R.Tensor((n,), dtype)) gives a tensor a shape",
    )


def _operand(operator: Operator, operand: Operand, value: Any) -> graph.GraphExpr:
    if isinstance(value, graph.GraphExpr):
        return value
    if isinstance(value, tuple | list) and operand.kind == "shape":
        return graph.ShapeExpr(value)
    if isinstance(value, tuple | list) and operand.kind == "tensors":
        return graph.Tuple([_operand(operator, Operand(operand.name), item) for item in value])
    raise TypeMismatch(
        f"{operator.name}: {operand.name} is a {type(value).__name__}, no {operand.kind}",
        hint="write const(1.0) for a number" if isinstance(value, int | float) else None,
    )


OPERATORS: dict[str, Operator] = {}
"""The operators by the names of their nodes: "relax.nn.relu"."""

FUNCTIONS: dict[str, Callable[..., graph.Call]] = {}
"""What ``relax.op`` and ``R`` offer, by name: "add", "nn.relu"."""


def function_of(name: str) -> Callable[..., graph.Call] | None:
    """What ``R`` offers under ``name``; None when there is nothing."""
    graph.load_operators()
    return FUNCTIONS.get(name)


def operator_of(node: object) -> Operator | None:
    """The operator that ``node`` calls, or that it is; None where there is none."""
    op = node.op if isinstance(node, graph.Call) else node
    return OPERATORS.get(op.name) if isinstance(op, graph.Op) else None


def register_operator(operator: Operator) -> Callable[..., graph.Call]:
    """Enter ``operator`` in the table; returns the function that makes calls of it."""
    OPERATORS[operator.name] = operator
    graph.new_op(operator.name, operator.infer_call)
    name = operator.name.removeprefix("relax.")
    signature, count = operator.signature(), len(operator.operands)

    def function(*args: Any, **options: Any) -> graph.Call:
        try:
            bound = signature.bind(*args, **options)
        except TypeError as error:
            raise TypeMismatch(f"{name}: {error}") from None
        bound.apply_defaults()
        values = tuple(bound.arguments.values())
        return operator.call(values[:count], dict(list(bound.arguments.items())[count:]))

    function.__name__ = function.__qualname__ = name.rpartition(".")[2]
    function.__doc__ = f"{operator.summary}\n\nSource: ``{operator.name}``."
    function.__signature__ = signature  # type: ignore[attr-defined]
    FUNCTIONS[name] = function
    return function


def register_function(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Offer ``function``, which builds calls of operators, as ``relax.op.<name>`` and ``R.<name>``."""
    FUNCTIONS[name] = function
    return function
