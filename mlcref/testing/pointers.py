"""Blocks exchanged for calls of a function on pointers, whose meaning is a Python function: what passes see of them is
no more than the pointers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref.errors import ScheduleError
from mlcref.interp import interpret
from mlcref.ir import (
    Block, BlockRealize, Buffer, BufferLoad, BufferRegion, BufferStore, Call, Const, Evaluate, Expr, PrimFunc, Range,
    Var, call, const, make_block, replace, rewrite, substitute, walk,
)  # fmt: skip
from mlcref.ir.registry import register_global_func
from mlcref.ir.tensor_intrin import TensorIntrin
from mlcref.schedule import TABLE

FUNCTION = "mlcref.testing.pointers"
"""The function that is called; each exchange registers it anew."""
INTRIN = "mlcref.testing.on_pointers"


def exchanged(func: PrimFunc, pick: Callable[..., Any]) -> PrimFunc | None:
    """``func`` with a drawn block or loop exchanged for a call on pointers; None where that is not possible."""
    tensorize = TABLE["tensorize"]
    site = tensorize.arguments(pick, func)
    intrin = TensorIntrin.get(site["tensor_intrin"]) if site is not None else None
    if site is None or intrin is None:
        return None
    TensorIntrin.register(INTRIN, intrin.desc, with_pointers(intrin.desc), override=True)
    register_global_func(FUNCTION, meaning(intrin.desc), override=True)
    try:
        return tensorize.build(func, tensorize.plan(func, site["block_or_loop"], INTRIN))[0]
    except ScheduleError:
        return None


def pointing_directly(func: PrimFunc, elements: bool = False) -> PrimFunc:
    """``func`` with the second names of :func:`exchanged` left out: pointers into the buffers themselves, or the
    addresses of ``elements``."""

    def visit(node: Any) -> Any:
        if isinstance(node, BlockRealize) and node.block.match_buffers and isinstance(node.block.body, Evaluate):
            return replace(node, block=_without_matches(node.block, elements))
        return None

    return replace(func, body=rewrite(visit, func.body))


def _without_matches(block: Block, elements: bool) -> Block:
    known: dict[Var, Expr] = {}
    sources: dict[Buffer, tuple[BufferLoad, Expr]] = {}
    starts: dict[Buffer, BufferLoad] = {}
    for match in block.match_buffers:
        source, strides = match.source.buffer, _row_major(match.source.buffer)
        offset: Expr = const(0)
        for box, stride in zip(match.source.region, strides, strict=True):
            offset = offset + box.min * stride
        inner = strides[len(strides) - len(match.buffer.strides) :]
        known.update({v: const(s) for v, s in zip(match.buffer.strides, inner, strict=True) if isinstance(v, Var)})
        sources[match.buffer] = (BufferLoad(source, tuple([const(0)] * len(source.shape))), offset)
        starts[source] = BufferLoad(source, tuple([box.min for box in match.source.region]))

    def visit(node: Any) -> Any:
        if elements and isinstance(node, Call) and node.op == "tvm_access_ptr":
            pointed = next(part.buffer for part in walk(node.args[1]) if isinstance(part, BufferLoad))
            return call("address_of", starts[pointed], dtype="handle")
        load = node.args[0] if isinstance(node, Call) and node.args else None
        if not isinstance(load, BufferLoad) or load.buffer not in sources:
            return None
        first, offset = sources[load.buffer]
        return offset if node.op == "buffer_offset" else replace(node, args=(first, *node.args[1:]))

    return replace(block, match_buffers=(), body=substitute(rewrite(visit, block.body), known))


def _row_major(buffer: Buffer) -> list[int]:
    strides = [1]
    for extent in reversed(buffer.shape[1:]):
        strides.insert(0, strides[0] * int(extent.value) if isinstance(extent, Const) else 0)
    return strides


def with_pointers(desc: PrimFunc) -> PrimFunc:
    """An implementation of ``desc`` that gives pointers and strides to :data:`FUNCTION`."""
    stored = {node.buffer for node in walk(desc.body) if isinstance(node, BufferStore)}
    loaded = {node.buffer for node in walk(desc.body) if isinstance(node, BufferLoad)}
    params: list[Buffer] = []
    given: list[Expr] = []
    for buffer in desc.buffers:
        strides = tuple([Var(f"{buffer.name}_s{d}") for d in range(len(buffer.shape))])
        param = Buffer(buffer.name, buffer.shape, buffer.type, buffer.scope, strides)
        extent: Expr = const(1)
        for size, stride in zip(buffer.shape, strides, strict=True):
            extent = extent + (size - 1) * stride
        data = call("buffer_data", BufferLoad(param, tuple([const(0)] * len(strides))))
        mask = (1 if buffer in loaded else 0) | (2 if buffer in stored else 0)
        given += [call("tvm_access_ptr", call("type_annotation", dtype=buffer.type), data, 0, extent, mask), *strides]
        params.append(param)
    regions = [BufferRegion(param, tuple([Range(const(0), extent) for extent in param.shape])) for param in params]
    writes = [region for buffer, region in zip(desc.buffers, regions, strict=True) if buffer in stored]
    body = Evaluate(call("call_extern", FUNCTION, *given, dtype="int32"))
    root = make_block("root", body, reads=regions, writes=writes)
    return PrimFunc(tuple(params), BlockRealize((), (), root))


def meaning(desc: PrimFunc) -> Any:
    """What the function does: run the description on the regions."""

    def run(*arguments: Any) -> int:
        rest = iter(arguments)
        views = []
        for buffer in desc.buffers:
            memory = next(rest)
            strides = [next(rest) * memory.itemsize for _ in buffer.shape]
            shape = [int(extent) for extent in buffer.shape if isinstance(extent, Const)]
            views.append(np.lib.stride_tricks.as_strided(memory, shape, strides))
        copies = [np.ascontiguousarray(view) for view in views]
        interpret(desc, *copies)
        for view, copy in zip(views, copies, strict=True):
            view[...] = copy
        return 0

    return run
