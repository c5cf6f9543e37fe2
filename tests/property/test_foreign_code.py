"""A block of a random program is exchanged for a call of a function on pointers: every pass of lowering keeps what the
program means, though it sees of that block no more than the pointers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from mlcref import interpret, register_global_func, remove_global_func
from mlcref.errors import ScheduleError
from mlcref.ir import (
    BlockRealize, Buffer, BufferLoad, BufferRegion, BufferStore, Const, Evaluate, Expr, PrimFunc, Range, Var, call,
    const, make_block, walk,
)  # fmt: skip
from mlcref.ir.tensor_intrin import TensorIntrin
from mlcref.lower import lower
from mlcref.schedule import TABLE
from mlcref.schedule.tensorize import draw_tensorize
from mlcref.verify.generate import program

FUNCTION = "property.extern"
outcomes: Counter[str] = Counter()


def with_pointers(desc: PrimFunc) -> PrimFunc:
    """An implementation that gives pointers and strides to :data:`FUNCTION`."""
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


def arrays(func: PrimFunc) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    shapes = [[int(extent) for extent in buffer.shape] for buffer in func.buffers]  # type: ignore[call-overload]
    return [rng.integers(-3, 4, shape).astype(buffer.dtype) for shape, buffer in zip(shapes, func.buffers, strict=True)]


def prepared(func: PrimFunc, pick: Any) -> PrimFunc:
    """``func`` after some primitives."""
    for _ in range(pick([0, 1, 2, 3])):
        primitive = TABLE[pick(["split", "compute_at", "cache_read", "decompose_reduction", "reorder", "parallel"])]
        drawn = primitive.arguments(pick, func)
        try:
            func = func if drawn is None else primitive.build(func, primitive.plan(func, **drawn))[0]
        except ScheduleError:
            continue
    return func


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def check_passes(data: st.DataObject) -> None:
    def pick(options: Any, weights: Any = None) -> Any:
        return data.draw(st.sampled_from(list(options)))

    func = prepared(program(pick, max_blocks=1), pick)
    site = draw_tensorize(pick, func)
    if site is None:
        outcomes["no site"] += 1
        return
    intrin = TensorIntrin.get(site["tensor_intrin"])
    assert intrin is not None
    TensorIntrin.register("property.tile", intrin.desc, with_pointers(intrin.desc), override=True)
    register_global_func(FUNCTION, meaning(intrin.desc), override=True)
    tensorize = TABLE["tensorize"]
    new = tensorize.build(func, tensorize.plan(func, site["block_or_loop"], "property.tile"))[0]
    note(f"{func!r}\n{new!r}")
    wanted = arrays(func)
    interpret(func, *wanted)

    def same(name: str, after: PrimFunc) -> None:
        got = arrays(func)
        interpret(after, *got)
        for x, y in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=name)

    same("tensorize", new)
    lower(new, after=same)
    outcomes["same"] += 1


def test_every_pass_keeps_what_pointers_see() -> None:
    try:
        check_passes()
    finally:
        remove_global_func(FUNCTION)
    assert outcomes["same"] >= 3, outcomes
