"""What each construct of TVMScript means, one example each; decorators, closures, texts."""

# ruff: noqa: E501 -- programs stand on one line here
from __future__ import annotations

import numpy as np
import pytest

from mlcref import ir
from mlcref.errors import ScriptError
from mlcref.ir import (
    AllocBuffer, AssertStmt, AttrStmt, Block, BlockRealize, Break, BufferLoad, BufferStore, Const, DeclBuffer, Evaluate, For,
    IfThenElse, IRModule, LetStmt, PrimFunc, SeqStmt, While, assert_structural_equal, structural_equal,
)  # fmt: skip
from mlcref.script import from_source, ir_module, print_script
from mlcref.script import ir as I
from mlcref.script import tir as T
from mlcref.script import tirx as TX

PARAMS = 'A: T.Buffer((16, 16), "float32"), B: T.Buffer((16,), "int32"), k: T.int32'


def func_of(body: str, params: str = PARAMS, decorator: str = "@T.prim_func") -> PrimFunc:
    """The function with these lines as its body."""
    lines = "\n".join("    " + line for line in body.strip("\n").splitlines())
    func = from_source(f"{decorator}\ndef f({params}):\n{lines}\n")
    assert isinstance(func, PrimFunc)
    return func


def stmt_of(body: str, **options: str) -> ir.Stmt:
    func = func_of(body, **options)
    return func.root.body if isinstance(func.body, BlockRealize) else func.body


def block_of(body: str, loops: str = "for i, j in T.grid(16, 16):") -> Block:
    lines = "\n".join("        " + line for line in body.strip("\n").splitlines())
    func = func_of(f'{loops}\n    with T.block("b"):\n{lines}')
    return ir.blocks_in(func.body)[1]


@ir_module
class Decorated:
    @T.prim_func
    def add(A: T.Buffer((4,), "float32"), B: T.Buffer[4, "float32"]):
        for i in range(4):
            with T.block("B"):
                vi = T.axis.spatial(4, i)
                B[vi] = A[vi] + 1.0

    @T.prim_func(private=True)
    def hidden(self, B: T.Buffer[(4, 2), "int8"]) -> None:
        T.evaluate(0)


def test_a_decorated_class_is_a_module() -> None:
    assert isinstance(Decorated, IRModule)
    assert list(Decorated) == ["add", "hidden"]
    assert Decorated["add"].attrs["global_symbol"] == "add"
    assert "global_symbol" not in Decorated["hidden"].attrs
    a, b = Decorated["add"].buffers
    assert (a.name, ir.constant(a.shape[0]), a.dtype) == ("A", 4, "float32")
    assert structural_equal((a.shape, a.type), (b.shape, b.type))
    assert [ir.constant(extent) for extent in Decorated["hidden"].buffers[0].shape] == [4, 2]


def test_the_class_that_is_decorated_is_found_among_classes_of_one_name() -> None:
    modules = []
    for _ in range(1):

        @I.ir_module
        class Same:
            @T.prim_func
            def f(A: T.Buffer((1,), "int8")):
                A[0] = 1

        modules.append(Same)

        @I.ir_module
        class Same:
            @T.prim_func
            def f(A: T.Buffer((2,), "int8")):
                A[0] = 2

        modules.append(Same)
    assert [ir.constant(mod["f"].buffers[0].shape[0]) for mod in modules] == [1, 2]


