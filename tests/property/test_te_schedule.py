"""Random schedules of random tensor expressions mean what the expressions mean."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mlcref
from mlcref import te
from mlcref.errors import ScheduleError, UnsupportedError
from mlcref.verify import check_equivalent

Pick = Callable[[Sequence[Any]], Any]
ARGMAX = te.comm_reducer(
    lambda x, y: (te.Select(x[1] >= y[1], x[0], y[0]), te.Select(x[1] >= y[1], x[1], y[1])),
    lambda index, value: (te.const(-1, index), te.min_value(value)), name="argmax",
)  # fmt: skip


# -- expressions


def elementwise(pick: Pick, tensors: list[te.Tensor], name: str) -> Any:
    """Two tensors combined, read in any order of the dimensions that fits."""
    first = pick(tensors)
    second = pick([t for t in tensors if shape(t) == shape(first) and t.dtype == first.dtype])
    turned = pick([False, shape(second)[::-1] == shape(first)])
    op = pick([lambda a, b: a + b, lambda a, b: a * b - a, te.max])
    return te.compute(first.shape, lambda *i: op(first(*i), second(*(i[::-1] if turned else i))), name=name)


def arithmetic(pick: Pick, tensors: list[te.Tensor], name: str) -> Any:
    first = pick(tensors)
    return (first - pick([t for t in tensors if shape(t) == shape(first) and t.dtype == first.dtype])) * 2 + first


def padded(pick: Pick, tensors: list[te.Tensor], name: str) -> Any:
    source = pick(tensors)
    n, width = shape(source)[-1], pick([1, 2])

    def value(*i: Any) -> Any:
        inside = te.all(i[-1] >= width, i[-1] < n + width)
        return te.if_then_else(inside, source(*i[:-1], i[-1] - width), 0)

    return te.compute((*source.shape[:-1], n + 2 * width), value, name=name)


def windows(pick: Pick, tensors: list[te.Tensor], name: str) -> Any:
    """A sum or maximum over windows of the last dimension."""
    source = pick(tensors)
    n = shape(source)[-1]
    size, step = pick([size for size in (1, 2, 3) if size <= n]), pick([1, 2])
    r, reducer = te.reduce_axis((0, size), "r"), pick([te.sum, te.max])
    out = (*source.shape[:-1], (n - size) // step + 1)
    return te.compute(out, lambda *i: reducer(source(*i[:-1], i[-1] * step + r), axis=r), name=name)


def product(pick: Pick, tensors: list[te.Tensor], name: str) -> Any:
    """A matrix product, the second operand transposed or not."""
    first = pick([t for t in tensors if t.ndim == 2])
    n, m = shape(first)
    second = pick([t for t in tensors if t.ndim == 2 and m in shape(t) and t.dtype == first.dtype])
    along = shape(second).index(m)
    k = te.reduce_axis((0, m), "k")
    return te.compute(
        (n, shape(second)[1 - along]),
        lambda i, j: te.sum(first[i, k] * (second[k, j] if along == 0 else second[j, k]), axis=k), name=name,
    )  # fmt: skip


def total(pick: Pick, tensors: list[te.Tensor], name: str) -> Any:
    """A reduction over all dimensions or the last, with the ones that take part."""
    source = pick(tensors)
    kept = pick([0, source.ndim - 1])
    axes = [te.reduce_axis((0, n), f"k{d}") for d, n in enumerate(shape(source)[kept:])]
    where = pick([None, source(*[0] * source.ndim) < 3])
    return te.compute(source.shape[:kept], lambda *i: te.sum(source(*i, *axes), axis=axes, where=where), name=name)


def place(pick: Pick, tensors: list[te.Tensor], name: str) -> Any:
    source = pick(tensors)
    k = te.reduce_axis((0, shape(source)[-1]), "k")
    return te.compute(source.shape[:-1], lambda *i: ARGMAX((k, source(*i, k)), axis=k), name=name)


def pair(pick: Pick, tensors: list[te.Tensor], name: str) -> Any:
    source = pick(tensors)
    return te.compute(source.shape, lambda *i: (source(*i) + 1, source(*i) * 3), name=name)


FAMILIES = (elementwise, elementwise, arithmetic, padded, windows, product, total, place, pair)


def shape(tensor: te.Tensor) -> tuple[int, ...]:
    return tuple(int(n) for n in tensor.shape)


def expression(pick: Pick) -> list[te.Tensor]:
    """Inputs, and results that are needed nowhere else."""
    n, m, dtype = pick([3, 4, 5, 8]), pick([2, 4, 6]), pick(["int32", "float32", "int8"])
    tensors = [te.placeholder((n, m), dtype, name="A"), te.placeholder((m, n), dtype, name="B")]
    inputs = list(tensors)
    for count in range(pick([1, 2, 3, 4])):
        recent = tensors if pick([False, False, True]) else [*tensors[:2], *tensors[-2:]]
        usable = [t for t in recent if t.ndim > 0]
        made = pick(FAMILIES)(pick, usable, f"T{count}")
        tensors += made if isinstance(made, tuple) else [made]
    needed = {source for t in tensors for source in t.op.input_tensors}
    results = [t for t in tensors[2:] if t not in needed and t.op not in {source.op for source in needed}]
    last = results or tensors[-1:]
    wanted = {t for t in last for t in t.op.outputs()}
    return [*inputs, *sorted(wanted, key=lambda t: (t.name, t.value_index))]


# -- schedules


def loops(pick: Pick, stage: te.Stage) -> None:
    """Splits, fusions and reorders."""
    for _ in range(pick([0, 1, 2, 3])):
        leaves = stage.leaf_iter_vars
        wish = pick(["split", "split", "fuse", "reorder", "tile"])
        if not leaves:
            return
        if wish == "split":
            factor = pick([2, 3, 4])
            stage.split(pick(leaves), **{pick(["factor", "nparts"]): factor})
        elif wish == "fuse":
            pairs = [pair for pair in itertools.pairwise(leaves) if pair[0].kind == pair[1].kind]
            if pairs:
                stage.fuse(*pick(pairs))
        elif wish == "reorder":
            rest, order = list(leaves), []
            while rest:
                order.append(rest.pop(pick(range(len(rest)))))
            stage.reorder(*order)
        elif len(leaves) > 1:
            stage.tile(leaves[0], leaves[1], pick([2, 3]), pick([2, 4]))


def places(pick: Pick, s: te.Schedule) -> None:
    """Where stages are computed that are no results."""
    stages = s.stages
    for stage in reversed(stages):
        readers = [one for one in stages if any(s[t] is stage for t in one.op.input_tensors)]
        wish = pick(["root", "at", "at", "inline"])
        if stage.is_output or not readers:
            continue
        if wish == "inline" and not stage.op.reduce_axis:
            stage.compute_inline()
        elif wish == "at" and (stage.op.num_outputs == 1 or stage.op.reduce_axis):
            around = readers[0] if len(readers) == 1 else pick(readers)
            while around.inlined or (around.attached and pick([False, True])):
                if around.attached is None:
                    break
                around = around.attached[0]
            if around.leaf_iter_vars and not around.inlined:
                stage.compute_at(around, pick(around.leaf_iter_vars))


def caches(pick: Pick, s: te.Schedule) -> None:
    for stage in s.stages:
        if pick([False, False, True]):
            tensors = list(stage.op.outputs())
            s.cache_write(tensors if len(tensors) > 1 else tensors[0], pick(["global", "local"]))
    for stage in s.stages:
        for source in stage.op.input_tensors:
            if pick([False, False, False, True]):
                s.cache_read(source, pick(["global", "shared"]), [stage.op])


def marks(pick: Pick, s: te.Schedule) -> None:
    for stage in s.stages:
        for leaf in stage.leaf_iter_vars:
            wish = pick(["", "", "", "parallel", "vectorize", "unroll"])
            if wish == "unroll" or (wish and leaf.kind == "spatial"):
                getattr(stage, wish)(leaf)


def partial_results(pick: Pick, s: te.Schedule) -> None:
    for stage in s.stages:
        if stage.op.reduce_axis and stage.op.num_outputs == 1 and pick([False, False, True]):
            loop = pick(stage.op.reduce_axis)
            if pick([True, False]):
                loop = pick(stage.split(loop, **{pick(["factor", "nparts"]): pick([2, 3])}))
            with suppress(UnsupportedError):  # all of a reduction that leaves some values out
                s.rfactor(stage.op.output(0), loop, pick([0, -1]))


def scheduled(pick: Pick, results: Sequence[te.Tensor]) -> te.Schedule:
    s = te.create_schedule([t.op for t in results])
    partial_results(pick, s)
    caches(pick, s)
    if pick([False, False, True]):
        te.schedule.AutoInlineInjective(s)
    for stage in s.stages:
        if not stage.inlined:
            loops(pick, stage)
    places(pick, s)
    marks(pick, s)
    return s


def on_threads(pick: Pick, results: Sequence[te.Tensor]) -> te.Schedule:
    """The last result computed by blocks of threads, which fetch what they read into shared or private memory first.
    What it needs is inlined or computed before.
    """
    s = te.create_schedule([t.op for t in results])
    last = results[-1]
    reading = {source: s.cache_read(source, pick(["shared", "shared", "local"]), [last])
               for source in last.op.input_tensors if pick([True, True, False])}  # fmt: skip
    private = s.cache_write(last, "local") if pick([False, True]) else None
    threads = pick([2, 3, 4])
    axes = s[last].op.axis
    fused = s[last].fuse(*axes) if pick([True, len(axes) == 1]) else axes[0]
    block, thread = s[last].split(fused, factor=threads)
    s[last].bind(block, te.thread_axis("blockIdx.x"))
    s[last].bind(thread, te.thread_axis((0, threads), "threadIdx.x"))
    stage = s[last]
    if private is not None:
        s[private].compute_at(stage, thread)
        stage = s[private]
    if stage.op.reduce_axis:
        stage.reorder(*stage.op.reduce_axis, *([] if private is None else stage.op.axis))
    inside = [leaf for leaf in stage.leaf_iter_vars if leaf is not block]
    for cache in reading.values():
        at = pick(inside) if inside else None
        s[cache].compute_at(*((stage, at) if at else (s[last], thread)))
        if s[cache].op.output(0).buffer.scope == "shared":
            s[cache].bind(s[cache].split(s[cache].fuse(*s[cache].op.axis), factor=threads)[1],
                          te.thread_axis("threadIdx.x"))  # fmt: skip
    for one in s.stages:
        if not (one.is_output or one.op.reduce_axis or one.attached) and pick([False, True]):
            one.compute_inline()
    return s


# -- what holds

REFUSED = {
    "compute_at.P5",  # a reader is elsewhere
    "reorder.P8",  # the order of equal values matters to ARGMAX
    "compute_inline.P6",  # integers wrap as values, not in conditions
    "reorder.P5", "parallel.P4", "vectorize.P4",  # bindings after several splits with tails
    "vectorize.P5", "parallel.P5",  # a stage computed inside the loop
}  # fmt: skip


def picker(draw: st.DrawFn) -> Pick:
    return lambda options: draw(st.sampled_from(list(options)))


def same_meaning(s: te.Schedule, args: list[te.Tensor]) -> bool:
    """Is the scheduled program what the expressions say? False when a primitive refused, for one of the reasons above.
    """
    try:
        scheduled = s.tensor_ir(args).mod["main"]
    except ScheduleError as error:
        if error.rule not in REFUSED:
            raise
        return False
    verdict = check_equivalent(te.create_prim_func(args), scheduled)
    assert verdict, verdict
    return True


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_random_schedules(data: st.DataObject) -> None:
    pick = picker(data.draw)
    args = expression(pick)
    same_meaning(scheduled(pick, args[2:]), args)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_random_schedules_on_threads(data: st.DataObject) -> None:
    pick = picker(data.draw)
    args = expression(pick)
    assume(args[-1].ndim > 0 and args[-1].op.num_outputs == 1)
    same_meaning(on_threads(pick, args[2:]), args)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_lowered_schedules(data: st.DataObject) -> None:
    """What `tvm.lower` shows is the same program."""
    pick = picker(data.draw)
    args = expression(pick)
    s = scheduled(pick, args[2:])
    try:
        shown = mlcref.lower(s, args, simple_mode=pick([True, False]))["main"]
    except ScheduleError:
        return
    verdict = check_equivalent(te.create_prim_func(args), shown)
    assert verdict, verdict


def test_most_schedules_are_accepted() -> None:
    rng = random.Random(0)
    accepted = 0
    for _ in range(20):
        args = expression(rng.choice)
        accepted += same_meaning(scheduled(rng.choice, args[2:]), args)
    assert accepted >= 15
