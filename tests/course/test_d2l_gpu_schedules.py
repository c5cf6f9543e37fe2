"""The chapter *Operator Optimizations on GPUs* of "Dive into Deep Learning Compiler", in our own words: the operators
with schedules for blocks of threads, shared memory and registers.

There is no device: the programs run at small sizes in the oracle, which runs threads in lock step, compares each
schedule with the expressions, and refuses races. What the book asks the device, the target says.
"""

from __future__ import annotations

from typing import Any

import pytest

import mlcref as tvm
from mlcref import te
from mlcref.ir import For, walk
from tests.course.d2l_operators import (
    Tensors, batch_norm, broadcast_add, check, conv, conv_reference, depthwise_conv, equivalent, matmul, pool,
    pool_reference, small_integers,
)  # fmt: skip
from tests.course.marks import blocks_of

vector_add_page = blocks_of("gpu_vector_add")
broadcast_add_page = blocks_of("gpu_broadcast_add")
matmul_page = blocks_of("gpu_matmul")
conv_page = blocks_of("gpu_conv")
depthwise_page = blocks_of("gpu_depthwise_conv")
pooling_page = blocks_of("gpu_pooling")
batch_norm_page = blocks_of("gpu_batch_norm")


def threads(s: te.Schedule, args: Tensors) -> dict[str, int]:
    """The thread axes of the kernel and their extents."""
    func = s.tensor_ir(args).mod["main"]
    return {node.thread: int(node.extent) for node in walk(func.body) if isinstance(node, For) and node.thread}  # type: ignore[call-overload]


def split_axis(stage: te.Stage, axis: Any, *factors: int) -> list[Any]:
    """``len(factors) + 1`` loops for one, the inner ones of the sizes ``factors``."""
    parts = []
    for factor in reversed(factors):
        axis, inner = stage.split(axis, factor=factor)
        parts.insert(0, inner)
    return [axis, *parts]


def bind(stage: te.Stage, **axes: Any) -> None:
    """``blockIdx_x=loop``: bind loops to thread axes."""
    for name, loop in axes.items():
        stage.bind(loop, te.thread_axis(name.replace("_", ".")))


# ---- vector add


@vector_add_page(3)
def test_vector_add() -> None:
    A, B = te.placeholder((64,), name="A"), te.placeholder((64,), name="B")
    C = te.compute((64,), lambda i: A[i] + B[i], name="C")
    s = te.create_schedule(C.op)
    block, thread = s[C].split(C.op.axis[0], factor=8)
    bind(s[C], blockIdx_x=block, threadIdx_x=thread)
    assert threads(s, [A, B, C]) == {"blockIdx.x": 8, "threadIdx.x": 8}
    assert "T.launch_thread(\"threadIdx.x\", 8)" in str(tvm.lower(s, [A, B, C], simple_mode=True))
    equivalent([A, B, C], s)
    a, b = small_integers([A, B])
    check([A, B, C], s, inputs=[a, b], result=a + b)  # the CPU runs the threads one after the other


# ---- broadcast add


def continuous_parallel(args: Tensors) -> te.Schedule:
    """A thread per element of the fused loops, in blocks as large as the target's; neighbouring threads take
    neighbouring elements.
    """
    C, num_threads = args[2], tvm.target.Target.current(allow_none=False).max_num_threads
    s = te.create_schedule(C.op)
    block, thread = s[C].split(s[C].fuse(*C.op.axis), factor=num_threads)
    bind(s[C], blockIdx_x=block, threadIdx_x=thread)
    return s


def alternate_parallel(args: Tensors, num_blocks: int, num_threads: int) -> te.Schedule:
    """A fixed number of threads, each of which takes several elements, far apart."""
    C = args[2]
    s = te.create_schedule(C.op)
    fused = s[C].fuse(*C.op.axis)
    each, rest = s[C].split(fused, factor=num_blocks * num_threads)
    block, thread = s[C].split(rest, nparts=num_blocks)
    s[C].reorder(block, thread, each)
    bind(s[C], blockIdx_x=block, threadIdx_x=thread)
    return s


@broadcast_add_page(3, 4, 6)
@pytest.mark.parametrize("shapes", [((8, 1), (8, 6)), ((8, 6), (1, 6)), ((7, 5), (7, 1))])
def test_broadcast_add(shapes: Any) -> None:
    args = broadcast_add(*shapes)
    a, b = small_integers(args[:2])
    with tvm.target.create("cuda --max_num_threads=8"):
        one, other = continuous_parallel(args), alternate_parallel(args, 2, 4)
    assert threads(one, args)["threadIdx.x"] == 8
    assert threads(other, args) == {"blockIdx.x": 2, "threadIdx.x": 4}
    for s in (one, other):
        equivalent(args, s)
        check(args, s, inputs=[a, b], result=a + b, build=False)


def test_a_fixed_number_of_blocks() -> None:
    args = broadcast_add((8, 1), (8, 6))
    s = te.create_schedule(args[2].op)
    block, thread = s[args[2]].split(s[args[2]].fuse(*args[2].op.axis), nparts=5)
    bind(s[args[2]], blockIdx_x=block, threadIdx_x=thread)
    assert threads(s, args) == {"blockIdx.x": 5, "threadIdx.x": 10}
    equivalent(args, s)


