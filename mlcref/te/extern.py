"""Tensors that something else computes: :func:`extern`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.ir import (
    NO_ATTRS, Attrs, BlockRealize, Buffer, BufferRegion, Evaluate, Expr, ExprLike, Range, Stmt, const, fresh,
    make_block, replace_buffers,
)  # fmt: skip
from mlcref.ir.base import node
from mlcref.script.buffer_methods import access_ptr
from mlcref.te.axis import TensorExpressionError
from mlcref.te.compute import extents_of
from mlcref.te.tensor import Operation, Tensor


@node
class ExternBuffer(Buffer):
    """A buffer as the function of an :func:`extern` gets it."""

    def access_ptr(self, access_mask: str, offset: ExprLike = 0, extent: ExprLike | None = None) -> Expr:
        """A pointer for a function that reads ("r"), writes ("w") or does both ("rw")."""
        return access_ptr(self, False, access_mask, offset=offset, extent=extent)


class ExternOp(Operation):
    """What makes tensors by the statement ``body``, which uses ``inputs`` as the buffers ``ins`` and its own tensors as
    ``outs``."""

    def __init__(
        self, name: str, inputs: tuple[Tensor, ...], ins: Sequence[Buffer], outs: Sequence[Buffer], body: Stmt,
        tag: str, attrs: Attrs,
    ) -> None:  # fmt: skip
        super().__init__(name, [(out.name, out.shape, out.type) for out in outs], tag, attrs)
        self.inputs, self.ins, self.outs, self.body = inputs, tuple(ins), tuple(outs), body

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that it reads, each once."""
        return tuple(dict.fromkeys(self.inputs))

    def block(self, name: str, buffers: Mapping[Buffer, Buffer]) -> BlockRealize:
        """The block that runs it on ``buffers``, those of the function. It reads and writes whole tensors."""
        given = [buffers[tensor.buffer] for tensor in self.inputs]
        made = [buffers[tensor.buffer] for tensor in self.outputs()]
        exchanged = dict(zip((*self.ins, *self.outs), (*given, *made), strict=True))
        body = replace_buffers(fresh(self.body), exchanged)
        reads, writes = [_whole(one) for one in dict.fromkeys(given)], [_whole(one) for one in made]
        return BlockRealize((), (), make_block(name, body, reads=reads, writes=writes, annotations=self.attrs))


def _whole(buffer: Buffer) -> BufferRegion:
    return BufferRegion(buffer, tuple([Range(const(0, extent.dtype), extent) for extent in buffer.shape]))


def extern(
    shape: Any, inputs: Sequence[Tensor], fcompute: Callable[..., Any], name: str = "extern", dtype: Any = None,
    in_buffers: None = None, out_buffers: None = None, tag: str = "", attrs: Mapping[str, Any] | None = None,
) -> Any:  # fmt: skip
    """A tensor of ``shape`` that a function writes: ``fcompute(ins, outs)`` gets the buffers of ``inputs`` and of the
    result and returns the call (``tvm.tir.call_packed("f", ins[0], outs[0])``, or ``tvm.tir.call_extern`` with
    ``outs[0].access_ptr("w")``) or a statement.

    A list of shapes makes a tuple of tensors, of the types ``dtype``, a list then; without it that of the inputs. A
    function may read what it is given whole; where the result is no parameter and has no value yet, the oracle asks for
    ``access_ptr("w")``. The block says what it reads and writes, which TVM's leaves out.

    Raises TensorExpressionError: te.T1 for a wrong shape, te.T8 for inputs, types or a function that do not fit, and
    UnsupportedError for ``in_buffers`` and ``out_buffers``. As ``tvm.te.extern``.

    >>> import mlcref as tvm
    >>> from mlcref import te
    >>> A = te.placeholder((8,), name="A")
    >>> B = extern((8,), [A], lambda ins, outs: tvm.tir.call_packed("example.sort", ins[0], outs[0]), name="B")
    >>> B.dtype, B.op.input_tensors
    ('float32', (Tensor(A: float32, 1-d),))
    """
    if in_buffers is not None or out_buffers is not None:
        raise UnsupportedError("extern with buffers of one's own layout is not supported", rule="te.U1")
    given = tuple(inputs)
    for one in given:
        if not isinstance(one, Tensor):
            raise TensorExpressionError(f"an input of extern {name} is {one!r}, no tensor", rule="te.T8")
    shapes = _shapes(shape, name)
    types = _types(dtype, given, len(shapes), name)
    ins = [ExternBuffer(tensor.buffer.name, tensor.shape, tensor.dtype) for tensor in given]
    outs = [ExternBuffer(name, extents, kind) for extents, kind in zip(shapes, types, strict=True)]
    body = _statement(fcompute(ins, outs), name)
    op = ExternOp(name, given, ins, outs, body, tag, Attrs(attrs) if attrs else NO_ATTRS)
    made = op.outputs()
    return made[0] if len(made) == 1 else made


def _shapes(shape: Any, name: str) -> list[tuple[Expr, ...]]:
    several = isinstance(shape, tuple | list) and any(isinstance(one, tuple | list) for one in shape)
    return [extents_of(one, name) for one in (shape if several else [shape])]


def _types(dtype: Any, inputs: Sequence[Tensor], count: int, name: str) -> list[str]:
    if dtype is None:
        found = {tensor.dtype for tensor in inputs}
        if len(found) != 1:
            raise TensorExpressionError(f"the type of extern {name} does not follow from its inputs", rule="te.T8",
                                        hint="say dtype=")  # fmt: skip
        return [*found] * count
    types = list(dtype) if isinstance(dtype, tuple | list) else [dtype] * count
    if len(types) != count:
        raise TensorExpressionError(f"extern {name} has {count} shapes and {len(types)} types", rule="te.T8")
    return [dt.canonical(one) for one in types]


def _statement(made: Any, name: str) -> Stmt:
    if isinstance(made, Stmt):
        return made
    if isinstance(made, Expr):
        return Evaluate(made)
    raise TensorExpressionError(
        f"the function of extern {name} returns {made!r}, no call and no statement", rule="te.T8",
        hint='return tvm.tir.call_packed("f", ins[0], outs[0])',
    )  # fmt: skip
