"""Private copies of narrow elements that are always converted when they are read are kept wide.

``local = A[…]; … cast(float32, local)`` becomes ``local = cast(float32, A[…]); … local``: each element is widened once
instead of at each use. Integers of 8 bits become int16, of which there are instructions that multiply and add pairs.
Widening is exact, so that it does not matter where it happens, whatever the element becomes then.
"""

from __future__ import annotations

from mlcref.ir import (
    AllocBuffer, Buffer, BufferLoad, BufferStore, Call, Cast, DeclBuffer, Node, PrimFunc, Stmt, replace,
    rewrite, walk,
)  # fmt: skip

_WIDER = {
    "float16": "float32", "bfloat16": "float32", "float8_e4m3fn": "float32", "float8_e5m2": "float32",
    "int8": "int16", "uint8": "int16",
}  # fmt: skip
_POINTERS = ("buffer_data", "address_of", "tvm_access_ptr", "buffer_offset")


def widen_copies(func: PrimFunc) -> PrimFunc:
    """``func`` with its private buffers of narrow elements wide, where every use of an element converts it."""
    if any(isinstance(n, DeclBuffer) or (isinstance(n, Call) and n.op in _POINTERS) for n in walk(func.body)):
        return func
    wide: dict[Buffer, Buffer] = {}
    for node in walk(func.body):
        if isinstance(node, AllocBuffer) and node.buffer.type in _WIDER and _is_widened(node.body, node.buffer):
            wide[node.buffer] = replace(node.buffer, type=_WIDER[node.buffer.type])
    return replace(func, body=_exchanged(func.body, wide)) if wide else func


def _is_widened(body: Stmt, buffer: Buffer) -> bool:
    """Is ``buffer`` read, and each element converted when it is?"""
    nodes = list(walk(body))
    reads = sum(isinstance(node, BufferLoad) and node.buffer is buffer for node in nodes)
    casts = sum(
        isinstance(node, Cast) and isinstance(node.value, BufferLoad) and node.value.buffer is buffer
        for node in nodes
    )  # fmt: skip
    return 0 < reads == casts


def _exchanged(body: Stmt, wide: dict[Buffer, Buffer]) -> Stmt:
    def exchange(node: Node) -> Node | None:
        if isinstance(node, AllocBuffer) and node.buffer in wide:
            return replace(node, buffer=wide[node.buffer])
        if isinstance(node, BufferStore) and node.buffer in wide:
            buffer = wide[node.buffer]
            return replace(node, buffer=buffer, value=Cast(buffer.type, node.value))
        if isinstance(node, BufferLoad) and node.buffer in wide:
            return replace(node, buffer=wide[node.buffer])
        if isinstance(node, Cast) and isinstance(node.value, BufferLoad) and node.value.dtype == node.type:
            return node.value
        return None

    return rewrite(exchange, body)