# ---- matrix product


def matmul_gpu(n: int, block_size: int, tx: int, ty: int, tk: int) -> tuple[Tensors, te.Schedule]:
    """Blocks of C by blocks of threads; stretches of A and B fetched together into shared memory, then by each thread
    into registers, where it sums up its own tile."""
    A, B, C = matmul(n, n, n)
    s = te.create_schedule(C.op)
    A_shared, B_shared = s.cache_read(A, "shared", [C]), s.cache_read(B, "shared", [C])
    A_local, B_local = s.cache_read(A_shared, "local", [C]), s.cache_read(B_shared, "local", [C])
    C_local = s.cache_write(C, "local")

    x, y = s[C].op.axis
    xb, xo, xi = split_axis(s[C], x, block_size, tx)
    yb, yo, yi = split_axis(s[C], y, block_size, ty)
    s[C].reorder(xb, yb, xo, yo, xi, yi)
    thread_x, thread_y = te.thread_axis("threadIdx.x"), te.thread_axis("threadIdx.y")
    bind(s[C], blockIdx_x=yb, blockIdx_y=xb)
    s[C].bind(yo, thread_x)
    s[C].bind(xo, thread_y)

    s[C_local].compute_at(s[C], yo)
    xc, yc = s[C_local].op.axis
    (k,) = s[C_local].op.reduce_axis
    ko, ki = s[C_local].split(k, factor=tk)
    s[C_local].reorder(ko, ki, xc, yc)
    for shared, local in ((A_shared, A_local), (B_shared, B_local)):
        s[shared].compute_at(s[C_local], ko)
        s[local].compute_at(s[C_local], ki)
        row, column = s[shared].op.axis
        row_thread, row_each = s[shared].split(row, nparts=block_size)
        column_thread, column_each = s[shared].split(column, nparts=block_size)
        s[shared].reorder(row_thread, column_thread, row_each, column_each)
        s[shared].bind(row_thread, thread_y)
        s[shared].bind(column_thread, thread_x)
    return [A, B, C], s


@matmul_page((6, 9))
@pytest.mark.parametrize(("n", "sizes"), [(8, (2, 2, 2, 4)), (12, (2, 3, 2, 4)), (7, (2, 2, 2, 3))])
def test_matmul(n: int, sizes: Any) -> None:
    args, s = matmul_gpu(n, *sizes)
    assert threads(s, args)["threadIdx.x"] == sizes[0]
    scopes = [buffer.scope for buffer in s.tensor_ir(args).mod["main"].root.alloc_buffers]
    assert sorted(scopes) == ["local"] * 3 + ["shared"] * 2
    equivalent(args, s)
    a, b = small_integers(args[:2])
    check(args, s, inputs=[a, b], result=a @ b, build=False)


def test_a_cpu_does_not_run_threads_that_share_their_work() -> None:
    args, s = matmul_gpu(8, 2, 2, 2, 4)
    with pytest.raises(tvm.TVMError, match="threads may read what other threads have written"):
        tvm.build(s, args, "llvm")


@matmul_page(10)
def test_there_is_no_device() -> None:
    args, s = matmul_gpu(8, 2, 2, 2, 4)
    with pytest.raises(tvm.TVMError, match="no backend for target cuda"):
        tvm.build(s, args, "cuda")
    ctx = tvm.gpu(0)
    assert (ctx, ctx.exist) == (tvm.cuda(0), False)
    with pytest.raises(tvm.TVMError, match="no arrays on device"):
        tvm.nd.array(small_integers(args)[0], ctx)


# ---- convolution


