"""The chapter *Operator Optimizations on CPUs* of "Dive into Deep Learning Compiler", in our own words: the operators
with schedules for vectors, cores and caches. The oracle compares each schedule with the expressions; one of each kind
is compiled and run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcref as tvm
from mlcref import te
from tests.course.d2l_operators import (
    Tensors, batch_norm, broadcast_add, check, conv, conv_reference, depthwise_conv, equivalent, matmul, padding, pool,
    pool_reference, small_integers,
)  # fmt: skip
from tests.course.marks import blocks_of

vector_add_page = blocks_of("cpu_vector_add")
broadcast_add_page = blocks_of("cpu_broadcast_add")
matmul_page = blocks_of("cpu_matmul")
blocking = blocks_of("cpu_block_matmul")
conv_page = blocks_of("cpu_conv")
packed_conv_page = blocks_of("cpu_packed_conv")
depthwise_page = blocks_of("cpu_depthwise_conv")
pooling_page = blocks_of("cpu_pooling")
batch_norm_page = blocks_of("cpu_batch_norm")


def shown(s: te.Schedule, args: Tensors) -> str:
    return str(tvm.lower(s, args, simple_mode=True))


# ---- vector add: threads, vectors, both


def vector_add(n: int) -> Tensors:
    A, B = te.placeholder((n,), name="A"), te.placeholder((n,), name="B")
    return [A, B, te.compute((n,), lambda i: A[i] + B[i], name="C")]


@vector_add_page(8)
def test_vector_add_by_all_cores() -> None:
    args = vector_add(64)
    s = te.create_schedule(args[2].op)
    s[args[2]].parallel(args[2].op.axis[0])
    assert "for i in T.parallel(64)" in shown(s, args)
    equivalent(args, s)


@vector_add_page(4, 10)
def test_vector_add_in_vectors() -> None:
    args = vector_add(64)
    s = te.create_schedule(args[2].op)
    outer, inner = s[args[2]].split(args[2].op.axis[0], factor=8)
    s[args[2]].parallel(outer)
    s[args[2]].vectorize(inner)
    assert "for i_1 in T.vectorized(8)" in shown(s, args)
    equivalent(args, s)
    a, b = small_integers(args[:2])
    module = check(args, s, inputs=[a, b], result=a + b)
    assert "prange" in module.get_source()
    assert module.time_evaluator(module.entry_name, tvm.cpu(), number=1)(a, b, a + b).mean > 0


def test_vector_add_whose_length_vectors_do_not_divide() -> None:
    args = vector_add(61)
    s = te.create_schedule(args[2].op)
    _, inner = s[args[2]].split(args[2].op.axis[0], factor=8)
    s[args[2]].vectorize(inner)
    a, b = small_integers(args[:2])
    check(args, s, inputs=[a, b], result=a + b)


@vector_add_page(5, 6)
@matmul_page(3)
@pooling_page(1, 2, 7)
@batch_norm_page(1, 2)
@pytest.mark.parametrize(
    "args",
    [vector_add(64), matmul(4, 5, 6), pool("max", 2, 6, 3, 1)[:2], pool("avg", 2, 6, 3, 1)[:2], batch_norm(2, 4)],
    ids=["vector add", "product", "maxima", "means", "batch normalization"],
)  # fmt: skip
def test_without_a_schedule(args: Tensors) -> None:
    """One serial nest per stage, for the processor that the target names."""
    s = te.create_schedule(args[-1].op)
    text = shown(s, args)
    assert "T.parallel" not in text
    assert "T.vectorized" not in text
    assert text.count("] = ") >= len(s.stages)
    module = tvm.build(s, args, "llvm -mcpu=skylake-avx512")
    assert "prange" not in module.get_source()


# ---- broadcast add: which loop is the inner one


@broadcast_add_page(6)
def test_broadcast_add_reordered() -> None:
    args = broadcast_add((8, 1), (8, 6))
    s = te.create_schedule(args[2].op)
    x, y = args[2].op.axis
    s[args[2]].reorder(y, x)
    assert "for y, x in T.grid(6, 8)" in shown(s, args)
    equivalent(args, s)


@broadcast_add_page(4)
def test_broadcast_add_by_cores_and_vectors() -> None:
    args = broadcast_add((8, 1), (8, 16))
    s = te.create_schedule(args[2].op)
    x, y = args[2].op.axis
    s[args[2]].parallel(x)
    s[args[2]].vectorize(y)
    equivalent(args, s)


# ---- matrix product


@matmul_page(6, 8)
def test_matmul_reordered() -> None:
    """Rows of C and B in the inner loop, where elements are neighbours; the init stands before the reduction."""
    args = matmul(8, 8, 8)
    s = te.create_schedule(args[2].op)
    (x, y), (k,) = args[2].op.axis, args[2].op.reduce_axis
    s[args[2]].reorder(x, k, y)
    text = shown(s, args)
    order = [text.index(part) for part in ("for x in range(8)", "for y_init in range(8)", "for k, y in T.grid(8, 8)")]
    assert order == sorted(order)
    equivalent(args, s)
    s[args[2]].parallel(x)
    equivalent(args, s)


def block_matmul(n: int, tx: int, ty: int, tk: int, write_cache: bool) -> tuple[Tensors, te.Schedule]:
    """Tiles of C, each by one core, with the reduction split and its inner part unrolled; with ``write_cache`` summed
    up in memory of its own first."""
    A, B, C = matmul(n, n, n)
    s = te.create_schedule(C.op)
    total = s.cache_write(C, "local") if write_cache else C
    xo, yo, xi, yi = s[C].tile(*C.op.axis, tx, ty)
    xy = s[C].fuse(xo, yo)
    s[C].parallel(xy)
    if write_cache:
        s[total].compute_at(s[C], xy)
        xi, yi = s[total].op.axis
    (k,) = s[total].op.reduce_axis
    ko, ki = s[total].split(k, factor=tk)
    s[total].reorder(ko, xi, ki, yi)
    s[total].unroll(ki)
    s[total].vectorize(yi)
    return [A, B, C], s


@blocking(3, 5)
@pytest.mark.parametrize("write_cache", [False, True])
@pytest.mark.parametrize(("n", "tiles"), [(16, (4, 8, 4)), (13, (4, 8, 4))])
def test_matmul_in_tiles(n: int, tiles: tuple[int, int, int], write_cache: bool) -> None:
    args, s = block_matmul(n, *tiles, write_cache)
    equivalent(args, s)
    a, b = small_integers(args[:2])
    check(args, s, inputs=[a, b], result=a @ b, build=write_cache and n == 13)
    if write_cache and n == 16:
        assert "C_local = T.alloc_buffer((4, 8)" in shown(s, args)


# ---- convolution


def cached_block(oc: int, ic: int, n: int, k: int, p: int, s: int, th: int, tw: int) -> tuple[Tensors, te.Schedule]:
    """Tiles of each output channel, summed up in a local cache."""
    X, K, Y, PaddedX = conv(oc, ic, n, k, p, s)
    sch = te.create_schedule(Y.op)
    CachedY = sch.cache_write(Y, "local")
    c, h, w = sch[Y].op.axis
    ho, wo, _, _ = sch[Y].tile(h, w, th, tw)
    ch = sch[Y].fuse(c, ho)
    sch[Y].parallel(ch)
    sch[CachedY].compute_at(sch[Y], wo)
    _, ch_, cw = sch[CachedY].op.axis
    ric, rkh, rkw = CachedY.op.reduce_axis
    sch[CachedY].reorder(ric, rkh, rkw, ch_, cw)
    sch[CachedY].vectorize(cw)
    sch[CachedY].unroll(rkw)
    if p:
        sch[PaddedX].parallel(PaddedX.op.axis[0])
    return [X, K, Y], sch


@conv_page(6)
def test_convolution_in_tiles_with_a_cache() -> None:
    args, s = cached_block(2, 2, 7, 3, 1, 1, 4, 4)
    equivalent(args, s)
    x, kernel = small_integers(args[:2])
    check(args, s, inputs=[x, kernel], result=conv_reference(x, kernel, 1, 1), build=False)


def conv_pack(oc: int, ic: int, n: int, k: int, p: int, toc: int, tic: int) -> Tensors:
    """Data and kernel laid out in tiles of channels. Returns X, K, the two packed tensors and the padded X."""
    X, K = te.placeholder((ic, n, n), name="X"), te.placeholder((oc, ic, k, k), name="K")
    PaddedX = padding(X, p, p) if p else X
    around = n + 2 * p
    shape = (ic // tic, around, around, tic)
    PackedX = te.compute(shape, lambda ci, x, y, t: PaddedX[ci * tic + t, x, y], name="PackedX")
    PackedK = te.compute(
        (oc // toc, ic // tic, k, k, tic, toc),
        lambda co, ci, x, y, cit, cot: K[co * toc + cot, ci * tic + cit, x, y], name="PackedK",
    )  # fmt: skip
    return [X, K, PackedX, PackedK, PaddedX]


def packed_conv(oc: int, ic: int, n: int, k: int, p: int, toc: int, tic: int) -> Tensors:
    """Convolution of packed data, and back to channels first. Returns X, K, Y, and what is on the way."""
    X, K, PackedX, PackedK, PaddedX = conv_pack(oc, ic, n, k, p, toc, tic)
    ric, rci = te.reduce_axis((0, ic // tic), "ric_outer"), te.reduce_axis((0, tic), "ric_inner")
    rkh, rkw, out = te.reduce_axis((0, k), "rkh"), te.reduce_axis((0, k), "rkw"), n + 2 * p - k + 1
    PackedY = te.compute(
        (oc // toc, out, out, toc),
        lambda co, x, y, t: te.sum(PackedX[ric, x + rkh, y + rkw, rci] * PackedK[co, ric, rkh, rkw, rci, t],
                                   axis=[ric, rkh, rkw, rci]),
        name="PackedY",
    )  # fmt: skip
    Y = te.compute((oc, out, out), lambda c, x, y: PackedY[c // toc, x, y, c % toc], name="Y")
    return [X, K, Y, PaddedX, PackedX, PackedK, PackedY]


def cached_packed_block(args: Tensors, tw: int, p: int) -> te.Schedule:
    _, _, Y, PaddedX, PackedX, PackedK, PackedY = args
    s = te.create_schedule(Y.op)
    CachedY = s.cache_write(PackedY, "local")
    oc, h, w, _ = s[PackedY].op.axis
    oc_h = s[PackedY].fuse(oc, h)
    s[PackedY].parallel(oc_h)  # by rows of each tile of channels
    wo, _ = s[PackedY].split(w, factor=tw)
    s[CachedY].compute_at(s[PackedY], wo)
    _, _, cw, oc_inner = s[CachedY].op.axis
    ric, rkh, rkw, ric_inner = CachedY.op.reduce_axis
    s[CachedY].reorder(ric, rkh, rkw, ric_inner, cw, oc_inner)
    s[CachedY].unroll(cw)
    s[CachedY].vectorize(oc_inner)
    s[PackedX].parallel(s[PackedX].fuse(*PackedX.op.axis[0:2]))
    s[PackedK].parallel(s[PackedK].fuse(*PackedK.op.axis[0:2]))
    s[Y].parallel(s[Y].fuse(*Y.op.axis[0:2]))
    if p:
        s[PaddedX].compute_inline()
    return s


@packed_conv_page((1, 4))
def test_packing_is_a_change_of_layout() -> None:
    X, K, PackedX, PackedK, _ = conv_pack(4, 6, 5, 3, 0, 2, 3)
    x, kernel = small_integers([X, K])
    check([X, PackedX], inputs=[x], result=x.reshape(2, 3, 5, 5).transpose(0, 2, 3, 1), build=False)
    packed = kernel.reshape(2, 2, 2, 3, 3, 3).transpose(0, 2, 4, 5, 3, 1)
    check([K, PackedK], inputs=[kernel], result=packed, build=False)


@packed_conv_page((5, 8))
def test_packed_convolution() -> None:
    tensors = packed_conv(4, 2, 5, 3, 1, 2, 2)
    s, args = cached_packed_block(tensors, 2, 1), tensors[:3]
    equivalent(args, s)
    x, kernel = small_integers(args[:2])
    check(args, s, inputs=[x, kernel], result=conv_reference(x, kernel, 1, 1))


@depthwise_page((1, 7))
def test_depthwise_convolution_in_vectors_of_channels() -> None:
    """Channels last, as for a packed convolution, so that the vectors are of channels."""
    ic, n, k, p, tc = 4, 5, 3, 1, 2
    X, K, plain, PaddedX = depthwise_conv(ic, n, k, p)
    PackedX = te.compute((ic // tc, n + 2, n + 2, tc), lambda c, x, y, t: PaddedX[c * tc + t, x, y], name="PackedX")
    PackedK = te.compute((ic // tc, k, k, tc), lambda c, x, y, t: K[c * tc + t, 0, x, y], name="PackedK")
    rkh, rkw = te.reduce_axis((0, k), "rkh"), te.reduce_axis((0, k), "rkw")
    PackedY = te.compute(
        (ic // tc, n, n, tc),
        lambda c, x, y, t: te.sum(PackedX[c, x + rkh, y + rkw, t] * PackedK[c, rkh, rkw, t], axis=[rkh, rkw]),
        name="PackedY",
    )  # fmt: skip
    Y = te.compute((ic, n, n), lambda c, x, y: PackedY[c // tc, x, y, c % tc], name="Y")
    s = te.create_schedule(Y.op)
    CachedY = s.cache_write(PackedY, "local")
    c, h, w, _ = s[PackedY].op.axis
    row = s[PackedY].fuse(c, h)
    s[PackedY].parallel(row)
    wo, _ = s[PackedY].split(w, factor=4)
    s[CachedY].compute_at(s[PackedY], wo)
    _, _, cw, channels = s[CachedY].op.axis
    s[CachedY].reorder(*CachedY.op.reduce_axis, cw, channels)
    s[CachedY].vectorize(channels)
    s[CachedY].unroll(cw)
    s[PaddedX].compute_inline()
    s[PackedX].compute_at(s[PackedY], row)
    equivalent([X, K, Y], s)
    assert tvm.verify.check_equivalent(te.create_prim_func([X, K, plain]), s.tensor_ir([X, K, Y]).mod["main"])


# ---- pooling and batch normalization: what is inlined, and what is computed together


def schedule_max(args: Tensors) -> te.Schedule:
    Y = args[1]
    s = te.create_schedule(Y.op)
    te.schedule.AutoInlineInjective(s)  # the padding
    c, h, w = Y.op.axis
    s[Y].parallel(s[Y].fuse(c, h))
    s[Y].vectorize(w)
    return s


@pooling_page(3)
def test_max_pooling() -> None:
    args = pool("max", 2, 8, 3, 1, 1)[:2]
    s = schedule_max(args)
    assert "alloc_buffer" not in shown(s, args)
    equivalent(args, s)
    (x,) = small_integers(args[:1])
    check(args, s, inputs=[x], result=pool_reference(x, "max", 3, 1, 1), build=False)


@pooling_page(8)
def test_mean_pooling_sums_a_row_where_it_divides_it() -> None:
    args = pool("avg", 2, 8, 3, 1, 1)[:2]
    Y = args[1]
    (total,) = Y.op.input_tensors
    s = te.create_schedule(Y.op)
    te.schedule.AutoInlineInjective(s)
    c, h, w = Y.op.axis
    row = s[Y].fuse(c, h)
    s[Y].parallel(row)
    s[Y].vectorize(w)
    s[total].compute_at(s[Y], row)
    s[total].vectorize(total.op.axis[-1])
    text = shown(s, args)
    assert "PoolSum = T.alloc_buffer((1, 1, 8))" in text
    equivalent(args, s)
    (x,) = small_integers(args[:1])
    check(args, s, inputs=[x], result=pool_reference(x, "avg", 3, 1, 1))


@batch_norm_page(3)
def test_batch_normalization_by_rows() -> None:
    args = batch_norm(4, 8)
    Y = args[-1]
    s = te.create_schedule(Y.op)
    te.schedule.AutoInlineInjective(s)
    c, h, w = Y.op.axis
    s[Y].parallel(s[Y].fuse(c, h))
    s[Y].vectorize(w)
    equivalent(args, s)


def test_a_schedule_is_tried_in_many_tile_sizes() -> None:
    """The exercise: every choice of tiles is right, whatever it costs."""
    for tiles in [(1, 1, 1), (2, 16, 3), (16, 16, 16), (32, 5, 7)]:
        args, s = block_matmul(12, *tiles, write_cache=True)
        equivalent(args, s)
    a, b = np.ones((12, 12), "float32"), np.ones((12, 12), "float32")
    check(args, s, inputs=[a, b], result=np.full((12, 12), 12, "float32"), build=False)


def test_a_mistake_is_seen_at_once() -> None:
    """The reduction by all cores: TE would have raced."""
    args = matmul(8, 8, 8)
    s: Any = te.create_schedule(args[2].op)
    s[args[2]].parallel(args[2].op.reduce_axis[0])
    with pytest.raises(tvm.TVMError, match="loop k feeds the reduce iterator v_k of block C"):
        tvm.lower(s, args)
