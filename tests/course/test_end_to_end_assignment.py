"""The course's exercise "End to End Model Execution": a convolutional network, built, linked to a library, scheduled.

The weights are drawn (the course downloads some), so that the reference is the network in numpy, and in torch where it
is installed. The cells that the exercise leaves open are filled.
"""

import numpy as np
import pytest

import mlcref as tvm
from mlcref import relax, te, topi
from mlcref.demo.dataset import load_images
from mlcref.ir import assert_structural_equal
from mlcref.script import relax as R
from mlcref.script import tir as T
from mlcref.script.print_graph import metadata_of
from tests.course.marks import blocks_of

assignment = blocks_of("e2e_assignment")

# ---- Section 1: Model preparation

batch_size = 4
input_shape = (batch_size, 1, 28, 28)  # NCHW layout
rng = np.random.default_rng(0)
weight_map = {
    "conv2d_weight": rng.standard_normal((32, 1, 3, 3), "float32") * 0.3,
    "conv2d_bias": rng.standard_normal(32, "float32") * 0.1,
    "linear0_weight": rng.standard_normal((100, 5408), "float32") * 0.01,
    "linear0_bias": rng.standard_normal(100, "float32") * 0.1,
    "linear1_weight": rng.standard_normal((10, 100), "float32") * 0.1,
    "linear1_bias": rng.standard_normal(10, "float32") * 0.1,
}
images = load_images(shipped=True).images[: 2 * batch_size].reshape(2, *input_shape)


def numpy_model(x):
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0], (3, 3), (1, 2)).astype("float64")
    bias = weight_map["conv2d_bias"].reshape(1, 32, 1, 1)
    conv = np.einsum("nyxhw,ohw->noyx", windows, weight_map["conv2d_weight"][:, 0]) + bias
    pooled = np.maximum(conv, 0).reshape(batch_size, 32, 13, 2, 13, 2).max((3, 5))
    hidden = pooled.reshape(batch_size, -1) @ weight_map["linear0_weight"].T + weight_map["linear0_bias"]
    out = np.maximum(hidden, 0) @ weight_map["linear1_weight"].T + weight_map["linear1_bias"]
    e = np.exp(out - out.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def torch_model(x):
    torch = pytest.importorskip("torch", reason="the exercise compares with torch; numpy stands in for it")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(in_channels=1, out_channels=32, kernel_size=(3, 3), bias=True),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(kernel_size=(2, 2)),
        torch.nn.Flatten(),
        torch.nn.Linear(in_features=5408, out_features=100, bias=True),
        torch.nn.ReLU(),
        torch.nn.Linear(in_features=100, out_features=10, bias=True),
        torch.nn.Softmax(dim=1),
    )
    for number, name in ((0, "conv2d"), (4, "linear0"), (6, "linear1")):
        model[number].weight = torch.nn.Parameter(torch.from_numpy(weight_map[f"{name}_weight"]))
        model[number].bias = torch.nn.Parameter(torch.from_numpy(weight_map[f"{name}_bias"]))
    with torch.no_grad():
        return model(torch.from_numpy(x.copy())).numpy()


MODELS = pytest.mark.parametrize("model", [numpy_model, torch_model])

# ---- Section 2: Ingest model from tensor expressions


def relu(A):
    return te.compute(shape=(128, 128), fcompute=lambda i, j: te.max(A[i, j], 0), name="B")


def emit_te_example():
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorStructInfo((128, 128), "float32"))
    with bb.function("main", [x]):
        with bb.dataflow():
            lv0 = bb.emit_te(relu, x)
            gv = bb.emit_output(lv0)
        bb.emit_func_output(gv)
    return bb.get()


@assignment(6, 7)
def test_emit_te():
    mod = emit_te_example()
    assert list(mod) == ["relu", "main"]
    assert "T.max(" in mod.script()
    x = rng.standard_normal((128, 128), "float32")
    np.testing.assert_array_equal(tvm.interpret_graph(mod, x), np.maximum(x, 0))