def conv_gpu(
    oc: int, ic: int, n: int, k: int, p: int, tile_c: tuple[int, int], tile_h: tuple[int, int], tile_w: tuple[int, int],
    tile_rc: int, tile_rh: int, virtual: bool,
) -> tuple[Tensors, te.Schedule]:  # fmt: skip
    """Tiles of channels, rows and columns: blocks, (virtual threads,) threads, and a tile for each in registers."""
    X, K, Y, PaddedX = conv(oc, ic, n, k, p)
    s = te.create_schedule(Y.op)
    if p:
        s[PaddedX].compute_inline()
    X_shared, K_shared = s.cache_read(PaddedX, "shared", [Y]), s.cache_read(K, "shared", [Y])
    X_local, K_local = s.cache_read(X_shared, "local", [Y]), s.cache_read(K_shared, "local", [Y])
    Y_local = s.cache_write(Y, "local")

    c, h, w = s[Y].op.axis
    inner = (1,) if not virtual else (2,)
    cb, cv, co, ci = split_axis(s[Y], c, *inner, *tile_c)
    hb, hv, ho, hi = split_axis(s[Y], h, *inner, *tile_h)
    wb, wv, wo, wi = split_axis(s[Y], w, 1, *tile_w)
    s[Y].reorder(cb, hb, wb, cv, hv, wv, co, ho, wo, ci, hi, wi)
    bind(s[Y], blockIdx_z=cb, blockIdx_y=hb, blockIdx_x=wb)
    if virtual:
        bind(s[Y], vthread_z=cv, vthread_y=hv)
    thread = [te.thread_axis(f"threadIdx.{axis}") for axis in "zyx"]
    for loop, axis in zip((co, ho, wo), thread, strict=True):
        s[Y].bind(loop, axis)

    s[Y_local].compute_at(s[Y], wo)
    cc, hc, wc = s[Y_local].op.axis
    rc, rh, rw = s[Y_local].op.reduce_axis
    rco, rci = s[Y_local].split(rc, factor=tile_rc)
    rho, rhi = s[Y_local].split(rh, factor=tile_rh)
    s[Y_local].reorder(rco, rho, rw, rci, rhi, cc, hc, wc)
    for shared, local in ((X_shared, X_local), (K_shared, K_local)):
        s[shared].compute_at(s[Y_local], rho)
        s[local].compute_at(s[Y_local], rhi)
        parts = [s[shared].split(axis, nparts=extent) for axis, extent in
                 zip(s[shared].op.axis[:3], (tile_c[0], tile_h[0], tile_w[0]), strict=True)]  # fmt: skip
        s[shared].reorder(*[outer for outer, _ in parts], *[each for _, each in parts])
        for (loop, _), axis in zip(parts, thread, strict=True):
            s[shared].bind(loop, axis)
    return [X, K, Y], s


@conv_page((4, 6))
@pytest.mark.parametrize("virtual", [False, True])
def test_convolution(virtual: bool) -> None:
    args, s = conv_gpu(4, 2, 4, 3, 1, (2, 1), (2, 1), (1, 2), 1, 2, virtual)
    equivalent(args, s)
    x, kernel = small_integers(args[:2])
    check(args, s, inputs=[x, kernel], result=conv_reference(x, kernel, 1, 1), build=False)


@depthwise_page(3, 4)
def test_depthwise_convolution() -> None:
    """A thread per element of a channel; what a block of them reads is brought to shared memory first."""
    X, K, Y, PaddedX = depthwise_conv(3, 6, 3, 1)
    s = te.create_schedule(Y.op)
    s[PaddedX].compute_inline()
    shared = s.cache_read(PaddedX, "shared", [Y])
    c, h, w = s[Y].op.axis
    hb, ht = s[Y].split(h, factor=2)
    wb, wt = s[Y].split(w, factor=3)
    s[Y].reorder(c, hb, wb, ht, wt)
    bind(s[Y], blockIdx_z=c, blockIdx_y=hb, blockIdx_x=wb, threadIdx_y=ht, threadIdx_x=wt)
    s[shared].compute_at(s[Y], wt)
    _, row, column = s[shared].op.axis
    row_thread, row_each = s[shared].split(row, nparts=2)
    column_thread, column_each = s[shared].split(column, nparts=3)
    s[shared].reorder(row_thread, column_thread, row_each, column_each)
    bind(s[shared], threadIdx_y=row_thread, threadIdx_x=column_thread)
    equivalent([X, K, Y], s)


# ---- pooling and batch normalization


def one_thread_each(s: te.Schedule, Y: Any, num_threads: int) -> Any:
    block, thread = s[Y].split(s[Y].fuse(*s[Y].op.axis), factor=num_threads)
    bind(s[Y], blockIdx_x=block, threadIdx_x=thread)
    return thread


@pooling_page((1, 3))
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling(kind: str) -> None:
    args = pool(kind, 2, 7, 3, 1, 1)[:2]
    s = te.create_schedule(args[1].op)
    te.schedule.AutoInlineInjective(s)
    thread = one_thread_each(s, args[1], 16)
    if kind == "avg":
        (total,) = args[1].op.input_tensors
        s[total].compute_at(s[args[1]], thread)
        s[total].set_scope("local")
    equivalent(args, s)
    (x,) = small_integers(args[:1])
    check(args, s, inputs=[x], result=pool_reference(x, kind, 3, 1, 1), build=False)


@batch_norm_page((1, 3))
def test_batch_normalization() -> None:
    args = batch_norm(3, 5)
    s = te.create_schedule(args[-1].op)
    te.schedule.AutoInlineInjective(s)
    one_thread_each(s, args[-1], 16)
    assert threads(s, args) == {"blockIdx.x": 5, "threadIdx.x": 16}
    equivalent(args, s)


def test_threads_that_share_work_must_be_as_many() -> None:
    """Fetching by another number of threads than compute."""
    A, B, C = matmul(8, 8, 8)
    s = te.create_schedule(C.op)
    shared = s.cache_read(A, "shared", [C])
    x, y = C.op.axis
    bind(s[C], blockIdx_x=x, threadIdx_x=y)
    s[shared].compute_at(s[C], y)
    s[shared].bind(s[shared].split(s[shared].op.axis[1], nparts=4)[0], te.thread_axis("threadIdx.x"))
    with pytest.raises(tvm.TVMError, match=r"threadIdx\.x is bound already, with another extent"):
        s.tensor_ir([A, B, C])
