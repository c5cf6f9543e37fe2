"""Nodes, traversal, equality, copies, edits."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.ir import (
    EQ,
    Add,
    Attrs,
    Buffer,
    BufferStore,
    Call,
    Cast,
    Const,
    For,
    IRModule,
    Max,
    Mul,
    PrimFunc,
    SeqStmt,
    Target,
    Var,
    as_expr,
    assert_structural_equal,
    blocks_in,
    buffers_used,
    call,
    cast,
    conjunction,
    conjuncts,
    const,
    first_difference,
    fresh,
    get_global_func,
    index,
    loads,
    map_children,
    register_global_func,
    remove_global_func,
    replace,
    replace_at,
    replace_buffers,
    rewrite,
    seq,
    structural_equal,
    substitute,
    unique_name,
    variables,
    walk,
    wellformed,
)
from mlcref.verify.generate import program


def draw(seed: int) -> PrimFunc:
    return program(random.Random(seed).choice)


x, y = Var("x"), Var("y")
f32 = Var("f", "float32")


@pytest.mark.parametrize(
    ("expr", "node", "dtype"),
    [
        (x + 1, Add, "int32"),
        (1 + x, Add, "int32"),
        (x * Var("z", "int64"), Mul, "int64"),
        (f32 * 2, Mul, "float32"),
        (x == y, EQ, "bool"),
        (x + f32, Add, "float32"),
        (call("exp", f32), Call, "float32"),
        (cast("float32", x), Cast, "float32"),
    ],
)
def test_operators_build_nodes_of_one_type(expr: Any, node: type, dtype: str) -> None:
    assert type(expr) is node
    assert expr.dtype == dtype


def test_integer_constants_fold_and_others_do_not() -> None:
    assert int(const(3) * const(4)) == 12
    assert const(-7) // const(2) == const(-4)
    assert type(const(1.0) + const(2.0)) is Add
    assert type(const(2**31 - 1) + const(1)) is Add, "the result would not fit int32"


def test_the_truth_of_an_equality() -> None:
    assert x == x
    assert not bool(x.__ne__(x))
    assert const(3) == const(3)
    assert const(3) != const(4)
    assert x != "x"
    with pytest.raises(TypeMismatch, match="is not known before the program runs"):
        bool(x == y)
    with pytest.raises(TypeMismatch, match="is not known"):
        bool(x < 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: x / 2, "`/` on int32 is ambiguous"),
        (lambda: f32 % 2, "% is defined on integers"),
        (lambda: const(300, "int8"), "300 does not fit int8"),
        (lambda: call("exp", x), "exp is defined on float operands"),
        (lambda: call("exp", f32, f32), "takes 1 arguments"),
        (lambda: call("expo", f32), "no intrinsic"),
        (lambda: Buffer("A", (const(4),))[x, y], "has 1 dimensions but is indexed with 2"),
        (lambda: as_expr(object()), "is no expression"),
        (lambda: Var("q", "float33") + 1, "unknown data type"),
    ],
)
def test_expressions_that_do_not_fit(build: Any, message: str) -> None:
    with pytest.raises(TypeMismatch, match=message):
        build()


def test_rewrite_keeps_what_does_not_change_and_shares() -> None:
    shared = x + 1
    expr = shared * shared
    assert rewrite(lambda n: None, expr) is expr
    changed = rewrite(lambda n: y if n is x else None, expr)
    assert changed.a is changed.b
    assert variables(changed) == {y}


def test_rewrite_has_no_depth_limit() -> None:
    expr = x + 1
    for _ in range(5000):
        expr = expr + y
    assert variables(substitute(expr, {y: x})) == {x}
    assert len(list(walk(expr))) > 10000


def test_map_children_returns_the_same_object() -> None:
    expr = Max(x, y)
    assert map_children(lambda n: n, expr) is expr


@pytest.mark.parametrize("seed", range(20))
def test_a_fresh_copy_is_equal_and_shares_no_binding(seed: int) -> None:
    func = draw(seed)
    copy = PrimFunc(func.params, fresh(func.body), func.attrs)
    wellformed(copy)
    assert structural_equal(func, copy)
    assert not {b.token for b in blocks_in(func)} & {b.token for b in blocks_in(copy)}
    assert not set(index(func).loops) & set(index(copy).loops)
    assert not set(func.root.alloc_buffers) & set(copy.root.alloc_buffers)


@pytest.mark.parametrize("seed", range(20))
def test_first_difference_names_the_place(seed: int) -> None:
    func = draw(seed)
    loop = random.Random(seed).choice(list(index(func).loops.values()))
    other = replace_at(func, {loop: replace(loop, kind="unrolled")})
    wellformed(other)
    difference = first_difference(func, other)
    assert difference is not None
    assert difference.endswith(".kind: 'serial' vs 'unrolled'")
    with pytest.raises(MlcrefError, match="not structurally equal at"):
        assert_structural_equal(func, other)


def test_equality_does_not_confuse_variables() -> None:
    a, b = Var("a"), Var("b")
    assert structural_equal(a + b, x + y, map_free_vars=True)
    assert not structural_equal(a + b, x + x, map_free_vars=True)
    assert not structural_equal(a + a, x + y, map_free_vars=True)
    assert not structural_equal(a, x)
    assert first_difference(const(1), const(1, "int64")) == ".type: 'int32' vs 'int64'"
    assert first_difference(const(0.0), const(-0.0)) is not None
    assert first_difference(const(float("nan")), const(float("nan"))) is None


def test_replace_at_removes_empty_loops_and_keeps_the_rest() -> None:
    func = next(draw(s) for s in range(100) if isinstance(draw(s).root.body, SeqStmt))
    first, *rest = func.root.body.seq  # type: ignore[attr-defined]
    (inner,) = [n for n in walk(first) if isinstance(n, For) and not isinstance(n.body, For)]
    pruned = replace_at(func, {inner.body: None})
    kept = pruned.root.body.seq if isinstance(pruned.root.body, SeqStmt) else (pruned.root.body,)
    assert list(kept) == rest


def test_substitute_reaches_buffer_shapes() -> None:
    n = Var("n")
    buffer = Buffer("A", (n,))
    store = BufferStore(buffer, buffer[n - 1], (const(0),))
    new = substitute(store, {n: const(4)})
    (used,) = buffers_used(new)
    assert used.shape[0] == const(4)
    assert new.buffer is used
    assert loads(new)[0].buffer is used


def test_replace_buffers() -> None:
    a, b = Buffer("A", (const(4),)), Buffer("B", (const(4),))
    store = BufferStore(a, a[x], (x,))
    new = replace_buffers(store, {a: b})
    assert new.buffer is b
    assert loads(new)[0].buffer is b
    assert replace_buffers(store, {b: a}) is store


def test_seq_flattens() -> None:
    a = Buffer("A", (const(4),))
    stores = [BufferStore(a, const(0.0), (const(i),)) for i in range(3)]
    assert seq(stores[0]) is stores[0]
    made = seq(seq(stores[0], stores[1]), None, stores[2])
    assert isinstance(made, SeqStmt)
    assert list(made.seq) == stores


def test_conjuncts() -> None:
    conditions = (x < 3, y < 4, x < y)
    assert conjuncts(conjunction(conditions)) == conditions
    assert conjuncts(conjunction(())) == ()


def test_modules() -> None:
    func = draw(1)
    mod = IRModule({"f": func})
    assert mod["f"] is func
    assert mod[mod.get_global_var("f")] is func
    other = mod.clone()
    other.update_func("f", func.with_attr("note", 1))
    assert mod["f"] is func
    assert other["f"].attrs["note"] == 1
    with pytest.raises(MlcrefError, match=r"no function 'g'\nhint: its functions: f"):
        mod["g"]
    assert IRModule.from_expr(func.with_attr("global_symbol", "h"))["h"].name == "h"


def test_attrs_are_immutable_and_ordered() -> None:
    attrs = Attrs({"b": 1, "a": 2})
    assert list(attrs.updated({"c": 3, "b": None})) == ["a", "c"]
    assert dict(attrs) == {"b": 1, "a": 2}


SPELLINGS = ["llvm --num-cores=2", {"kind": "llvm", "num-cores": 2}, '{"kind": "llvm", "num-cores": 2}']
NO_TARGETS = [("fpga", "unknown target kind"), ("", "empty target"), ("llvm x", "--key=value")]


@pytest.mark.parametrize("spec", SPELLINGS)
def test_targets(spec: Any) -> None:
    target = Target(spec)
    assert (target.kind, target.backend, target.num_cores) == ("llvm", "cython", 2)
    assert target == Target(target)
    with target:
        assert Target.current() is target
    assert Target.current() is None


@pytest.mark.parametrize(("spec", "message"), NO_TARGETS)
def test_targets_that_do_not_exist(spec: str, message: str) -> None:
    with pytest.raises(MlcrefError, match=message):
        Target(spec)


def test_threads_of_a_block() -> None:
    assert (Target("cuda").max_num_threads, Target("metal").max_num_threads) == (1024, 256)
    with pytest.raises(MlcrefError, match="target llvm has no blocks of threads"):
        _ = Target("llvm").max_num_threads


def test_registered_functions() -> None:
    register_global_func("test.f", lambda: 1)
    try:
        with pytest.raises(MlcrefError, match="registered already"):
            register_global_func("test.f", lambda: 2)
        register_global_func("test.f", lambda: 3, override=True)
        assert get_global_func("test.f")() == 3
    finally:
        remove_global_func("test.f")
    assert get_global_func("test.f", allow_missing=True) is None
    with pytest.raises(MlcrefError, match="no function is registered"):
        get_global_func("test.f")


def test_unique_names() -> None:
    assert unique_name("a", {"b"}) == "a"
    assert unique_name("a", {"a", "a_1"}) == "a_2"


def test_const_rounds_to_its_type() -> None:
    assert Const(0.1, "float32").value == 0.1
    assert const(0.1, "float32").value != 0.1
    assert const(1e60, "float32").value == float("inf")
    assert const(2**40).type == "int64"
