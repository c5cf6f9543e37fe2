"""What scripts call on buffers: ``A.access_ptr("r")``, ``A.vload([0])``, ``A.view(64)``; and the instructions of
machines that scripts name (``T.ptx_mma(...)``), which are read and printed and mean nothing to the oracle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mlcref import dtype as dt
from mlcref import ir
from mlcref.errors import TypeMismatch
from mlcref.ir import Buffer, Expr, as_expr, binary
from mlcref.records import dataclass
from mlcref.script.forms import DataOf, Declaration, load_origin
from mlcref.script.type_names import dtype_of, new_buffer

_MASKS = {"r": 1, "w": 2, "rw": 3, "wr": 3}


def offset_of(buffer: Buffer, matched: bool) -> Expr:
    """Elements of the memory before the first of ``buffer``; a matched buffer knows that when it is matched."""
    if buffer.elem_offset is not None:
        return buffer.elem_offset
    return ir.call("buffer_offset", load_origin(buffer)) if matched else as_expr(0)


def access_ptr(
    buffer: Buffer, matched: bool, access_mask: Any, ptr_type: Any = "handle", content_lanes: int = 1, offset: Any = 0,
    extent: Any = None,
) -> Expr:  # fmt: skip
    """A pointer into the memory of ``buffer`` for a function that reads ("r"), writes ("w") or does both ("rw")."""
    mask = _MASKS.get(access_mask) if isinstance(access_mask, str) else int(access_mask)
    if mask is None or content_lanes != 1 or dtype_of(ptr_type) != "handle":
        raise TypeMismatch('access_ptr takes "r", "w" or "rw", and scalars of the type of the buffer')
    if extent is None:
        extent = _span(buffer)
        if not isinstance(offset, int) or offset:
            extent = binary(ir.Sub, extent, offset)
    start = binary(ir.Add, offset_of(buffer, matched), offset)
    annotation = ir.call("type_annotation", dtype=buffer.type)
    return ir.call("tvm_access_ptr", annotation, DataOf(buffer), start, extent, mask)


def _span(buffer: Buffer) -> Expr:
    if buffer.strides:
        return binary(ir.Mul, buffer.strides[0], buffer.shape[0])
    total = as_expr(1)
    for extent in buffer.shape:
        total = binary(ir.Mul, total, extent)
    return total


def vload(buffer: Buffer, matched: bool, begin: Any, dtype: Any = None) -> Expr:
    """The element at ``begin``, or the vector from there on."""
    return ir.load(buffer, _vector(buffer, begin, 1 if dtype is None else dt.lanes(dtype_of(dtype))))


def vstore(buffer: Buffer, matched: bool, begin: Any, value: Any) -> ir.Stmt:
    """The store of an element or of a vector at ``begin``."""
    expr = as_expr(value)
    kind = dt.parse(buffer.type).with_lanes(dt.lanes(expr.dtype))
    return ir.BufferStore(buffer, ir.cast(kind, expr), _vector(buffer, begin, dt.lanes(expr.dtype)))


def _vector(buffer: Buffer, begin: Any, lanes: int) -> tuple[Expr, ...]:
    indices = tuple(as_expr(index) for index in (begin if isinstance(begin, tuple | list) else (begin,)))
    if len(indices) != len(buffer.shape):
        raise TypeMismatch(f"{buffer.name} has {len(buffer.shape)} dimensions but is indexed with {len(indices)}")
    last = indices[-1]
    return indices if lanes == 1 else (*indices[:-1], ir.Ramp(last, ir.Const(1, last.dtype), lanes))


def view(buffer: Buffer, matched: bool, *shape: Any, dtype: Any = None) -> Declaration:
    """The memory of ``buffer`` under another shape."""
    extents = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    kind = buffer.type if dtype is None else dtype_of(dtype)
    return Declaration(new_buffer(tuple(extents), kind, None, buffer.elem_offset, buffer.scope), buffer)


METHODS: dict[str, Callable[..., Any]] = {"access_ptr": access_ptr, "vload": vload, "vstore": vstore, "view": view}


@dataclass(frozen=True)
class BufferMethod:
    """``A.access_ptr``: a method of a buffer, to be called."""

    name: str
    buffer: Buffer
    matched: bool

    def __call__(self, *args: Any, **options: Any) -> Any:
        return partial(METHODS[self.name], self.buffer, self.matched)(*args, **options)


@dataclass(frozen=True)
class OpaqueName:
    """``T.ptx_legacy`` or ``T.ptx_mma``: a name, or the prefix of names, of a machine's instructions."""

    name: str

    def __call__(self, *args: Any, dtype: Any = None) -> Expr:
        """The call of the instruction, kept as it is written."""
        return ir.Call(self.name, tuple(as_expr(arg) for arg in args), "handle" if dtype is None else dtype_of(dtype))
