"""Pages of "Dive into Deep Learning Compiler" as of its commit ad823dc4: what each block does."""

from __future__ import annotations

from tests.course.chapters import chapter

START = "Dive into Deep Learning Compiler: the page it begins with"
EXPRESSIONS = "Dive into Deep Learning Compiler: Expressions"
OPERATORS = "Dive into Deep Learning Compiler: Common Operators"
CPU = "Dive into Deep Learning Compiler: Operator Optimizations on CPUs"
GPU = "Dive into Deep Learning Compiler: Operator Optimizations on GPUs"

D2L = (
    chapter(START, "vector_add", "Vector Add", """
1-3    vectors in numpy, added by a loop
4-7    `te.compute(A.shape, lambda i: A[i] + B[i], name="c")`, types and shapes, `type(A.op)`
8-10   `te.create_schedule(C.op)`, `tvm.lower(s, [A, B, C], simple_mode=True)`
11     `tvm.build(s, args)`
12     `tvm.nd.array(np.ones(2))` and back
13-14  the call, compared
15-18  arguments of another length, or of another type, are refused
19-20  a module in a file                                                                     | export
21     the module that was read, called                                                       | export
"""),
    chapter(EXPRESSIONS, "data_types", "Data Types", """
1-3    addition of int32, called with arrays of this type
4      float16, float64, int8, int16, int64
5-6    `A[i].astype("int32")` in an expression
"""),
    chapter(EXPRESSIONS, "shapes", "Shapes", """
1-2    a length that the call decides: `te.var("n")`
3      several lengths; two that differ are refused
4-5    any number of dimensions: `lambda *i: A[i] + B(*i)`
"""),
    chapter(EXPRESSIONS, "index_shape", "Index and Shape Expressions", """
1-3    `lambda i, j: A[j, i]`, compared
4      `lambda i: A[i // m, i % m]`
5-6    `lambda i, j: A[(i * q + j) // m, (i * q + j) % m]`, compared
7-8    slices: `lambda i, j: A[i * si + bi, j * sj + bj]`, begin and steps among the arguments
"""),
    chapter(EXPRESSIONS, "reductions", "Reduction Operations", """
1-3    sums of rows in numpy, and as loops
4-5    `te.sum(A[i, j], axis=j)`, compared
6-7    `te.sum(A[i, j], axis=(i, j))`: a result without dimensions
8      products of rows as loops
9-11   `te.comm_reducer(lambda x, y: x * y, lambda dtype: te.const(1, dtype=dtype), name="product")`, compared
"""),
    chapter(EXPRESSIONS, "if_then_else", "Conditional Expression", """
1-4    `te.if_then_else(i >= j, A[i, j], 0.0)`, beside `np.tril(a)`
"""),
    chapter(EXPRESSIONS, "all_any", "Truth Value Testing", """
1-4    zeros around a matrix: `te.any(i < p, i >= n + p, j < p, j >= m + p)`, compared
"""),
    chapter(OPERATORS, "op_broadcast_add", "Broadcast Add", """
1-3    `broadcast_add(one, other)` of matrices one of whose dimensions is 1
4      both dimensions
"""),
    chapter(OPERATORS, "op_matmul", "Matrix Multiplication", """
1-3    the product, compared
"""),
    chapter(OPERATORS, "op_conv", "Convolution", """
1-3    `padding(X, 1, 2)`
4      `conv_out_size(64, 3, 1, 1)`
5-7    `conv(4, 3, 12, k, p, s)`, data, and the call
8-9    compared                                                                               | mxnet
"""),
    chapter(OPERATORS, "op_depthwise_conv", "Depthwise Convolution", """
1-4    `depthwise_conv(4, 12, k, p, s)`, data, and the call
5-7    compared                                                                               | mxnet
"""),
    chapter(OPERATORS, "op_pooling", "Pooling", """
1-4    `pool(kind, 4, 12, k, p, s)` by "max" and by "avg"
5-6    compared                                                                               | mxnet
"""),
    chapter(OPERATORS, "op_batch_norm", "Batch Normalization", """
1-4    arithmetic on tensors, `topi.sqrt`: `batch_norm(3, 8)`, data, and the call
5-6    compared                                                                               | mxnet
"""),
    chapter(CPU, "cpu_arch", "CPU Architecture", """
1      the processor                                                                          | shell
2-3    additions and exponentials by numpy                                                    | timing
4-6    clock, instructions, cores                                                             | shell
7-8    operations a second                                                                    | timing
9-11   memory                                                                                 | shell
"""),
    chapter(CPU, "cpu_call_overhead", "Function Call Overhead", """
1-3    the time of a call: `bench_workload(workload: Callable[[int], float])`
4      copies of vectors by numpy                                                             | timing
5-6    their times                                                                            | plot
7      copies of short vectors by numpy: the time of a call
8      copies by tensors: `x_nd.copyto(y_nd)`
9      copies by MXNet                                                                        | mxnet
"""),
    chapter(CPU, "cpu_vector_add", "Vector Add (CPU)", """
1-2    what plots                                                                             | plot
3      numpy's addition, timed                                                                | timing
4      `module.time_evaluator(module.entry_name, tvm.cpu(), number=1)`
5-6    no schedule; the program, `module.get_source()`
7      the time beside numpy's                                                                | timing
8      `s[args[2]].parallel(args[2].op.axis[0])`
9      the time beside the others'                                                            | timing
10     `s[args[2]].split(args[2].op.axis[0], factor=8)`, `s[args[2]].vectorize(inner)`
11     the time beside the others'                                                            | timing
"""),
    chapter(CPU, "cpu_broadcast_add", "Broadcast Add (CPU)", """
1-3    numpy's addition, timed                                                                | timing
4      rows by cores, columns by vectors
5      the time beside numpy's                                                                | timing
6      `s[args[2]].reorder(y, x)`: columns outside
7      the time beside the others'                                                            | timing
"""),
    chapter(CPU, "cpu_matmul", "Matrix Multiplication (CPU)", """
1-2    numpy's product, timed                                                                 | timing
3      no schedule
4-5    the time beside numpy's                                                                | timing
6      `s[args[2]].reorder(x, k, y)`
7      the time beside the others'                                                            | timing
8      `s[args[2]].parallel(x)`
9      the time beside the others'                                                            | timing
"""),
    chapter(CPU, "cpu_block_matmul", "Improve Cache Efficiency by Blocking", """
1-2    numpy's product, timed                                                                 | timing
3      `s[C].tile(*C.op.axis, tx, ty)`, `s[C].fuse(xo, yo)`, `s[total].unroll(ki)`
4      the time beside numpy's                                                                | timing
5      `s.cache_write(C, "local")`, `s[total].compute_at(s[C], xy)`
6      the time beside the others'                                                            | timing
"""),
    chapter(CPU, "cpu_conv", "Convolution (CPU)", """
1-5    MXNet's convolution, timed                                                             | timing
6      tiles in a cache: `sch.cache_write(Y, "local")`, `sch[Y].tile(h, w, th, tw)`
7      the time beside MXNet's                                                                | timing
"""),
    chapter(CPU, "cpu_packed_conv", "Packed Convolution", """
1-2    a packed array in numpy
3-4    `conv_pack(4, 6, 5, 3, 0, 2, 3)`, compared
5-6    the convolution of what is packed: `packed_conv(4, 2, 5, 3, 1, 2, 2)`
7      compared                                                                               | mxnet
8      `cached_packed_block(tensors, 2, 1)`: `s[CachedY].compute_at(s[PackedY], wo)`
9      the time beside the others'                                                            | timing
"""),
    chapter(CPU, "cpu_depthwise_conv", "Depthwise Convolution (CPU)", """
1-4    packed data and kernels, the convolution
5      compared                                                                               | mxnet
6      `s[PackedX].compute_at(s[PackedY], row)`
7      built and run
8-10   the time beside MXNet's                                                                | timing
"""),
    chapter(CPU, "cpu_pooling", "Pooling (CPU)", """
1-2    maxima without a schedule
3      `te.schedule.AutoInlineInjective(s)`, `s[Y].fuse(c, h)`
4-6    the time beside the others'                                                            | timing
7-8    means: `s[total].compute_at(s[Y], row)`
9-10   the time beside the others'                                                            | timing
"""),
    chapter(CPU, "cpu_batch_norm", "Batch Normalization (CPU)", """
1-2    no schedule
3      `te.schedule.AutoInlineInjective(s)`, rows by cores
4-6    the time beside the others'                                                            | timing
"""),
    chapter(GPU, "gpu_arch", "GPU Architecture", """
1      the device                                                                             | shell
"""),
    chapter(GPU, "gpu_vector_add", "Vector Add (GPU)", """
1-2    MXNet's addition, timed                                                                | timing
3      `s[C].split(C.op.axis[0], factor=8)`, bound to blocks and threads
4      compiled for CUDA; its code                                                            | cuda
5      an array on the device                                                                 | cuda
6      the time beside MXNet's                                                                | cuda
"""),
    chapter(GPU, "gpu_broadcast_add", "Broadcast Add (GPU)", """
1-2    MXNet's addition, timed                                                                | timing
3      numbers of threads and blocks
4      `continuous_parallel(args)`
5      compiled for CUDA and timed                                                            | cuda
6      `alternate_parallel(args, 2, 4)`
7      compiled for CUDA and timed                                                            | cuda
"""),
    chapter(GPU, "gpu_matmul", "Matrix Multiplication (GPU)", """
1-3    MXNet's product, timed                                                                 | timing
4      shared memory in numpy                                                                 | prose
5      how much of it the device has                                                          | cuda
6      `split_axis(s[C], x, block_size, tx)`
7-9    `s.cache_read(A, "shared", [C])`, `s.cache_read(A_shared, "local", [C])`, threads that fetch together
10     compiled for CUDA, compared                                                            | cuda
11     the time beside MXNet's                                                                | cuda
"""),
    chapter(GPU, "gpu_conv", "Convolution (GPU)", """
1-3    MXNet's convolution, timed                                                             | timing
4      the padding inlined
5      tiles in three dimensions, in shared memory and registers                              | proof
6      virtual threads: `vthread_z=cv`
7      the time beside MXNet's                                                                | cuda
"""),
    chapter(GPU, "gpu_depthwise_conv", "Depthwise Convolution (GPU)", """
1-2    MXNet's convolution, timed                                                             | timing
3      the padding inlined
4      tiles of channels, rows and columns: `s.cache_read(PaddedX, "shared", [Y])`
"""),
    chapter(GPU, "gpu_pooling", "Pooling (GPU)", """
1      imports
2      maxima, a thread each: `one_thread_each(s, args[1], 16)`
3      means: `s[total].compute_at(s[args[1]], thread)`
4-5    the time beside MXNet's                                                                | cuda
"""),
    chapter(GPU, "gpu_batch_norm", "Batch Normalization (GPU)", """
1-2    imports; no schedule
3      a thread each: `one_thread_each(s, args[-1], 16)`
4      the time beside MXNet's                                                                | cuda
"""),
)