def create_model_via_emit_te():
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorStructInfo(input_shape, "float32"))

    conv2d_weight = relax.const(weight_map["conv2d_weight"], "float32")
    conv2d_bias = relax.const(weight_map["conv2d_bias"].reshape(1, 32, 1, 1), "float32")
    linear0_weight = relax.const(weight_map["linear0_weight"], "float32")
    linear0_bias = relax.const(weight_map["linear0_bias"].reshape(1, 100), "float32")
    linear1_weight = relax.const(weight_map["linear1_weight"], "float32")
    linear1_bias = relax.const(weight_map["linear1_bias"].reshape(1, 10), "float32")

    with bb.function("main", [x]):
        with bb.dataflow():
            gv0 = bb.emit_te(topi.nn.conv2d, x, conv2d_weight, 1, 0, 1)
            gv1 = bb.emit_te(topi.add, gv0, conv2d_bias)
            gv2 = bb.emit_te(topi.nn.relu, gv1)
            gv3 = bb.emit_te(topi.nn.pool2d, gv2, [2, 2], [2, 2], [1, 1], [0, 0, 0, 0], "max")
            gv4 = bb.emit_te(topi.nn.flatten, gv3)
            gv5 = bb.emit_te(topi.nn.dense, gv4, linear0_weight)
            gv6 = bb.emit_te(topi.add, gv5, linear0_bias)
            gv7 = bb.emit_te(topi.nn.relu, gv6)
            gv8 = bb.emit_te(topi.nn.dense, gv7, linear1_weight)
            gv9 = bb.emit_te(topi.add, gv8, linear1_bias)
            gv10 = bb.emit_te(topi.nn.softmax, gv9)
            gv = bb.emit_output(gv10)
        bb.emit_func_output(gv)

    return bb.get()


def build_mod(mod):
    ex = tvm.compile(mod, target="llvm")
    return relax.VirtualMachine(ex, tvm.cpu())


def check_equivalence(mod, model):
    rt_mod = build_mod(mod)
    for data in images:
        output_from_relax = rt_mod["main"](tvm.runtime.tensor(data)).numpy()
        np.testing.assert_allclose(model(data), output_from_relax, rtol=1e-4)


@assignment(2, 3, 5, 8)
@MODELS
def test_the_model_from_tensor_expressions(model):
    mod = create_model_via_emit_te()
    relax.wellformed_graph(mod)
    check_equivalence(mod, model)


# ---- Section 3: Conv2d by a library


def conv2d_of_the_library(data, weight, bias, out):
    x, w = np.from_dlpack(data), np.from_dlpack(weight)
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0], (3, 3), (1, 2))
    np.from_dlpack(out)[...] = np.einsum("nyxhw,ohw->noyx", windows, w[:, 0]) + np.from_dlpack(bias)


def create_model_with_a_library():
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorStructInfo(input_shape, "float32"))
    conv2d_weight = relax.const(weight_map["conv2d_weight"], "float32")
    conv2d_bias = relax.const(weight_map["conv2d_bias"].reshape(1, 32, 1, 1), "float32")
    linear0_weight = relax.const(weight_map["linear0_weight"], "float32")
    linear0_bias = relax.const(weight_map["linear0_bias"], "float32")
    linear1_weight = relax.const(weight_map["linear1_weight"], "float32")
    linear1_bias = relax.const(weight_map["linear1_bias"], "float32")

    with bb.function("main", [x]):
        with bb.dataflow():
            gv0 = bb.emit(relax.op.call_dps_packed("env.conv2d", (x, conv2d_weight, conv2d_bias),
                                                   out_sinfo=R.Tensor((4, 32, 26, 26), dtype="float32")))  # fmt: skip
            gv1 = bb.emit(relax.op.nn.max_pool2d(relax.op.nn.relu(gv0), pool_size=(2, 2), strides=(2, 2)))
            gv2 = bb.emit(relax.op.reshape(gv1, (batch_size, 5408)))
            gv3 = bb.emit(relax.op.nn.relu(relax.op.linear(gv2, linear0_weight, linear0_bias)))
            gv = bb.emit_output(relax.op.nn.softmax(relax.op.linear(gv3, linear1_weight, linear1_bias)))
        bb.emit_func_output(gv)

    return bb.get()


