"""The course's chapter "End to End Model Execution": its code in its order, with its assertions.

The image and the weights are those that mlcref ships. ``IPython.display.Code(…)`` is replaced by the script that it
shows, plots are left out, and the runtime functions that the chapter writes with torch are written with numpy, and once
more with torch where it is installed.
"""
# ruff: noqa: F841, RET504

from collections.abc import Callable

import numpy as np
import pytest

import mlcref as tvm
from mlcref import relax
from mlcref.demo.dataset import load_images, load_weights
from mlcref.script import relax as R
from mlcref.script import tir as T
from tests.course.marks import blocks_of

chapter = blocks_of("end_to_end")

# ---- Preparations: the data set, the parameters

test_data = load_images(shipped=True)
class_names = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
               "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]  # fmt: skip
img, label = test_data.images[:1].reshape(1, 28, 28), test_data.labels[:1]
mlp_params = load_weights()

# ---- End to End Model Integration


def numpy_mlp(data, w0, b0, w1, b1):
    lv0 = data @ w0.T + b0
    lv1 = np.maximum(lv0, 0)
    lv2 = lv1 @ w1.T + b1
    return lv2


res = numpy_mlp(img.reshape(1, 784),
                mlp_params["w0"],
                mlp_params["b0"],
                mlp_params["w1"],
                mlp_params["b1"])  # fmt: skip


@chapter(1, 2, (4, 6))
def test_numpy_mlp():
    pred_kind = res.argmax(axis=1)
    assert pred_kind[0] == label[0]
    assert class_names[pred_kind[0]] == "Ankle boot"


def lnumpy_linear0(X: np.ndarray, W: np.ndarray, B: np.ndarray, Z: np.ndarray):
    Y = np.empty((1, 128), dtype="float32")
    for i in range(1):
        for j in range(128):
            for k in range(784):
                if k == 0:
                    Y[i, j] = 0
                Y[i, j] = Y[i, j] + X[i, k] * W[j, k]

    for i in range(1):
        for j in range(128):
            Z[i, j] = Y[i, j] + B[j]


def lnumpy_relu0(X: np.ndarray, Y: np.ndarray):
    for i in range(1):
        for j in range(128):
            Y[i, j] = np.maximum(X[i, j], 0)


def lnumpy_linear1(X: np.ndarray, W: np.ndarray, B: np.ndarray, Z: np.ndarray):
    Y = np.empty((1, 10), dtype="float32")
    for i in range(1):
        for j in range(10):
            for k in range(128):
                if k == 0:
                    Y[i, j] = 0
                Y[i, j] = Y[i, j] + X[i, k] * W[j, k]

    for i in range(1):
        for j in range(10):
            Z[i, j] = Y[i, j] + B[j]


def lnumpy_mlp(data, w0, b0, w1, b1):
    lv0 = np.empty((1, 128), dtype="float32")
    lnumpy_linear0(data, w0, b0, lv0)

    lv1 = np.empty((1, 128), dtype="float32")
    lnumpy_relu0(lv0, lv1)

    out = np.empty((1, 10), dtype="float32")
    lnumpy_linear1(lv1, w1, b1, out)
    return out


@chapter(7, 12)
def test_low_level_numpy_mlp():
    result = lnumpy_mlp(
        img.reshape(1, 784),
        mlp_params["w0"],
        mlp_params["b0"],
        mlp_params["w1"],
        mlp_params["b1"])  # fmt: skip
    np.testing.assert_allclose(result, res, rtol=1e-4)


# ---- Constructing an End to End IRModule in TVMScript


