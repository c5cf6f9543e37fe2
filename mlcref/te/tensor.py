"""Tensors, and the operations that make them.

A tensor has a buffer, and reading it (``A[i, j]``) is an ordinary load from that buffer. Which operation computes a
buffer is remembered here, as long as a load or a tensor refers to the buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

from mlcref.ir import NO_ATTRS, Attrs, Buffer, BufferLoad, Expr, ExprLike, Node, children
from mlcref.te.axis import Axis, Operand, TensorExpressionError, integer
from mlcref.te.reduction import Reduce

Output = tuple[str, tuple[Expr, ...], str]
"""Name, shape and dtype of a tensor that an operation makes."""


class Operation:
    """What makes tensors: ``name``, the user's ``tag`` and ``attrs``, which become annotations of the block."""

    def __init__(
        self, name: str, outputs: Sequence[Output], tag: str = "", attrs: Attrs = NO_ATTRS,
        buffers: Sequence[Buffer] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.tag, self.attrs = name, tag, attrs
        self._made = tuple(outputs)
        self._buffers: list[ref[Buffer] | None] = [None] * len(self._made)
        if buffers is not None:
            self._buffers = [ref(buffer) for buffer in buffers]

    @property
    def num_outputs(self) -> int:
        """Number of tensors that it makes."""
        return len(self._made)

    def output(self, index: int) -> Tensor:
        """Its tensor number ``index``."""
        known = self._buffers[index]
        buffer = None if known is None else known()
        if buffer is None:  # nobody holds it, or ever has
            buffer = Buffer(*self._made[index])
            self._buffers[index] = ref(buffer)
        return Tensor(self, buffer, index)

    def outputs(self) -> tuple[Tensor, ...]:
        """All of its tensors."""
        return tuple([self.output(index) for index in range(self.num_outputs)])

    @property
    def axis(self) -> tuple[Axis, ...]:
        """The axes of its result, in order of the dimensions; none where it has no loops of its own."""
        return ()

    @property
    def reduce_axis(self) -> tuple[Axis, ...]:
        """The axes of the reduction, none without one."""
        return ()

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that it reads."""
        return ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


class PlaceholderOp(Operation):
    """What makes an input tensor: nothing but its ``name``."""


class ComputeOp(Operation):
    """What makes a computed tensor: at each index of ``axis`` the value ``body[0]``, which may be a :class:`Reduce`.

    An operation with several values in ``body`` makes as many tensors, of one shape.
    """

    def __init__(
        self, name: str, axis: tuple[Axis, ...], body: tuple[Expr, ...], tag: str = "", attrs: Attrs = NO_ATTRS,
        buffers: Sequence[Buffer] | None = None,
    ) -> None:  # fmt: skip
        shape = tuple([one.dom.extent for one in axis])
        names = [name] if len(body) == 1 else [f"{name}_v{count}" for count in range(len(body))]
        outputs = [(each, shape, value.dtype) for each, value in zip(names, body, strict=True)]
        super().__init__(name, outputs, tag, attrs, buffers)
        self._axis, self.body = axis, body

    @property
    def axis(self) -> tuple[Axis, ...]:
        """The axes of the result."""
        return self._axis

    @property
    def reduce_axis(self) -> tuple[Axis, ...]:
        """The axes of the reduction, none without one."""
        return tuple(self.body[0].axis) if isinstance(self.body[0], Reduce) else ()

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that the body reads, in order of their first use (an index before what it indexes)."""
        return tuple(tensor_of(buffer) for buffer in loaded(self.body))


def loaded(values: Sequence[Expr]) -> list[Buffer]:
    """The buffers that ``values`` read, in order of their first use (an index before what it indexes)."""
    visited: list[Node] = []
    stack: list[Node] = list(values)
    while stack:
        visited.append(stack.pop())
        stack.extend(children(visited[-1]))
    return list({node.buffer: None for node in reversed(visited) if isinstance(node, BufferLoad)})


ELEMENTWISE: dict[str, Callable[[Any, Any], Any]] = {}
"""What the operators on whole tensors compute; :mod:`mlcref.te.elementwise` enters it."""


def _whole(name: str) -> Callable[[Any, Any], Any]:
    return lambda self, other: ELEMENTWISE[name](self, other)


def _swapped(name: str) -> Callable[[Any, Any], Any]:
    return lambda self, other: ELEMENTWISE[name](other, self)


_origins: WeakKeyDictionary[Buffer, tuple[Operation, int]] = WeakKeyDictionary()


class Tensor(Operand):
    """A tensor: ``shape`` (extents, integers as constants), ``dtype`` of an element, ``op`` that computes it, among
    other tensors as number ``value_index``.

    ``A[i, j]`` and ``A(i, j)`` read an element; ``A[i][j]`` works as well. Arithmetic on whole tensors computes a new
    one: ``(X - mean) * 2.0``, with dimensions of extent 1, or left out, repeated as numpy does. Two tensors are equal
    when they are one.

    >>> from mlcref import te
    >>> A, b = te.placeholder((128, 64), name="A"), te.placeholder((64,), name="b")
    >>> A.ndim, A.dtype, A.name, [int(extent) for extent in A.shape]
    (2, 'float32', 'A', [128, 64])
    >>> (A + b).op.name
    'T_add'
    """

    __slots__ = ("buffer", "op", "value_index")
    takes_over = True
    """``alpha * A`` of a scalar is arithmetic on the whole tensor, too."""

    def __init__(self, op: Operation, buffer: Buffer, value_index: int = 0) -> None:
        self.op, self.buffer, self.value_index = op, buffer, value_index
        _origins.setdefault(buffer, (op, value_index))

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

    __add__, __radd__ = _whole("add"), _swapped("add")
    __sub__, __rsub__ = _whole("subtract"), _swapped("subtract")
    __mul__, __rmul__ = _whole("multiply"), _swapped("multiply")
    __truediv__, __rtruediv__ = _whole("divide"), _swapped("divide")

    def __neg__(self) -> Any:
        return ELEMENTWISE["multiply"](self, -1)

    def astype(self, dtype: str) -> Any:
        """The tensor of its elements converted to ``dtype``."""
        return ELEMENTWISE["cast"](self, dtype)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tensor) and self.buffer is other.buffer

    def __hash__(self) -> int:
        return id(self.buffer)

    def __repr__(self) -> str:
        return f"Tensor({self.buffer.name}: {self.dtype}, {self.ndim}-d)"


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
    origin = _origins.get(buffer)
    if origin is None:
        raise TensorExpressionError(f"buffer {buffer.name} belongs to no tensor", rule="te.T3")
    return Tensor(origin[0], buffer, origin[1])