@assignment(9, 10)
@MODELS
def test_the_model_with_a_convolution_of_a_library(model):
    tvm.register_global_func("env.conv2d", conv2d_of_the_library, override=True)
    mod = create_model_with_a_library()
    relax.wellformed_graph(mod)
    again = tvm.script.from_source(mod.script(), env={"metadata": metadata_of(mod)})
    assert_structural_equal(again, mod)
    check_equivalence(mod, model)
    check_equivalence(relax.get_pipeline("zero")(mod), model)


# ---- The same model from operators, fused and scheduled by the pipelines


def create_model_from_operators():
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorStructInfo(input_shape, "float32"))
    weights = {name: relax.const(value, "float32") for name, value in weight_map.items()}
    conv2d_bias = relax.const(weight_map["conv2d_bias"].reshape(1, 32, 1, 1), "float32")
    with bb.function("main", [x]):
        with bb.dataflow():
            lv0 = bb.emit(relax.op.add(relax.op.nn.conv2d(x, weights["conv2d_weight"]), conv2d_bias))
            lv1 = bb.emit(relax.op.nn.max_pool2d(relax.op.nn.relu(lv0), pool_size=(2, 2), strides=(2, 2)))
            lv2 = bb.emit(relax.op.reshape(lv1, (batch_size, -1)))
            lv3 = bb.emit(relax.op.nn.relu(relax.op.linear(lv2, weights["linear0_weight"], weights["linear0_bias"])))
            lv4 = bb.emit(relax.op.linear(lv3, weights["linear1_weight"], weights["linear1_bias"]))
            gv = bb.emit_output(relax.op.nn.softmax(lv4))
        bb.emit_func_output(gv)
    return bb.get()


@pytest.mark.parametrize("pipeline", ["zero", "autoschedule"])
def test_the_model_from_operators(pipeline):
    mod = relax.get_pipeline(pipeline)(create_model_from_operators())
    fused = ["fused_conv2d_add_relu", "fused_matmul_add1_relu1", "fused_matmul1_add2"]
    assert set(fused) <= set(mod.prim_funcs())
    assert len(mod.prim_funcs()) == 6  # and max_pool2d, reshape, softmax
    check_equivalence(mod, numpy_model)


# ---- Section 4: Transform TensorIR programs


