"""Regions against enumeration: every access lies inside, and regions of affine accesses are tight."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlcref.arith import access_regions, clip, evaluate, number, points, relax, union
from mlcref.ir import (
    BlockRealize, Buffer, BufferLoad, BufferRegion, BufferStore, Expr, For, IfThenElse, IterVar, LetStmt,
    MatchBufferRegion, Range, Stmt, Var, const, loop, make_block, seq, store, structural_equal,
)  # fmt: skip

VI, VJ = Var("vi"), Var("vj")
L0, L1 = Var("l0"), Var("l1")
DOM = {VI: 4, VJ: 3}
A = Buffer("A", (const(10), const(12)))
B = Buffer("B", (const(10), const(12)))
IDX = Buffer("idx", (const(10),), "int32")


def index_over(*variables: Var) -> st.SearchStrategy[Expr]:
    leaf = st.one_of(st.sampled_from(variables), st.integers(-2, 3).map(const))
    return st.recursive(
        leaf,
        lambda c: st.one_of(
            st.tuples(c, c).map(lambda ab: ab[0] + ab[1]),
            st.tuples(c, st.sampled_from([-1, 2, 3, 4])).map(lambda ab: ab[0] * ab[1]),
            st.tuples(c, st.sampled_from([2, 3, 4])).map(lambda ab: ab[0] // ab[1]),
            st.tuples(c, st.sampled_from([2, 3, 4])).map(lambda ab: ab[0] % ab[1]),
        ),
        max_leaves=5,
    )


def statements(*variables: Var) -> st.SearchStrategy[Stmt]:
    pair = st.tuples(index_over(*variables), index_over(*variables))
    one = st.builds(lambda w, r: store(B, BufferLoad(A, r), w), pair, pair)
    return st.builds(lambda a, b, both: seq(a, b) if both else a, one, one, st.booleans())


def touched(stmt: Stmt, env: dict[Var, int], reads: list[Any], writes: list[Any]) -> None:
    """Every in-bounds access of a statement, by running its loops."""
    if isinstance(stmt, For):
        start = evaluate(stmt.min, env)
        for value in range(start, start + evaluate(stmt.extent, env)):
            touched(stmt.body, {**env, stmt.loop_var: value}, reads, writes)
    elif isinstance(stmt, IfThenElse):
        if evaluate(stmt.condition, env):
            touched(stmt.then_case, env, reads, writes)
    elif isinstance(stmt, LetStmt):
        touched(stmt.body, {**env, stmt.var: evaluate(stmt.value, env)}, reads, writes)
    elif isinstance(stmt, BufferStore):
        writes.append((stmt.buffer, [evaluate(i, env) for i in stmt.indices]))
        assert isinstance(stmt.value, BufferLoad)
        reads.append((stmt.value.buffer, [evaluate(i, env) for i in stmt.value.indices]))
    else:
        for part in stmt.seq:
            touched(part, env, reads, writes)


def boxes(regions: tuple[BufferRegion, ...], env: dict[Var, int]) -> dict[Buffer, list[tuple[int, int]]]:
    def ends(item: Range) -> tuple[int, int]:
        lo = evaluate(item.min, env)
        return lo, lo + evaluate(item.extent, env)

    return {r.buffer: [ends(item) for item in r.region] for r in regions}


def in_bounds(index: list[int]) -> bool:
    return 0 <= index[0] < 10 and 0 <= index[1] < 12


def check_cover(stmt: Stmt) -> None:
    declared = access_regions(stmt, None, DOM)
    for env in points(DOM):
        accesses: tuple[list[Any], list[Any]] = ([], [])
        touched(stmt, env, *accesses)
        for regions, found in zip(declared, accesses, strict=True):
            box = boxes(regions, env)
            for buffer, index in found:
                if in_bounds(index):
                    assert all(lo <= i < hi for i, (lo, hi) in zip(index, box[buffer], strict=True))


@given(statements(VI, VJ, L0, L1), st.integers(1, 4), st.integers(1, 3))
def test_regions_cover_every_access_below_loops(stmt, n, m):
    check_cover(loop(L0, n, loop(L1, m, stmt)))


@given(statements(VI, VJ, L0), st.integers(-2, 2), st.integers(1, 4))
def test_loops_that_do_not_start_at_zero(stmt, start, n):
    check_cover(loop(L0, n, stmt, start=start))


@given(statements(VI, VJ, L0))
def test_loops_whose_extent_depends_on_an_iterator(stmt):
    check_cover(loop(L0, VI + 1, stmt, start=VJ))


@given(statements(VI, VJ, L0), index_over(VI, VJ))
def test_let_bound_indices(stmt, value):
    check_cover(LetStmt(L0, value, stmt))


@given(statements(VI, VJ, L0), st.integers(0, 3))
def test_conditions_only_make_regions_larger_than_needed(stmt, bound):
    check_cover(loop(L0, 4, IfThenElse(L0 < bound, stmt)))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(0, 2),
)
def test_affine_regions_are_tight(terms, n, scale):
    """vi*s + l*k + c: the region begins at the smallest and ends at the largest index."""
    wide = Buffer("W", (const(1000),))
    body = seq(*[store(wide, 0.0, [VI * scale + L0 * k + c]) for k, c in terms])
    _, (write,) = access_regions(loop(L0, n, body), None, DOM)
    for v in range(4):
        found = [v * scale + x * k + c for x in range(n) for k, c in terms]
        lo = evaluate(write.region[0].min, {VI: v})
        assert (lo, lo + evaluate(write.region[0].extent, {VI: v}) - 1) == (min(found), max(found))


@given(index_over(VI, VJ, L0, L1), st.integers(1, 4), st.integers(1, 4))
def test_relax_covers_every_value(expr, n, m):
    dom = {**DOM, L0: n, L1: m}
    span = relax(expr, {L0, L1}, dom)
    assert span is not None
    assert not span.base.variables() & {L0, L1}
    base = span.base.expr()
    for env in points(dom):
        assert evaluate(base, env) + span.lo <= evaluate(expr, env) <= evaluate(base, env) + span.hi


@given(index_over(VI, L0), index_over(VI, L0), st.integers(1, 4), st.integers(1, 12))
def test_union_and_clip_cover(a, b, n, full):
    dom = {**DOM, L0: n}
    span = union([relax(a, {L0}, dom), relax(b, {L0}, dom)])
    cut = clip(span, full, dom)
    start = cut.start.expr()
    for env in points(dom):
        lo = evaluate(start, env)
        if not cut.below:
            assert lo >= 0
        if not cut.above:
            assert lo + cut.extent <= full
        for value in (evaluate(a, env), evaluate(b, env)):
            assert value not in range(full) or value in range(lo, lo + cut.extent)


def test_union_of_unrelated_bases_is_the_whole_dimension():
    assert union([relax(VI, set(), DOM), relax(VJ, set(), DOM)]) is None
    assert union([relax(VI, set(), DOM), relax(VI + 2, set(), DOM)]).extent == 3
    assert clip(None, 7, DOM).extent == 7


# ---- the rules by example


def region_text(region: BufferRegion) -> list[tuple[Expr, Expr]]:
    return [(r.min, r.extent) for r in region.region]


def assert_ranges(region: BufferRegion, *expected: tuple[Any, int]) -> None:
    ranges = tuple([Range(m if isinstance(m, Expr) else const(m), const(e)) for m, e in expected])
    assert structural_equal(region, BufferRegion(region.buffer, ranges))


def test_one_access_is_declared_as_written():
    reads, writes = access_regions(store(B, A[VI + 1, VJ], [VI, VJ * 2]), None, DOM)
    assert_ranges(reads[0], (VI + 1, 1), (VJ, 1))
    assert_ranges(writes[0], (VI, 1), (VJ * 2, 1))


def test_neighbouring_accesses_are_one_range_in_order_of_appearance():
    reads, _ = access_regions(store(B, A[VI, VJ] + B[VJ, VI] + A[VI + 2, VJ], [VI, VJ]), None, DOM)
    assert [r.buffer for r in reads] == [A, B]
    assert_ranges(reads[0], (VI, 3), (VJ, 1))


def test_an_update_with_init_does_not_read_its_own_output():
    update = store(B, B[VI, VJ] + A[VI, VJ], [VI, VJ])
    reads, writes = access_regions(update, store(B, 0.0, [VI, VJ]), DOM)
    assert [r.buffer for r in reads] == [A]
    assert [w.buffer for w in writes] == [B]
    without, _ = access_regions(update, None, DOM)
    assert [r.buffer for r in without] == [B, A]


def test_indices_from_memory_are_the_whole_dimension():
    reads, _ = access_regions(store(B, A[IDX[VI], VJ], [VI, VJ]), None, DOM)
    assert [r.buffer for r in reads] == [A, IDX]
    assert_ranges(reads[0], (0, 10), (VJ, 1))


def test_inner_blocks_count_with_what_they_declare():
    v = Var("v")
    inner = make_block(
        "inner", store(B, A[v, v], [v, v]), iter_vars=[IterVar(v, Range(const(0), const(8)), "spatial")],
        reads=[BufferRegion(A, (Range(v, const(2)), Range(v, const(1))))],
        writes=[BufferRegion(B, (Range(v, const(1)), Range(v, const(1))))],
    )  # fmt: skip
    reads, writes = access_regions(loop(L0, 2, BlockRealize((VI * 2 + L0,), (L0 < IDX[VJ],), inner)), None, DOM)
    assert [r.buffer for r in reads] == [IDX, A]
    assert_ranges(reads[1], (VI * 2, 3), (VI * 2, 2))
    assert_ranges(writes[0], (VI * 2, 2), (VI * 2, 2))


def test_private_and_matched_buffers():
    M = Buffer("M", (const(2),))
    source = BufferRegion(A, (Range(VI, const(1)), Range(const(0), const(2))))
    body = seq(store(M, 1.0, [const(0)]), store(B, M[1], [VI, VJ]))
    reads, writes = access_regions(body, None, DOM, private=[B], matched=[MatchBufferRegion(M, source)])
    assert [w.buffer for w in writes] == [A]
    assert_ranges(reads[0], (VI, 1), (0, 2))


def test_symbolic_dimensions():
    n = Var("n")
    S = Buffer("S", (n,))
    reads, writes = access_regions(loop(L0, n, store(S, S[L0], [VI])), None, {VI: n})
    assert structural_equal(reads[0].region[0], Range(const(0), n))
    assert structural_equal(writes[0].region[0], Range(VI, const(1)))


def test_clip_says_where_guards_are_needed():
    span = relax(VI * 4 + L0 - 1, {L0}, {VI: 3, L0: 4})
    cut = clip(span, 12, {VI: 3})
    assert (cut.extent, cut.below, cut.above) == (4, True, False)
    assert clip(relax(VI * 4 + L0, {L0}, {VI: 3, L0: 4}), 10, {VI: 3}).above
    whole = clip(relax(VI + L0, {L0}, {VI: 3, L0: 12}), 12, {VI: 3})
    assert (whole.start.number(), whole.extent) == (0, 12)
    n = Var("n")
    symbolic = clip(relax(VI, set(), {VI: n}), n, {VI: n})
    assert (symbolic.extent, symbolic.below, symbolic.above) == (1, False, False)
    assert number(0).number() == 0