@tvm.script.ir_module
class MyModule:
    @T.prim_func
    def relu0(x: T.handle, y: T.handle):
        n = T.int64()
        X = T.match_buffer(x, (1, n), "float32")
        Y = T.match_buffer(y, (1, n), "float32")
        for i, j in T.grid(1, n):
            with T.block("Y"):
                vi, vj = T.axis.remap("SS", [i, j])
                Y[vi, vj] = T.max(X[vi, vj], T.float32(0))

    @T.prim_func
    def linear0(x: T.handle,
                w: T.handle,
                b: T.handle,
                z: T.handle):
        m, n, k = T.int64(), T.int64(), T.int64()
        X = T.match_buffer(x, (1, m), "float32")
        W = T.match_buffer(w, (n, m), "float32")
        B = T.match_buffer(b, (n, ), "float32")
        Z = T.match_buffer(z, (1, n), "float32")
        Y = T.alloc_buffer((1, n), "float32")
        for i, j, k in T.grid(1, n, m):
            with T.block("Y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    Y[vi, vj] = T.float32(0)
                Y[vi, vj] = Y[vi, vj] + X[vi, vk] * W[vj, vk]
        for i, j in T.grid(1, n):
            with T.block("Z"):
                vi, vj = T.axis.remap("SS", [i, j])
                Z[vi, vj] = Y[vi, vj] + B[vj]

    @R.function
    def main(x: R.Tensor((1, "m"), "float32"),
             w0: R.Tensor(("n", "m"), "float32"),
             b0: R.Tensor(("n", ), "float32"),
             w1: R.Tensor(("k", "n"), "float32"),
             b1: R.Tensor(("k", ), "float32")):
        m, n, k = T.int64(), T.int64(), T.int64()
        with R.dataflow():
            lv0 = R.call_dps_packed("linear0", (x, w0, b0), R.Tensor((1, n), "float32"))
            lv1 = R.call_dps_packed("relu0", (lv0, ), R.Tensor((1, n), "float32"))
            out = R.call_dps_packed("linear0", (lv1, w1, b1), R.Tensor((1, k), "float32"))
            R.output(out)
        return out


def lnumpy_call_dps_packed(prim_func, inputs, shape, dtype):
    res = np.empty(shape, dtype=dtype)
    prim_func(*inputs, res)
    return res


def lnumpy_mlp_with_call_dps_packed(data, w0, b0, w1, b1):
    lv0 = lnumpy_call_dps_packed(lnumpy_linear0, (data, w0, b0), (1, 128), dtype="float32")
    lv1 = lnumpy_call_dps_packed(lnumpy_relu0, (lv0, ), (1, 128), dtype="float32")
    out = lnumpy_call_dps_packed(lnumpy_linear1, (lv1, w1, b1), (1, 10), dtype="float32")
    return out


@chapter(10, 13)
def test_low_level_numpy_with_call_dps_packed():
    result = lnumpy_mlp_with_call_dps_packed(
        img.reshape(1, 784),
        mlp_params["w0"],
        mlp_params["b0"],
        mlp_params["w1"],
        mlp_params["b1"])  # fmt: skip
    np.testing.assert_allclose(result, res, rtol=1e-4)


# Dataflow Block: the same graph in two of them


@tvm.script.ir_module
class MyModuleWithTwoDataflowBlocks:
    @R.function
    def main(x: R.Tensor((1, "m"), "float32"),
             w0: R.Tensor(("n", "m"), "float32"),
             b0: R.Tensor(("n", ), "float32"),
             w1: R.Tensor(("k", "n"), "float32"),
             b1: R.Tensor(("k", ), "float32")):
        m, n, k = T.int64(), T.int64(), T.int64()

        with R.dataflow():
            lv0 = R.call_dps_packed("env.linear", (x, w0, b0), R.Tensor((1, n), "float32"))
            gv0 = R.call_dps_packed("env.relu", (lv0, ), R.Tensor((1, n), "float32"))
            R.output(gv0)

        with R.dataflow():
            out = R.call_dps_packed("env.linear", (gv0, w1, b1), R.Tensor((1, k), "float32"))
            R.output(out)
        return out


# ---- Build and Run the Model

data_nd = tvm.runtime.tensor(img.reshape(1, 784))
nd_params = {k: tvm.runtime.tensor(v) for k, v in mlp_params.items()}


def run(module, *weights: str) -> np.ndarray:
    """What the chapter does with each of its modules."""
    target = tvm.target.Target("llvm", host="llvm")
    ex = tvm.compile(module, target)
    vm = relax.VirtualMachine(ex, tvm.cpu())
    nd_res = vm["main"](data_nd, *[nd_params[name] for name in weights])
    return nd_res.numpy()


@chapter(8, (16, 21))
def test_my_module():
    script = MyModule.script()
    assert "R.call_dps_packed" in script
    assert "T.match_buffer" in script or "T.Buffer" in script

    target = tvm.target.Target("llvm", host="llvm")
    ex = tvm.compile(MyModule, target)
    vm = relax.VirtualMachine(ex, tvm.cpu())
    nd_res = vm["main"](data_nd,
                        nd_params["w0"],
                        nd_params["b0"],
                        nd_params["w1"],
                        nd_params["b1"])  # fmt: skip
    print(nd_res)
    pred_kind = np.argmax(nd_res.numpy(), axis=1)
    assert pred_kind[0] == label[0]
    np.testing.assert_allclose(nd_res.numpy(), res, rtol=1e-4, atol=1e-5)


# ---- Integrate Existing Libraries in the Environment


@tvm.script.ir_module
class MyModuleWithExternCall:
    @R.function
    def main(x: R.Tensor((1, "m"), "float32"),
             w0: R.Tensor(("n", "m"), "float32"),
             b0: R.Tensor(("n", ), "float32"),
             w1: R.Tensor(("k", "n"), "float32"),
             b1: R.Tensor(("k", ), "float32")):
        # block 0
        m, n, k = T.int64(), T.int64(), T.int64()
        with R.dataflow():
            lv0 = R.call_dps_packed("env.linear", (x, w0, b0), R.Tensor((1, n), "float32"))
            lv1 = R.call_dps_packed("env.relu", (lv0, ), R.Tensor((1, n), "float32"))
            out = R.call_dps_packed("env.linear", (lv1, w1, b1), R.Tensor((1, k), "float32"))
            R.output(out)
        return out


calls: list[str] = []


def register_numpy_functions() -> None:
    @tvm.register_global_func("env.linear", override=True)
    def numpy_linear(x: tvm.runtime.Tensor,
                     w: tvm.runtime.Tensor,
                     b: tvm.runtime.Tensor,
                     out: tvm.runtime.Tensor):
        calls.append("env.linear")
        x_np = np.from_dlpack(x)
        w_np = np.from_dlpack(w)
        b_np = np.from_dlpack(b)
        out_np = np.from_dlpack(out)
        np.matmul(x_np, w_np.T, out=out_np)
        np.add(out_np, b_np, out=out_np)

    @tvm.register_global_func("env.relu", override=True)
    def numpy_relu(x: tvm.runtime.Tensor,
                   out: tvm.runtime.Tensor):
        calls.append("env.relu")
        np.maximum(np.from_dlpack(x), np.float32(0), out=np.from_dlpack(out))


def register_torch_functions() -> None:
    torch = pytest.importorskip("torch", reason="the chapter's library; numpy's functions stand in for it")

    @tvm.register_global_func("env.linear", override=True)
    def torch_linear(x: tvm.runtime.Tensor,
                     w: tvm.runtime.Tensor,
                     b: tvm.runtime.Tensor,
                     out: tvm.runtime.Tensor):
        calls.append("env.linear")
        x_torch = torch.from_dlpack(x)
        w_torch = torch.from_dlpack(w)
        b_torch = torch.from_dlpack(b)
        out_torch = torch.from_dlpack(out)
        torch.mm(x_torch, w_torch.T, out=out_torch)
        torch.add(out_torch, b_torch, out=out_torch)

    @tvm.register_global_func("env.relu", override=True)
    def lnumpy_relu(x: tvm.runtime.Tensor,
                    out: tvm.runtime.Tensor):
        calls.append("env.relu")
        x_torch = torch.from_dlpack(x)
        out_torch = torch.from_dlpack(out)
        torch.maximum(x_torch, torch.Tensor([0.0]), out=out_torch)


@pytest.fixture(params=[register_numpy_functions, register_torch_functions], ids=["numpy", "torch"])
def library(request: pytest.FixtureRequest):
    """The runtime functions registered, and forgotten afterwards."""
    register: Callable[[], None] = request.param
    register()
    calls.clear()
    yield
    for name in ("env.linear", "env.relu"):
        tvm.ir.remove_global_func(name)


@chapter(15, 22, 24, 25)
@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("module", [MyModuleWithExternCall, MyModuleWithTwoDataflowBlocks])
def test_my_module_with_extern_call(module):
    result = run(module, "w0", "b0", "w1", "b1")
    assert calls == ["env.linear", "env.relu", "env.linear"]
    assert np.argmax(result, axis=1)[0] == label[0]
    np.testing.assert_allclose(result, res, rtol=1e-4, atol=1e-5)


# ---- Mixing TensorIR Code and Libraries


@tvm.script.ir_module
class MyModuleMixture:
    @T.prim_func
    def linear0(x: T.handle,
                w: T.handle,
                b: T.handle,
                z: T.handle):
        m, n, k = T.int64(), T.int64(), T.int64()
        X = T.match_buffer(x, (1, m), "float32")
        W = T.match_buffer(w, (n, m), "float32")
        B = T.match_buffer(b, (n, ), "float32")
        Z = T.match_buffer(z, (1, n), "float32")
        Y = T.alloc_buffer((1, n), "float32")
        for i, j, k in T.grid(1, n, m):
            with T.block("Y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    Y[vi, vj] = T.float32(0)
                Y[vi, vj] = Y[vi, vj] + X[vi, vk] * W[vj, vk]
        for i, j in T.grid(1, n):
            with T.block("Z"):
                vi, vj = T.axis.remap("SS", [i, j])
                Z[vi, vj] = Y[vi, vj] + B[vj]

    @R.function
    def main(x: R.Tensor((1, "m"), "float32"),
             w0: R.Tensor(("n", "m"), "float32"),
             b0: R.Tensor(("n", ), "float32"),
             w1: R.Tensor(("k", "n"), "float32"),
             b1: R.Tensor(("k", ), "float32")):
        m, n, k = T.int64(), T.int64(), T.int64()
        with R.dataflow():
            lv0 = R.call_dps_packed("linear0", (x, w0, b0), R.Tensor((1, n), "float32"))
            lv1 = R.call_dps_packed("env.relu", (lv0, ), R.Tensor((1, n), "float32"))
            out = R.call_dps_packed("env.linear", (lv1, w1, b1), R.Tensor((1, k), "float32"))
            R.output(out)
        return out


@chapter(26, 27)
@pytest.mark.usefixtures("library")
def test_my_module_mixture():
    result = run(MyModuleMixture, "w0", "b0", "w1", "b1")
    assert calls == ["env.relu", "env.linear"]
    assert np.argmax(result, axis=1)[0] == label[0]
    np.testing.assert_allclose(result, res, rtol=1e-4, atol=1e-5)


# ---- Bind Parameters to IRModule


@chapter(28, 29)
@pytest.mark.usefixtures("library")
def test_bind_parameters():
    MyModuleWithParams = relax.transform.BindParams("main", nd_params)(MyModuleMixture)
    assert [p.name_hint for p in MyModuleWithParams["main"].params] == ["x"]
    assert len(MyModuleMixture["main"].params) == 5
    assert "metadata" in MyModuleWithParams.script() or "R.const" in MyModuleWithParams.script()

    result = run(MyModuleWithParams)
    assert np.argmax(result, axis=1)[0] == label[0]
    np.testing.assert_allclose(result, res, rtol=1e-4, atol=1e-5)


def test_a_name_that_nobody_registered():
    with pytest.raises(tvm.errors.MlcrefError, match=r"env\.linear"):
        run(MyModuleWithExternCall, "w0", "b0", "w1", "b1")
