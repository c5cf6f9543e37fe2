"""Tensors: what :func:`placeholder` and :func:`compute` make.

A tensor has a buffer, and reading it (``A[i, j]``) is an ordinary load from that buffer. Which operation computes a
buffer is remembered here, as long as a load or a tensor refers to the buffer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.ir import NO_ATTRS, Attrs, Buffer, BufferLoad, Const, Expr, ExprLike, Node, as_expr, children, const, walk
from mlcref.te.axis import Axis, Operand, TensorExpressionError, axis, integer
from mlcref.te.reduction import Reduce


class PlaceholderOp:
    """What makes an input tensor: nothing but its ``name``."""

    input_tensors: tuple[Tensor, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"PlaceholderOp({self.name})"


class ComputeOp:
    """What makes a computed tensor: at each index of ``axis`` the value ``body``, which may be a :class:`Reduce`.

    ``tag`` and ``attrs`` are the user's; ``attrs`` become annotations of the block.
    """

    def __init__(self, name: str, axis: tuple[Axis, ...], body: Expr, tag: str, attrs: Attrs) -> None:
        self.name, self.axis, self.body, self.tag, self.attrs = name, axis, body, tag, attrs

    @property
    def reduce_axis(self) -> tuple[Axis, ...]:
        """The axes of the reduction, none without one."""
        return tuple(self.body.axis) if isinstance(self.body, Reduce) else ()

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that the body reads, in order of their first use (an index before what it indexes)."""
        visited: list[Node] = []
        stack: list[Node] = [self.body]
        while stack:
            visited.append(stack.pop())
            stack.extend(children(visited[-1]))
        found = {node.buffer: None for node in reversed(visited) if isinstance(node, BufferLoad)}
        return tuple(tensor_of(buffer) for buffer in found)

    def __repr__(self) -> str:
        return f"ComputeOp({self.name})"


_operations: WeakKeyDictionary[Buffer, PlaceholderOp | ComputeOp] = WeakKeyDictionary()


class Tensor(Operand):
    """A tensor: ``shape`` (extents, integers as constants), ``dtype`` of an element, ``op`` that computes it.

    ``A[i, j]`` and ``A(i, j)`` read an element; ``A[i][j]`` works as well. Two tensors are equal when they are one.

    >>> A = placeholder((128, 64), name="A")
    >>> A.ndim, A.dtype, A.name, [int(extent) for extent in A.shape]
    (2, 'float32', 'A', [128, 64])
    """

    __slots__ = ("buffer", "op")

    def __init__(self, op: PlaceholderOp | ComputeOp, buffer: Buffer) -> None:
        self.op, self.buffer = op, buffer
        _operations[buffer] = op

    @property
    def name(self) -> str:
        """Name of the operation, and of the buffer and block that it becomes."""
        return self.op.name

    @property
    def shape(self) -> tuple[Expr, ...]:
        """Extents; an integer one is a ``Const``, which works as an ``int``."""
        return self.buffer.shape

    @property
    def dtype(self) -> str:
        """Type of an element."""
        return self.buffer.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.buffer.ndim

    def __getitem__(self, indices: ExprLike | tuple[ExprLike, ...]) -> Any:
        return TensorSlice(self, ())[indices]

    def __call__(self, *indices: ExprLike) -> Any:
        return TensorSlice(self, ())[indices]

    def as_expr(self) -> Expr:
        """The only element of a tensor without dimensions; raises TensorExpressionError (te.T3) for any other."""
        return TensorSlice(self, ()).as_expr()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tensor) and self.buffer is other.buffer

    def __hash__(self) -> int:
        return id(self.buffer)

    def __repr__(self) -> str:
        return f"Tensor({self.name}: {self.dtype}, {self.ndim}-d)"


class TensorSlice(Operand):
    """A tensor with its first indices given: ``A[i]`` of a matrix."""

    __slots__ = ("indices", "tensor")

    def __init__(self, tensor: Tensor, indices: tuple[Expr, ...]) -> None:
        self.tensor, self.indices = tensor, indices

    def __getitem__(self, indices: ExprLike | tuple[ExprLike, ...]) -> Any:
        more = indices if isinstance(indices, tuple) else (indices,)
        given = self.indices + tuple(integer(index, f"an index of {self.tensor.name}") for index in more)
        if len(given) > self.tensor.ndim:
            raise TensorExpressionError(
                f"{self.tensor.name} has {self.tensor.ndim} dimensions but is indexed with {len(given)}", rule="te.T3"
            )
        complete = len(given) == self.tensor.ndim
        return BufferLoad(self.tensor.buffer, given) if complete else TensorSlice(self.tensor, given)

    def as_expr(self) -> Expr:
        """The element, for a tensor without dimensions; raises TensorExpressionError (te.T3) otherwise."""
        tensor = self.tensor
        if tensor.ndim:
            raise TensorExpressionError(
                f"{tensor.name} has {tensor.ndim} dimensions but is read with {len(self.indices)} indices",
                rule="te.T3",
                hint=f"write {tensor.name}[{', '.join('ijklmn'[d % 6] for d in range(tensor.ndim))}]",
            )  # fmt: skip
        return BufferLoad(tensor.buffer, ())


