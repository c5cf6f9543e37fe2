"""The pages of "Machine Learning Compilation" that have code, as of its commit 07950854: what each block does."""

from __future__ import annotations

from tests.course.chapters import chapter

COURSE = "Machine Learning Compilation"

MLC = (
    chapter(COURSE, "case_study", "TensorIR: Tensor Program Abstraction Case Study", """
1      packages                                                                               | shell
2-3    imports; two matrices, `np.maximum(a_np @ b_np, 0)`
4-5    the same as loops in numpy, compared
6      the program in TVMScript: `@tvm.script.ir_module`, `T.alloc_buffer`, `T.axis.reduce`, `T.init()`
7-12   its parts, beside numpy                                                                | prose
13     a program that is wrong: 127 iterations of 128
14-15  what `T.axis.remap` stands for                                                         | prose
16     the program with `T.axis.remap("SSR", [i, j, k])`
17     its attributes                                                                         | prose
18-19  `type(MyModule)`, `type(MyModule["mm_relu"])`
20     a module of two functions
21     loops in numpy with `j` in two
22     `MyModule.script()`
23-24  `tvm.tir.Schedule(MyModuleWithAxisRemapSugar)`, `sch.get_block("Y", func_name="mm_relu")`, its loops
25-26  `sch.split(j, factors=[None, 4])`, and the program after it
27     `sch.reorder(j0, k, j1)`
28     `sch.reverse_compute_at(block_C, j0)`
29     `sch.decompose_reduction(block_Y, k)`
30     the loops of the result in numpy
31-33  `tvm.compile(MyModule, target="llvm")`; arrays, `type(c_nd)`; the call, compared
34     the transformed program, compiled, compared
35     `rt_lib.mod.time_evaluator("mm_relu", tvm.cpu())` of both
36-37  both programs once more
38     the exercise: `transform(mod, jfactor)`
39     `te.placeholder`, `te.reduce_axis`, `te.compute`, `te.max(Y[i, j], 0)`
40     the expression of one element                                                          | prose
41     `te.create_prim_func([A, B, C]).with_attr({"global_symbol": "mm_relu"})`
"""),
    chapter(COURSE, "tensorir_exercises", "Exercises for TensorIR", """
1-5    addition of int64 matrices: numpy, loops, TensorIR, compiled, compared
6-8    exercise 1: `B: T.Buffer((4,), "int64")` added to each row
9      data and weights of a convolution
10     the reference by torch: `torch.nn.functional.conv2d(data_torch, weight_torch)`
11     exercise 2: the convolution in TensorIR
12     `sch.parallel(i0)`, `sch.unroll(i1)`, `sch.vectorize(j)`
13-14  a product per batch and ReLU: loops in numpy, exercise 3 in TensorIR
15-17  the module to reach, the transformations, `tvm.ir.assert_structural_equal(transformed().mod, TargetModule)`
18     both compiled, `before_timer(a_tvm, b_tvm, c_tvm)`
"""),
    chapter(COURSE, "auto_program_optimization", "Automatic Program Optimization", """
1      imports
2      a function that shows a program in colours                                             | shown
3-5    the matrix product, compiled, `f_timer_before(a_nd, b_nd, c_nd).mean`
6-8    `schedule_mm(sch: tvm.tir.Schedule, jfactor=4)`, its program, compiled and timed
9      `str(sch.trace)`
10     the schedule once more, as the trace says it
11-12  `sch.sample_perfect_tile(loop=j, n=2)` in a schedule
13-14  its trace has the decision, another one the second time
15-16  step by step: `type(j_factors[0]) is tvm.tir.ExprRV`
17-18  trace and program before the factors are used
19-21  `sch.split(loop=j, factors=j_factors)`, `sch.reorder(i, j_0, k, j_1)`, trace and program
22-23  reordered again and decomposed, the program
24-25  `random_search(mod: tvm.IRModule, num_trials=5)`, the best trace
26     search with the stochastic schedule as the space                                       | tune
27     `sch.trace.show()`                                                               | tune
28-29  the program that was found, compiled and timed                                   | tune
30     search in the default space                                                            | tune
31-33  the program that was found: compiled and timed, its trace, its text              | tune
34     an image of Fashion-MNIST                                                              | shipped
35     the image                                                                              | plot
36     the weights                                                                            | shipped
37     image and weights as tensors: `tvm.runtime.tensor(v)`
38     a module of a TensorIR function and calls of a library
39     `@tvm.register_global_func("env.linear", override=True)`
40     `relax.transform.BindParams("main", nd_params)(MyModuleMixture)`
41-42  compiled, run, timed: `vm.module.time_evaluator("main", tvm.cpu(), number=50)`
43     `tvm.IRModule.from_expr(MyModuleMixture["linear0"].with_attr("global_symbol", "main"))`
44     search for this function                                                               | tune
45     `MyModuleWithParams2.update_func(gv, new_func)`
46-47  the module with the new function, compiled, run and timed
"""),
    chapter(COURSE, "end_to_end", "End to End Model Execution", """
1      imports
2      images of Fashion-MNIST                                                                | shipped
3      an image                                                                               | plot
4      the weights                                                                            | shipped
5-6    the network in numpy, its prediction
7      the network as loops in numpy: `lnumpy_linear0`, `lnumpy_relu0`
8      functions of symbolic shape and one that calls them: `T.match_buffer(x, (1, m), "float32")`, `R.dataflow()`
9      one of the calls                                                                       | prose
10     `lnumpy_call_dps_packed(prim_func, inputs, shape, dtype)`
11     how a destination is passed                                                            | prose
12     the network as loops, once more
13     `lnumpy_mlp_with_call_dps_packed(data, w0, b0, w1, b1)`
14     a dataflow block                                                                       | prose
15     two dataflow blocks in a function
16     `MyModule.script()`
17-18  `tvm.compile(MyModule, target)`, `relax.VirtualMachine(ex, tvm.cpu())`
19-21  tensors, the call, the prediction
22     calls of a library: `R.call_dps_packed("env.linear", (x, w0, b0), R.Tensor((1, n), "float32"))`
23     one of the calls                                                                       | prose
24     `torch.from_dlpack(x)` in the functions of the library
25     compiled, run, the prediction
26-27  TensorIR and library in one module, compiled, run
28-29  `relax.transform.BindParams("main", nd_params)(MyModuleMixture)`, compiled, run
"""),
    chapter(COURSE, "e2e_assignment", "Assignment 1: End-to-End Model Execution", """
1      packages                                                                               | shell
2-3    imports; the model in torch, images
4-5    trained weights, and that they classify 83 % of the images                             | shipped
6-7    `emit_te_example()`: ReLU of a matrix by `bb.emit_te(relu, x)`
8      `create_model_via_emit_te()`, compared with the model
9-10   a library: `tvm.register_global_func("env.conv2d", conv2d_of_the_library, override=True)`, the model with it
11     `sch.compute_inline(sch.get_block("B"))`
12     `sch.fuse(*sch.get_loops("B"))`
13-14  the convolution to reach: four loops fused and in parallel, vectors of 4
15     the model with it, compared
"""),
    chapter(COURSE, "gpu_1", "GPU and Hardware Acceleration, part 1", """
1      packages                                                                               | shell
2-4    addition of vectors, `sch.split(i, [None, nthread])`
5      `sch.bind(i0, "blockIdx.x")`, `sch.bind(i1, "threadIdx.x")`
6      compiled for CUDA, run                                                                 | cuda
7-8    sums of three neighbours, bound to threads
9      `sch.cache_read(block, read_buffer_index=0, storage_scope="shared")`, `sch.compute_at(shared, i1)`
10     the fetch split and bound to the same threads
11     the code in CUDA                                                                       | cuda
12     the code in Metal                                                                      | metal
13-14  the matrix product in tiles: `sch.cache_write(block, 0, "local")`, `sch.decompose_reduction(block, k0)`
15     compiled for CUDA and timed                                                            | cuda
16     stretches in shared memory, fetched together in vectors: `sch.fuse(*sch.get_loops(block=cache)[-2:])`
17     compiled for CUDA and timed                                                            | cuda
18     search for a Tesla P100                                                                | tune
19     what was found, compiled and timed                                                     | cuda
"""),
    chapter(COURSE, "gpu_2", "GPU and Hardware Acceleration, part 2", """
1      imports
2-4    an accelerator in numpy: fill, copy into registers, multiply and add tiles
5-6    `with T.block("tmm-16x16"):` around blocks, shown
7      what it reads and writes                                                               | prose
8      the module, compiled and compared
9      `sch.split(i, [None, 4])`, `sch.reorder(i0, j, i1, k)` around the block
10-11  the plain product, split and reordered: `sch.get_loops("matmul")`
12     `sch.blockize(ii)`
13     `storage_scope="global.A_reg"`, `sch.reverse_compute_at(write_back, j)`
14     `tvm.tir.TensorIntrin.register("tmm16", tmm16_desc, tmm16_impl, override=True)`
15     `sch.decompose_reduction(block_mm, k)`
16-17  `sch.tensorize(block_mm, "tmm16")`, the program
18     the kernel in C++, `clang.create_llvm(KERNEL, output=folder.relpath("temp.ll"))`, `"pragma_import_llvm"`
19     compiled, run, compared
"""),
    chapter(COURSE, "graph_optimization", "Computational Graph Optimization", """
1-2    imports; a graph of a product and a sum
3-8    its parts: `relax_func.params`, `relax_func.body`, `func_body.blocks[0]`
9      the operators                                                                          | prose
10-13  `dataflow_block.bindings[0]`, `binding.var`, `binding.value`
14     `class EwiseFMARewriter(relax.PyExprMutator)`
15     `relax.analysis.remove_all_unused(updated_fn)`
16     the weights                                                                            | shipped
17-18  the network by `relax.BlockBuilder()`
19     `class MatmulAddFusor(relax.PyExprMutator)`, a `@tvm.ir.transform.module_pass`
20     `class LowerToTensorIR(relax.PyExprMutator)`, `bb.call_te(topi.nn.matmul, x, w)`
21     `relax.transform.FuseTIR()(MLPModelTIR)`
22     an image                                                                               | shipped
23     the image                                                                              | plot
24     the fused model, compiled and run
"""),
    chapter(COURSE, "integration", "Integration with Machine Learning Frameworks", """
1      imports
2      torch, and its tracer
3-6    `te.placeholder((128, 128), name="A", dtype="float32")`, its type and shape
7-9    `te_matmul(A: te.Tensor, B: te.Tensor)`, `te.create_prim_func([A, B, C]).show()`
10-12  `te.compute(A.shape, lambda *i: te.max(A(*i), 0), name="relu")` in one and in two dimensions
13-15  the product inside the function, and as one of its parameters
16-17  `bb.emit_te(te_matmul, A, B)`, `bb.emit_func_output(R, params=[A, B])`
18     what happens in each line                                                              | prose
19-20  `type(C)`, `isinstance(C, relax.Var)`
21-23  what the calls stand for                                                               | prose
24-25  parameters in the end, or in the beginning: `bb.function("main", params=[A, B])`
26-27  a model of torch, `fx.symbolic_trace(model)`
28     its nodes in a table: `fx_module.graph`                                                | shown
29-30  `from_fx(fx_mod, input_shapes, call_function_map, call_module_map)`, and maps for a product and ReLU
31     images                                                                                 | shipped
32     an image                                                                               | plot
33     the weights                                                                            | shipped
34-36  the network in torch, with the weights; its prediction
37     `bb.emit_te(topi.nn.dense, x, w)` for its layers
38     compiled, run, the same prediction
39     operators instead: `relax.op.linear(x, w, b)`, `relax.op.nn.relu(A)`
"""),
)