def test_closures_and_locals_are_captured_as_values() -> None:
    size, dtype, factors, width = 8 * 4, "float16", (2, 3), np.int64(3)

    @T.prim_func
    def f(A: T.Buffer((size // 4, width), dtype)):
        for i in range(size // 4):
            A[i, factors[1] - 1] = T.float16(size)

    loop = f.root.body
    assert isinstance(loop, For)
    assert ir.constant(loop.extent) == 8
    assert f.buffers[0].dtype == "float16"
    assert print_script(loop.body) == "A[i, 2] = T.float16(32.0)"


def test_names_that_are_not_bound_yet_do_no_harm() -> None:
    def unbound() -> object:
        return Later

    @ir_module
    class Module:
        @T.prim_func
        def f(A: T.Buffer((4,), "float32")):
            A[0] = Later if False else 1.0

    Later = unbound
    assert Module["f"].name == "f"


def test_text_with_header_docstring_and_constants() -> None:
    text = '''"""A program."""
# from tvm.script import ir as I
import tvm
from tvm.script import tir as Tensor, ir
N = 4 * 2
SHAPE = (N, 2)

@tvm.script.ir_module
class Module:
    """Documentation."""
    @Tensor.prim_func
    def main(A: Tensor.Buffer(SHAPE, "float32")):
        """More documentation."""
        A[N - 1, 0] = 0.0
'''
    assert "A[7, 0] = T.float32(0.0)" in from_source(text).script()


def test_text_takes_names_from_env_and_closes_over_nothing_else() -> None:
    text = '@T.prim_func\ndef f(A: T.Buffer((n, n), "float32")):\n    A[0, 0] = scale'
    func = from_source(text, env={"n": 3, "scale": 0.5})
    assert "A[0, 0] = T.float32(0.5)" in func.script()


def test_dialects_read_to_the_same_program() -> None:
    @T.prim_func
    def old(A: T.Buffer((4,), "float32")):
        T.func_attr({"global_symbol": "f", "tir.noalias": True})
        B = T.alloc_buffer((4,))
        for i in range(4):
            with T.block("b"):
                vi = T.axis.S(4, i)
                T.block_attr({"x": 1})
                B[vi] = A[vi]

    @TX.prim_func(s_tir=True)
    def new(A: TX.Buffer((4,), "float32")):
        TX.func_attr({"global_symbol": "f", "tirx.noalias": True})
        B = TX.sblock_alloc_buffer((4,))
        for i in range(4):
            with TX.sblock("b"):
                vi = TX.axis.S(4, i)
                TX.sblock_attr({"x": 1})
                B[vi] = A[vi]

    assert_structural_equal(old, new)
    assert old.noalias


@pytest.mark.parametrize(
    ("head", "kind", "low", "extent", "thread"),
    [
        ("for i in range(8):", "serial", 0, 8, None),
        ("for i in range(2, 8):", "serial", 2, 6, None),
        ("for i in T.grid(8):", "serial", 0, 8, None),
        ("for i in T.serial(8):", "serial", 0, 8, None),
        ("for i in T.serial(2, 8):", "serial", 2, 6, None),
        ("for i in T.parallel(1, 8):", "parallel", 1, 7, None),
        ("for i in T.vectorized(8):", "vectorized", 0, 8, None),
        ("for i in T.unroll(0, 8):", "unrolled", 0, 8, None),
        ('for i in T.thread_binding(8, thread="blockIdx.x"):', "thread_binding", 0, 8, "blockIdx.x"),
        ('for i in T.thread_binding(0, 8, "threadIdx.y"):', "thread_binding", 0, 8, "threadIdx.y"),
        ('for i in T.thread_binding(8, "vthread"):', "thread_binding", 0, 8, "vthread"),
    ],
)
def test_loops(head: str, kind: str, low: int, extent: int, thread: str | None) -> None:
    loop = stmt_of(f"{head}\n    B[i] = 0")
    assert isinstance(loop, For)
    found = (loop.kind, ir.constant(loop.min), ir.constant(loop.extent), loop.thread, loop.loop_var.type)
    assert found == (kind, low, extent, thread, "int32")


def test_loop_annotations_and_types() -> None:
    loop = stmt_of(
        'for i in T.serial(T.int64(4), annotations={"pragma": [1, "a"], "n": T.int32(3)}):\n    A[i, 0] = 1.0'
    )
    assert isinstance(loop, For)
    assert dict(loop.annotations) == {"pragma": [1, "a"], "n": 3}
    assert loop.loop_var.type == loop.min.dtype == loop.extent.dtype == "int64"


def test_grid_nests_loops_in_order() -> None:
    outer = stmt_of("for i, j in T.grid(4, k):\n    A[i, j] = 0.0")
    assert isinstance(outer, For)
    assert isinstance(outer.body, For)
    assert (outer.loop_var.name, outer.body.loop_var.name) == ("i", "j")
    assert outer.body.extent is func_scalar(outer.body)


def func_scalar(loop: For) -> ir.Expr:
    """The scalar parameter that bounds ``loop``."""
    assert isinstance(loop.extent, ir.Var)
    assert loop.extent.name == "k"
    return loop.extent


def test_symbolic_shapes_and_handles() -> None:
    func = from_source(
        "@T.prim_func\ndef f(x: T.handle, y: T.handle, w: T.handle):\n"
        "    m, n = T.int64(), T.int64()\n"
        '    k = T.var("int64")\n'
        '    X = T.match_buffer(x, (1, n), "float32", offset_factor=16, align=128)\n'
        '    Y = T.match_buffer(y, [m, n], "float16", strides=[n, 1], elem_offset=k, scope="shared")\n'
        "    W = T.match_buffer(w, (n,))\n"
        "    for i, j in T.grid(m, n):\n        Y[i, j] = T.Cast('float16', X[0, j])\n"
    )
    x, y, w = func.buffers
    assert [b.name for b in func.buffers] == ["X", "Y", "W"]
    assert (x.offset_factor, x.align, x.shape[1], w.dtype) == (16, 128, w.shape[0], "float32")
    assert (y.dtype, y.scope, y.strides[0], y.elem_offset.name) == ("float16", "shared", x.shape[1], "k")
    assert [v.name for v in func.shape_vars()] == ["n", "m", "k"]
    assert all(v.dtype == "int64" for v in func.shape_vars())


def test_dimensions_as_strings_are_what_the_body_declares() -> None:
    func = from_source(
        "@T.prim_func\n"
        'def f(A: T.Buffer(("n", 4), "float32"), B: T.Buffer((n * 2, "m"), "float32"), C: T.Buffer(("m",), "int32")):\n'
        "    n, m = T.int32(), T.int64()\n"
        "    for i in T.serial(n):\n        C[m - 1] = i\n"
    )
    a, b, c = func.buffers
    assert [(v.name, v.dtype) for v in func.shape_vars()] == [("n", "int32"), ("m", "int64")]
    assert b.shape[1] is c.shape[0]
    assert b.shape[0].a is a.shape[0]
    assert structural_equal(from_source(func.script()), func)


def test_dimensions_that_the_body_does_not_declare_are_int32() -> None:
    func = from_source(
        '@T.prim_func\ndef f(A: T.Buffer(("n", "m"), "int32"), B: T.Buffer(("n", 2), "int32")):\n    B[0, 0] = A.shape[1]\n'
    )
    assert [(v.name, v.dtype) for v in func.shape_vars()] == [("n", "int32"), ("m", "int32")]
    assert func.buffers[0].shape[0] is func.buffers[1].shape[0]
    assert structural_equal(from_source(func.script()), func)


def test_dimensions_are_names() -> None:
    with pytest.raises(ScriptError, match=r"dimension 'n \* 2' is no name"):
        from_source('@T.prim_func\ndef f(A: T.Buffer(("n * 2",), "float32")):\n    T.evaluate(0)\n')


def test_blocks() -> None:
    block = block_of(
        "vi = T.axis.spatial(16, i)\nvj = T.axis.reduce((0, 16), j)\nT.where(i < 8 and j < 9)\nT.reads(A[vi, 0:vj], B)\n"
        'T.writes([A[vi, vj]])\nT.block_attr({"a": 1})\nT.block_attr({"b": "x"})\nY = T.alloc_buffer((4,), "int8", scope="local")\n'
        "M = T.match_buffer(A[vi, 0:16], (1, 16))\nwith T.init():\n    for q in range(1):\n        A[vi, vj] = 0\nA[vi, vj] += 2"
    )
    assert [(v.var.name, v.iter_type, ir.constant(v.dom.extent)) for v in block.iter_vars] == [
        ("vi", "spatial", 16), ("vj", "reduce", 16),
    ]  # fmt: skip
    assert [repr(r) for r in block.reads] == ["A[vi, 0:vj]", "B[0:16]"]
    assert [repr(r) for r in block.writes] == ["A[vi, vj]"]
    assert dict(block.annotations) == {"a": 1, "b": "x"}
    assert [(b.name, b.dtype, b.scope) for b in block.alloc_buffers] == [("Y", "int8", "local")]
    assert [(m.buffer.name, repr(m.source)) for m in block.match_buffers] == [("M", "A[vi, 0:16]")]
    assert isinstance(block.init, For)
    assert print_script(block.body) == "A[vi, vj] = A[vi, vj] + T.float32(2.0)"


def test_where_is_a_tuple_of_conjuncts() -> None:
    func = func_of(
        'for i in range(4):\n    with T.block("b"):\n        T.where(i < 3 and i > 0 and k == 1)\n        B[i] = 0'
    )
    loop = func.root.body
    assert isinstance(loop, For)
    assert isinstance(loop.body, BlockRealize)
    assert [repr(c) for c in loop.body.predicate] == ["i < 3", "i > 0", "k == 1"]


def test_every_kind_of_axis() -> None:
    block = block_of(
        "a = T.axis.S(16, i)\nb = T.axis.R((2, 5), j % 3 + 2)\nc = T.axis.scan(4, 0)\nd = T.axis.opaque(16, i * 1)\n"
        'e, f = T.axis.remap("SR", [i, j])\ng = T.axis.remap("S", [i])\nh = T.axis.spatial((i, i + 4), i)\nB[a] = 0'
    )
    kinds = ["spatial", "reduce", "scan", "opaque", "spatial", "reduce", "spatial", "spatial"]
    assert [v.iter_type for v in block.iter_vars] == kinds
    ranges = [(ir.constant(v.dom.min), ir.constant(v.dom.extent)) for v in block.iter_vars]
    assert ranges == [(0, 16), (2, 3), (0, 4), (0, 16), (0, 16), (0, 16), (0, 16), (None, 4)]


def test_remap_and_spelled_axes_are_the_same_program() -> None:
    loops = "for i, j in T.grid(T.int64(4), 8):"
    short = block_of('vi, vj = T.axis.remap("SR", [i, j])\nA[vi, vj] = 0', loops)
    spelled = block_of("vi = T.axis.spatial(4, i)\nvj = T.axis.reduce(8, j)\nA[vi, vj] = 0", loops)
    assert structural_equal(short.iter_vars, spelled.iter_vars)
    assert [v.var.type for v in spelled.iter_vars] == ["int64", "int32"]


def test_omitted_regions_are_found() -> None:
    block = block_of(
        "vi, vj = T.axis.remap('SR', [i, j])\nwith T.init():\n    B[vi] = 0\nB[vi] = B[vi] + T.Cast('int32', A[vi, vj])"
    )
    assert [repr(r) for r in block.reads] == ["A[vi, vj]"]
    assert [repr(r) for r in block.writes] == ["B[vi]"]
    half = block_of("vi = T.axis.S(16, i)\nT.reads(A)\nY = T.alloc_buffer((16,))\nY[vi] = A[vi, 0]\nA[vi, 1] = Y[vi]")
    assert [repr(r) for r in half.reads] == ["A[0:16, 0:16]"]
    assert [repr(r) for r in half.writes] == ["A[vi, 1]"]


def test_nested_blocks_use_inner_regions() -> None:
    block = block_of(
        "vi = T.axis.S(16, i)\nfor q in range(16):\n    with T.block(''):\n        w = T.axis.S(16, q)\n        A[vi, w] = 0.0"
    )
    assert [repr(r) for r in block.writes] == ["A[vi, 0:16]"]
    assert not block.reads


def test_an_explicit_root_block_is_the_root() -> None:
    func = func_of('with T.block("root"):\n    Y = T.alloc_buffer((4,))\n    Y[0] = 1.0')
    assert func.root.name == "root"
    assert [b.name for b in func.root.alloc_buffers] == ["Y"]
    assert isinstance(func.root.body, BufferStore)


def test_control_flow() -> None:
    loop = stmt_of(
        "while k < 8:\n    if k == 1:\n        break\n    elif k == 2:\n        continue\n    else:\n        B[0] = 1\n"
        '    assert k > 0, "positive"\n    pass'
    )
    assert isinstance(loop, While)
    assert isinstance(loop.body, SeqStmt)
    branch, check = loop.body.seq
    assert isinstance(branch, IfThenElse)
    assert isinstance(branch.then_case, Break)
    assert isinstance(branch.else_case, IfThenElse)
    assert isinstance(check, AssertStmt)
    assert check.message == "positive"


def test_branches_known_to_the_parser_are_taken() -> None:
    big = 64
    func = from_source(
        '@T.prim_func\ndef f(B: T.Buffer((4,), "int32")):\n    if size > 32:\n        B[0] = 1\n    else:\n        B[1] = 2',
        env={"size": big},
    )
    assert print_script(func.root.body) == "B[0] = 1"


@pytest.mark.parametrize(
    ("text", "dtype"),
    [("x: T.int64 = k + 1", "int64"), ("x = k * 2", "int32"), ("x = 3", "int32"), ("x = 1.5", "float32"),
     ("x: T.let = A[0, 0]", "float32"), ("x: T.let[T.int8] = 1", "int8"), ("x = T.bind(k)", "int32")],
)  # fmt: skip
def test_lets_cover_what_follows(text: str, dtype: str) -> None:
    seq = stmt_of(f"B[0] = 0\n{text}\nB[1] = T.Cast('int32', x)\nB[2] = 2")
    assert isinstance(seq, SeqStmt)
    let = seq.seq[1]
    assert isinstance(let, LetStmt)
    assert (let.var.name, let.var.type, let.value.dtype) == ("x", dtype, dtype)
    assert isinstance(let.body, SeqStmt)
    assert len(let.body.seq) == 2


def test_with_let_ends_with_its_body() -> None:
    seq = stmt_of("with T.LetStmt(k + 1) as x:\n    B[0] = x\nB[1] = 1")
    assert isinstance(seq, SeqStmt)
    assert isinstance(seq.seq[0], LetStmt)
    assert isinstance(seq.seq[0].body, BufferStore)


def test_reassigning_a_let_in_its_list_shadows_it() -> None:
    let = stmt_of("x = k\nx += 1\nB[0] = x")
    assert isinstance(let, LetStmt)
    assert isinstance(let.body, LetStmt)
    assert repr(let.body.value) == "x + 1"
    assert let.body.body.value is let.body.var  # type: ignore[attr-defined]


def test_meta_values_stay_with_the_parser() -> None:
    loop = stmt_of(
        "n = T.meta_var(3)\nname = 'float32'\npair = (4, 5)\nfor i in range(n * pair[0]):\n    A[i, 0] = T.Cast(name, i)"
    )
    assert isinstance(loop, For)
    assert ir.constant(loop.extent) == 12


def test_flat_functions() -> None:
    func = func_of(
        'B[0] = 1\nY = T.alloc_buffer((8,), "float32", scope="local")\nV = T.decl_buffer((4,), data=Y.data, elem_offset=4)\n'
        'V[0:4] = T.Broadcast(T.float32(0), 4)\nwith T.attr(k, "pragma", 1):\n    Y[T.Ramp(0, 2, 4)] = Y[0:8:2]\n'
        'T.attr(None, "key", "text")\nB[1] = 1',
        decorator="@T.prim_func(s_tir=False)",
    )
    ir.wellformed(func, "blockless")
    assert isinstance(func.body, SeqStmt)
    alloc = func.body.seq[1]
    assert isinstance(alloc, AllocBuffer)
    assert isinstance(alloc.body, DeclBuffer)
    assert alloc.body.source is alloc.buffer
    stores = alloc.body.body
    assert isinstance(stores, SeqStmt)
    store, attr, text = stores.seq
    assert isinstance(store, BufferStore)
    assert store.indices[0].dtype == "int32x4"
    assert isinstance(attr, AttrStmt)
    assert isinstance(attr.body, BufferStore)
    assert structural_equal(attr.body.indices, attr.body.value.indices)  # type: ignore[attr-defined]
    assert isinstance(text, AttrStmt)
    assert text.target is None
    assert isinstance(text.body, BufferStore)


def test_the_tirx_decorator_reads_flat_functions() -> None:
    @TX.prim_func
    def f(A: TX.Buffer((4,), "float32")):
        B = TX.alloc_buffer((4,))
        B[0] = A[0]

    assert isinstance(f.body, AllocBuffer)
    assert_structural_equal(f, from_source(f.script(dialect="tirx")))
    assert_structural_equal(f, from_source(f.script()))


def test_stored_numbers_take_the_type_of_the_buffer() -> None:
    store = stmt_of("A[0, 0] = 1")
    assert isinstance(store, BufferStore)
    assert isinstance(store.value, Const)
    assert (store.value.value, store.value.type) == (1.0, "float32")
    mixed = stmt_of("A[0, 0] = k")
    assert isinstance(mixed, BufferStore)
    assert isinstance(mixed.value, ir.Cast)


def test_exercise_with_an_ellipsis_parses() -> None:
    func = func_of('T.func_attr({"global_symbol": "conv", "tir.noalias": True})\n# later\n...', params="")
    assert isinstance(func.root.body, Evaluate)
    assert func.name == "conv"


def test_zero_dimensional_buffers() -> None:
    store = stmt_of("S[()] = S[()] + 1", params='S: T.Buffer((), "int32")')
    assert isinstance(store, BufferStore)
    assert store.indices == ()
    assert isinstance(store.value.a, BufferLoad)  # type: ignore[attr-defined]


def test_module_attributes() -> None:
    mod = from_source('@I.ir_module\nclass M:\n    I.module_attrs({"a": 1})\n    pass')
    assert dict(mod.attrs) == {"a": 1}
    assert structural_equal(mod, from_source(mod.script()))


def test_without_well_formedness_check() -> None:
    func = func_of("n = T.int64()\nfor i in range(n):\n    B[i] = 0", decorator="@T.prim_func(check_well_formed=False)")
    assert func.name == "f"