def tensor_of(buffer: Buffer) -> Tensor:
    """The tensor whose elements are in ``buffer``; raises TensorExpressionError (te.T3) when it is no tensor's."""
    op = _operations.get(buffer)
    if op is None:
        raise TensorExpressionError(f"buffer {buffer.name} belongs to no tensor", rule="te.T3")
    return Tensor(op, buffer)


def _shape(shape: ExprLike | Sequence[ExprLike], name: str) -> tuple[Expr, ...]:
    extents = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    made = tuple(integer(extent, f"an extent of {name}") for extent in extents)
    for extent in made:
        if isinstance(extent, Const) and extent.value < 0:
            raise TensorExpressionError(f"an extent of {name} is {extent.value}", rule="te.T1")
    return made


def placeholder(shape: ExprLike | Sequence[ExprLike], dtype: str | None = None, name: str = "placeholder") -> Tensor:
    """An input tensor of ``shape``: a tuple of integers and ``te.var``s, or one extent. Float32 without ``dtype``.

    Raises TensorExpressionError (te.T1) for an extent that is no integer. As ``tvm.te.placeholder``.

    >>> placeholder((128, 128), "float32", name="A").shape[0].value
    128
    """
    buffer = Buffer(name, _shape(shape, name), dt.canonical(dtype or "float32"))
    return Tensor(PlaceholderOp(name), buffer)


def compute(
    shape: ExprLike | Sequence[ExprLike], fcompute: Callable[..., Any], name: str = "compute", tag: str = "",
    attrs: Mapping[str, Any] | None = None,
) -> Tensor:  # fmt: skip
    """The tensor of ``shape`` whose element at ``i, j, …`` is ``fcompute(i, j, …)``; its dtype is that of the value.

    ``fcompute`` takes one index per dimension (``lambda i, j: …``, or ``lambda *i: …``); its parameters name the loops.
    Raises TensorExpressionError: te.T1 for a wrong shape, te.T4 for a wrong ``fcompute``, te.T5 for a reduction that is
    not at the top. As ``tvm.te.compute``, except that TVM drops the dimensions for which ``fcompute`` has no parameter.

    >>> A = placeholder((128,), name="A")
    >>> compute((128,), lambda i: A[i] + 1.0, name="B").op.axis[0].name
    'i'
    """
    extents = _shape(shape, name)
    names = _axis_names(fcompute, len(extents), name)
    ranges = zip(names, extents, strict=True)
    axes = tuple(axis(each, const(0, extent.dtype), extent, "spatial") for each, extent in ranges)
    body = _body(fcompute(*[one.var for one in axes]), name)
    op = ComputeOp(name, axes, body, tag, Attrs(attrs) if attrs else NO_ATTRS)
    return Tensor(op, Buffer(name, extents, body.dtype))


def _body(value: Any, name: str) -> Expr:
    if isinstance(value, tuple | list):
        raise UnsupportedError(f"compute {name} returns {len(value)} values; one is supported", rule="te.U1")
    if value is None or isinstance(value, str):
        raise TensorExpressionError(f"the function of compute {name} returns {value!r}, no value", rule="te.T4")
    body = as_expr(value)
    parts = (body.source, body.condition, body.init) if isinstance(body, Reduce) else (body,)
    for part in parts:
        if part is not None and any(isinstance(inner, Reduce) for inner in walk(part)):
            raise TensorExpressionError(
                f"compute {name} uses a reduction inside an expression", rule="te.T5",
                hint="compute the reduction as a tensor of its own, then use its elements",
            )  # fmt: skip
    return body


def _axis_names(fcompute: Callable[..., Any], ndim: int, name: str) -> list[str]:
    """A name per dimension: the parameters' names, then i0, i1, … for a ``*`` parameter."""
    if not callable(fcompute):
        raise TensorExpressionError(f"compute {name} needs a function of the indices, not {fcompute!r}", rule="te.T4")
    parameters = list(inspect.signature(fcompute).parameters.values())
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    has_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if any(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters):
        raise TensorExpressionError(f"the function of compute {name} has keyword parameters", rule="te.T4")
    if len(names) > ndim or (len(names) < ndim and not has_rest):
        raise TensorExpressionError(
            f"compute {name} has {ndim} dimensions, its function takes {len(names)}", rule="te.T4",
            hint="one parameter per dimension, or lambda *i",
        )  # fmt: skip
    return names + [f"i{count}" for count in range(ndim - len(names))]