@T.prim_func
def before_inline(a: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (128, 128))
    B = T.alloc_buffer((128, 128))
    C = T.match_buffer(c, (128, 128))
    for i, j in T.grid(128, 128):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * 2.0
    for i, j in T.grid(128, 128):
        with T.block("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            C[vi, vj] = B[vi, vj] + 1.0


@T.prim_func
def before_fuse(a: T.handle, b: T.handle) -> None:
    A = T.match_buffer(a, (128, 128))
    B = T.match_buffer(b, (128, 128))
    for i, j in T.grid(128, 128):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * 2.0


@assignment(11)
def test_inlining():
    sch = tvm.tir.Schedule(before_inline)
    sch.compute_inline(sch.get_block("B"))
    script = sch.mod["main"].script()
    assert "C[vi, vj] = A[vi, vj] * T.float32(2.0) + T.float32(1.0)" in script
    assert "alloc_buffer" not in script


@assignment(12)
def test_fusing():
    sch = tvm.tir.Schedule(before_fuse)
    sch.fuse(*sch.get_loops("B"))
    script = sch.mod["main"].script()
    assert "for i_j_fused in range(16384):" in script
    assert "T.axis.spatial(128, i_j_fused // 128)" in script


@T.prim_func
def target_func(X: T.Buffer((4, 1, 28, 28), "float32"),
                W: T.Buffer((32, 1, 3, 3), "float32"),
                Y: T.Buffer((4, 32, 26, 26), "float32")) -> None:
    T.func_attr({"global_symbol": "conv2d", "tir.noalias": True})
    for tile in T.parallel(2704):
        for a in T.unroll(8):
            for b in T.vectorized(4):
                with T.block("conv2d_nchw_init"):
                    nn = T.axis.spatial(4, tile // 1352 * 2 + a // 4)
                    ff = T.axis.spatial(32, tile % 1352 // 169 * 4 + a % 4)
                    yy = T.axis.spatial(26, tile % 169 // 13 * 2 + b // 2)
                    xx = T.axis.spatial(26, tile % 13 * 2 + b % 2)
                    T.reads()
                    T.writes(Y[nn, ff, yy, xx])
                    Y[nn, ff, yy, xx] = T.float32(0)
        for i4, i5, i6 in T.grid(1, 3, 3):
            for a in T.unroll(8):
                for b in T.vectorized(4):
                    with T.block("conv2d_nchw_update"):
                        nn = T.axis.spatial(4, tile // 1352 * 2 + a // 4)
                        ff = T.axis.spatial(32, tile % 1352 // 169 * 4 + a % 4)
                        yy = T.axis.spatial(26, tile % 169 // 13 * 2 + b // 2)
                        xx = T.axis.spatial(26, tile % 13 * 2 + b % 2)
                        rc, ry, rx = T.axis.remap("RRR", [i4, i5, i6])
                        T.reads(Y[nn, ff, yy, xx], X[nn, rc, yy + ry, xx + rx], W[ff, rc, ry, rx])
                        T.writes(Y[nn, ff, yy, xx])
                        Y[nn, ff, yy, xx] = Y[nn, ff, yy, xx] + X[nn, rc, yy + ry, xx + rx] * W[ff, rc, ry, rx]


def scheduled(mod):
    """The convolution in tiles of 2 images, 4 channels, 2 rows and 2 columns: the tiles as one parallel loop."""
    sch = tvm.tir.Schedule(mod)
    # Step 1. The padding, of no elements, goes into the convolution
    sch.compute_inline(sch.get_block(name="pad_temp", func_name="conv2d"))
    # Step 2. Tiles
    conv = sch.get_block(name="conv2d_nchw", func_name="conv2d")
    i0, i1, i2, i3, i4, i5, i6 = sch.get_loops(conv)
    tiles = [sch.split(loop, [None, size]) for loop, size in zip((i0, i1, i2, i3), (2, 4, 2, 2), strict=True)]
    outer, inner = [tile[0] for tile in tiles], [tile[1] for tile in tiles]
    sch.reorder(*outer, i4, i5, i6, *inner)
    # Step 3. Fuse, and say how the loops run
    sch.parallel(sch.fuse(*outer))
    sch.unroll(sch.fuse(*inner[:2]))
    sch.vectorize(sch.fuse(*inner[2:]))
    # Step 4. The init before the reduction, in loops of the same kinds
    sch.decompose_reduction(conv, i4)
    return sch


@assignment(13, 14)
def test_the_exercise_reaches_its_target():
    """The target counts in int32, as the function does that is made without a graph."""
    X, W = te.placeholder(input_shape, name="X"), te.placeholder((32, 1, 3, 3), name="W")
    conv2d = te.create_prim_func([X, W, topi.nn.conv2d(X, W, 1, 0, 1)]).with_attr("global_symbol", "conv2d")
    assert_structural_equal(scheduled(tvm.IRModule({"conv2d": conv2d})).mod["conv2d"], target_func)


@assignment(15)
@MODELS
def test_the_scheduled_model(model):
    check_equivalence(scheduled(create_model_via_emit_te()).mod, model)


def test_rows_that_tiles_do_not_divide():
    """All four loops fused first, and the result cut by 4: rows of 26 are no multiple of that. Fusing rows and columns
    apart from images and channels gives tiles of the same size that can be told apart.
    """
    sch = tvm.tir.Schedule(create_model_via_emit_te())
    conv = sch.get_block(name="conv2d_nchw", func_name="conv2d")
    i0, i1, i2, i3, i4, i5, i6 = sch.get_loops(conv)
    outer, inner = sch.fuse(i0, i1), sch.fuse(i2, i3)
    part, lanes = sch.split(inner, [None, 4])
    sch.reorder(outer, part, i4, i5, i6, lanes)
    init = sch.decompose_reduction(conv, i4)
    sch.parallel(outer)
    sch.vectorize(lanes)
    sch.vectorize(sch.get_loops(init)[-1])
    kinds = [str(sch.get(loop).kind) for loop in sch.get_loops(init)]
    assert kinds == ["parallel", "serial", "vectorized"]
    check_equivalence(sch.mod, numpy_model)
