"""The course's chapter "Automatic Program Optimization": its code in its order, without what calls ``tune_tir``.

``IPython.display.HTML(…)`` is replaced by the script that it shows; the image and the weights are those that mlcref
ships; the runtime functions that the chapter writes with torch are written with numpy.
"""
# ruff: noqa: UP031

import numpy as np
import pytest

import mlcref as tvm
from mlcref import relax
from mlcref.demo.dataset import load_images, load_weights
from mlcref.script import relax as R
from mlcref.script import tir as T
from tests.course.marks import blocks_of

chapter = blocks_of("auto_program_optimization")

# ---- Recap: Transform a Primitive Tensor Function


@tvm.script.ir_module
class MyModule:
    @T.prim_func
    def main(
        A: T.Buffer((128, 128), "float32"),
        B: T.Buffer((128, 128), "float32"),
        C: T.Buffer((128, 128), "float32"),
    ):
        T.func_attr({"global_symbol": "main", "tir.noalias": True})
        for i, j, k in T.grid(128, 128, 128):
            with T.block("C"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    C[vi, vj] = 0.0
                C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


dtype = "float32"
a_np = np.random.rand(128, 128).astype(dtype)
b_np = np.random.rand(128, 128).astype(dtype)
c_mm = a_np @ b_np

a_nd = tvm.runtime.tensor(a_np)
b_nd = tvm.runtime.tensor(b_np)


def fresh_output() -> tvm.runtime.Tensor:
    return tvm.runtime.tensor(np.full((128, 128), np.nan, dtype="float32"))


@chapter(1, (3, 5))
def test_build_and_run():
    c_nd = fresh_output()
    lib = tvm.compile(MyModule, target="llvm")
    f_timer_before = lib.mod.time_evaluator("main", tvm.cpu())
    print("Time cost of MyModule: %.3f ms" % (f_timer_before(a_nd, b_nd, c_nd).mean * 1000))
    np.testing.assert_allclose(c_nd.numpy(), c_mm, rtol=1e-5)


def schedule_mm(sch: tvm.tir.Schedule, jfactor=4):
    block_C = sch.get_block("C", "main")
    i, j, k = sch.get_loops(block=block_C)
    j_0, j_1 = sch.split(loop=j, factors=[None, jfactor])
    sch.reorder(i, j_0, k, j_1)
    sch.decompose_reduction(block_C, k)
    return sch


@chapter((6, 8))
def test_reorganised_program():
    sch = tvm.tir.Schedule(MyModule)
    sch = schedule_mm(sch)
    assert 'T.block("C_init")' in sch.mod.script()
    assert "for k, j_1 in T.grid(128, 4):" in sch.mod.script()

    c_nd = fresh_output()
    lib = tvm.compile(sch.mod, target="llvm")
    f_timer_after = lib.mod.time_evaluator("main", tvm.cpu())
    print("Time cost of MyModule=>schedule_mm: %.3f ms" % (f_timer_after(a_nd, b_nd, c_nd).mean * 1000))
    np.testing.assert_allclose(c_nd.numpy(), c_mm, rtol=1e-5)


# Transformation Trace


def instructions(sch: tvm.tir.Schedule) -> list[str]:
    """The lines of the printed trace that are calls of the schedule."""
    return [line.strip() for line in str(sch.trace).splitlines() if "sch." in line]


@chapter(9, 10)
def test_trace():
    sch = schedule_mm(tvm.tir.Schedule(MyModule))
    lines = instructions(sch)
    expected = ["get_block", "get_loops", "split", "reorder", "decompose_reduction"]
    assert len(lines) == len(expected)
    assert all(f"sch.{name}(" in line for name, line in zip(expected, lines, strict=True))
    assert "factors=[None, 4]" in lines[2]

    again = tvm.tir.Schedule(MyModule)
    sch.trace.apply_to_schedule(again, remove_postproc=False)
    tvm.ir.assert_structural_equal(again.mod, sch.mod)


# ---- Stochastic Schedule Transformation


def stochastic_schedule_mm(sch: tvm.tir.Schedule):
    block_C = sch.get_block("C", "main")
    i, j, k = sch.get_loops(block=block_C)
    j_factors = sch.sample_perfect_tile(loop=j, n=2)
    j_0, j_1 = sch.split(loop=j, factors=j_factors)
    sch.reorder(i, j_0, k, j_1)
    sch.decompose_reduction(block_C, k)
    return sch


@chapter((11, 13))
def test_stochastic_transformation():
    scripts = set()
    for seed in range(12):
        sch = tvm.tir.Schedule(MyModule, seed=seed)
        sch = stochastic_schedule_mm(sch)
        scripts.add(sch.mod.script())
        (sampling,) = [line for line in instructions(sch) if "sample_perfect_tile" in line]
        assert "decision=[" in sampling
    assert len(scripts) > 1


@chapter(14)
def test_a_schedule_without_a_seed_samples_as_well():
    sch = tvm.tir.Schedule(MyModule)
    sch = stochastic_schedule_mm(sch)
    print(sch.trace)
    assert "decision=[" in str(sch.trace)


# Deep Dive into Stochastic Transformation


@chapter((15, 23))
def test_deep_dive():
    sch = tvm.tir.Schedule(MyModule)
    block_C = sch.get_block("C", "main")
    i, j, k = sch.get_loops(block=block_C)
    j_factors = sch.sample_perfect_tile(loop=j, n=2)

    assert type(j_factors[0]) is tvm.tir.ExprRV
    outer, inner = (int(sch.get(factor)) for factor in j_factors)
    assert outer * inner == 128
    assert inner <= 16

    print(sch.trace)
    assert f"decision=[{outer}, {inner}]" in str(sch.trace)
    tvm.ir.assert_structural_equal(sch.mod, MyModule)

    j_0, j_1 = sch.split(loop=j, factors=j_factors)
    sch.reorder(i, j_0, k, j_1)
    print(sch.trace)
    assert f"for i, j_0, k, j_1 in T.grid(128, {outer}, 128, {inner}):" in sch.mod.script()

    sch.reorder(i, j_0, k, j_1)
    sch.decompose_reduction(block_C, k)
    assert 'T.block("C_update")' in sch.mod.script()

    c_nd = fresh_output()
    tvm.compile(sch.mod, target="llvm")["main"](a_nd, b_nd, c_nd)
    np.testing.assert_allclose(c_nd.numpy(), c_mm, rtol=1e-5)


# ---- Search Over Stochastic Transformations


def random_search(mod: tvm.IRModule, num_trials=5):
    best_result = None
    best_sch = None
    c_nd = fresh_output()

    for i in range(num_trials):
        sch = stochastic_schedule_mm(tvm.tir.Schedule(mod))
        lib = tvm.compile(sch.mod, target="llvm")
        f_timer_after = lib.mod.time_evaluator("main", tvm.cpu())
        result = f_timer_after(a_nd, b_nd, c_nd).mean

        print("=====Attempt %d, time-cost: %.3f ms====" % (i, result * 1000))
        print(sch.trace)

        # book keep the best result so far
        if best_result is None or result < best_result:
            best_result = result
            best_sch = sch

    return best_sch


@chapter(24, 25)
def test_random_search():
    sch = random_search(MyModule)
    print(sch.trace)
    assert "sample_perfect_tile" in str(sch.trace)
    c_nd = fresh_output()
    tvm.compile(sch.mod, target="llvm")["main"](a_nd, b_nd, c_nd)
    np.testing.assert_allclose(c_nd.numpy(), c_mm, rtol=1e-5)


@chapter((27, 33))
def test_a_schedule_that_was_found(capsys):
    """The default space, by rules in the place of the chapter's search: a trace, a program, its time."""
    sch = tvm.autoschedule(MyModule, target="llvm --num-cores=1")
    sch.trace.show()
    assert "sch.vectorize(" in capsys.readouterr().out
    assert "T.vectorized(" in sch.mod.script()

    c_nd = fresh_output()
    lib = tvm.compile(sch.mod, target="llvm --num-cores=1")
    f_timer_after = lib.mod.time_evaluator("main", tvm.cpu())
    print("Time cost of MyModule after scheduling: %.3f ms" % (f_timer_after(a_nd, b_nd, c_nd).mean * 1000))
    np.testing.assert_allclose(c_nd.numpy(), c_mm, rtol=1e-5)


# ---- Putting Things Back to End to End Model Execution

img = load_images(shipped=True).images[:1]
label = load_images(shipped=True).labels[:1]
mlp_params = load_weights()

data_nd = tvm.runtime.tensor(img.reshape(1, 784))
nd_params = {k: tvm.runtime.tensor(v) for k, v in mlp_params.items()}


@tvm.script.ir_module
class MyModuleMixture:
    @T.prim_func
    def linear0(X: T.Buffer((1, 784), "float32"),
                W: T.Buffer((128, 784), "float32"),
                B: T.Buffer((128,), "float32"),
                Z: T.Buffer((1, 128), "float32")):
        T.func_attr({"global_symbol": "linear0", "tir.noalias": True})
        Y = T.alloc_buffer((1, 128), "float32")
        for i, j, k in T.grid(1, 128, 784):
            with T.block("Y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    Y[vi, vj] = T.float32(0)
                Y[vi, vj] = Y[vi, vj] + X[vi, vk] * W[vj, vk]

        for i, j in T.grid(1, 128):
            with T.block("Z"):
                vi, vj = T.axis.remap("SS", [i, j])
                Z[vi, vj] =  Y[vi, vj] + B[vj]

    @R.function
    def main(x: R.Tensor((1, 784), "float32"),
             w0: R.Tensor((128, 784), "float32"),
             b0: R.Tensor((128,), "float32"),
             w1: R.Tensor((10, 128), "float32"),
             b1: R.Tensor((10,), "float32")):
        with R.dataflow():
            lv0 = R.call_dps_packed("linear0", (x, w0, b0), R.Tensor((1, 128), dtype="float32"))
            lv1 = R.call_dps_packed("env.relu", (lv0,), R.Tensor((1, 128), dtype="float32"))
            out = R.call_dps_packed("env.linear", (lv1, w1, b1), R.Tensor((1, 10), dtype="float32"))
            R.output(out)
        return out


@pytest.fixture
def library():
    """The runtime functions registered, and forgotten afterwards."""

    @tvm.register_global_func("env.linear", override=True)
    def numpy_linear(x: tvm.runtime.Tensor,
                     w: tvm.runtime.Tensor,
                     b: tvm.runtime.Tensor,
                     out: tvm.runtime.Tensor):
        out_np = np.from_dlpack(out)
        np.matmul(np.from_dlpack(x), np.from_dlpack(w).T, out=out_np)
        np.add(out_np, np.from_dlpack(b), out=out_np)

    @tvm.register_global_func("env.relu", override=True)
    def numpy_relu(x: tvm.runtime.Tensor,
                   out: tvm.runtime.Tensor):
        np.maximum(np.from_dlpack(x), np.float32(0), out=np.from_dlpack(out))

    yield
    for name in ("env.linear", "env.relu"):
        tvm.ir.remove_global_func(name)


def run(module) -> np.ndarray:
    target = tvm.target.Target("llvm", host="llvm")
    ex = tvm.compile(module, target)
    vm = relax.VirtualMachine(ex, tvm.cpu())

    nd_res = vm["main"](data_nd)
    ftimer = vm.module.time_evaluator("main", tvm.cpu(), number=50)
    print("time-cost: %g ms" % (ftimer(data_nd).mean * 1000))
    return nd_res.numpy()


@chapter(34, (36, 43), (45, 47))
@pytest.mark.usefixtures("library")
def test_replacing_linear0_in_the_end_to_end_model():
    MyModuleWithParams = relax.transform.BindParams("main", nd_params)(MyModuleMixture)
    before = run(MyModuleWithParams)
    pred_kind = np.argmax(before, axis=1)
    assert pred_kind[0] == label[0]

    mod_linear = tvm.IRModule.from_expr(MyModuleMixture["linear0"].with_attr("global_symbol", "main"))
    assert "def main(" in mod_linear.script()

    sch = tvm.tir.Schedule(mod_linear)
    block_Y = sch.get_block("Y", "main")
    i, j, k = sch.get_loops(block=block_Y)
    j_factors = sch.sample_perfect_tile(loop=j, n=2)
    j_0, j_1 = sch.split(loop=j, factors=j_factors)
    sch.reorder(i, j_0, k, j_1)
    sch.decompose_reduction(block_Y, k)

    MyModuleWithParams2 = relax.transform.BindParams("main", nd_params)(MyModuleMixture)
    new_func = sch.mod["main"].with_attr("global_symbol", "linear0")
    gv = MyModuleWithParams2.get_global_var("linear0")
    MyModuleWithParams2.update_func(gv, new_func)
    assert 'T.block("Y_update")' in MyModuleWithParams2.script()
    assert 'T.block("Y_update")' not in MyModuleMixture.script()

    after = run(MyModuleWithParams2)
    pred_kind = np.argmax(after, axis=1)
    assert pred_kind[0] == label[0]
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
