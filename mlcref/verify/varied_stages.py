"""Kinds of blocks beyond the simple ones, for programs that transformations seldom see: updates in place, blocks that
share a loop, reductions of all sorts, reads with halos, strides and reversals, and sizes that are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcref import dtype as dt
from mlcref.ir import (
    EQ,
    And,
    Attrs,
    BlockRealize,
    Buffer,
    BufferStore,
    Expr,
    For,
    IterVar,
    LetStmt,
    Max,
    Min,
    Or,
    PrimFunc,
    Range,
    Select,
    Stmt,
    Var,
    as_expr,
    binary,
    call,
    const,
    make_block,
    seq,
)
from mlcref.arith import access_regions
from mlcref.verify.program_builder import Builder, Choose, Stage, shape_of

Vars = Sequence[Var]
_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38,
            "float64": 1.7976931348623157e308}  # fmt: skip


def lowest(dtype: str) -> Expr:
    """The least number of a data type."""
    return const(-_LARGEST[dtype] if dt.is_float(dtype) else dt.integer_range(dtype)[0], dtype)


def highest(dtype: str) -> Expr:
    """The largest number of a data type."""
    return const(_LARGEST[dtype] if dt.is_float(dtype) else dt.integer_range(dtype)[1], dtype)


def _if(condition: Expr, value: Expr, other: Expr) -> Expr:
    return call("if_then_else", condition, value, other)


def _zero(buffer: Buffer) -> Expr:
    return const(0, buffer.type)


def _buffers(b: Builder) -> list[Buffer]:
    """What can be read, the newest first."""
    return [*reversed(b.made), *b.params]


# ---- reads


def _reader(b: Builder, source: Buffer) -> tuple[list[int], Callable[[Vars], Expr]]:
    """A shape, and a read of ``source`` for each element of it, along the first dimension in an unusual way."""
    size, *rest = shape_of(source)
    kind = b.pick(["halo", "reversed", "strided", "repeated", "rotated", "reflected", "shrunk"])

    def at(index: Expr, v: Vars) -> Expr:
        return source[(index, *v[1:])]

    def inside(index: Expr) -> Expr:
        return binary(Min, binary(Max, index, const(0, index.dtype)), const(size - 1, index.dtype))

    if kind == "halo":
        if b.pick([True, False]):
            return [size, *rest], lambda v: at(inside(v[0] - 1), v) + at(v[0], v) + at(inside(v[0] + 1), v)
        zero = _zero(source)
        return [size, *rest], lambda v: (
            _if(v[0] > 0, at(v[0] - 1, v), zero) + at(v[0], v) + _if(v[0] < size - 1, at(v[0] + 1, v), zero)
        )
    if kind == "reversed":
        return [size, *rest], lambda v: at(size - 1 - v[0], v)
    if kind == "strided":
        return [-(-size // 2), *rest], lambda v: at(v[0] * 2, v) + at(inside(v[0] * 2 + 1), v)
    if kind == "repeated":
        return [size * 2, *rest], lambda v: at(v[0] // 2, v)
    if kind == "rotated":
        return [size, *rest], lambda v: at((v[0] + 1) % size, v)
    if kind == "reflected":
        border = min(1, size - 1)

        def mirrored(v: Vars) -> Expr:
            index = v[0] - border
            back = _if(v[0] < size + border, index, 2 * (size - 1) - index)
            return at(_if(v[0] < border, -1 * index, back) if border else index, v)

        return [size + 2 * border, *rest], mirrored
    if size < 3:
        return [size, *rest], lambda v: at(v[0], v)
    return [size - 2, *rest], lambda v: at(v[0], v) + at(v[0] + 1, v) * 2 + at(v[0] + 2, v)


def _reading(b: Builder, source: Buffer) -> Buffer:
    shape, read = _reader(b, source)
    return b.block(shape, lambda v, _: read(v), source.type)


def _join(b: Builder, source: Buffer) -> Buffer:
    """With any other buffer of the type, its indices wrapped around."""
    others = [x for x in _buffers(b) if x.type == source.type and x is not source]
    other = b.pick(others or [source])
    shape, extents = shape_of(source), shape_of(other)

    def wrapped(v: Vars) -> tuple[Expr, ...]:
        own: list[Expr] = [const(0, b.index)] * max(0, len(extents) - len(v)) + list(v[-len(extents) :])
        sizes = [1] * max(0, len(extents) - len(v)) + shape[-len(extents) :]
        return tuple(x if n <= m else x % m for x, n, m in zip(own, sizes, extents, strict=True))

    weight = const(b.pick([1, 3, 2]), source.type)
    return b.block(shape, lambda v, _: source[tuple(v)] + other[wrapped(v)] * weight, source.type)


def _diagonal(b: Builder, source: Buffer) -> Buffer:
    size = min(shape_of(source)[:2])
    return b.block([size, *shape_of(source)[2:]], lambda v, _: source[(v[0], v[0], *v[1:])], source.type)


def _branches(b: Builder, source: Buffer) -> Buffer:
    """Two readers of the buffer, and a reader of both."""
    shape = shape_of(source)
    one = b.block(shape, lambda v, _: source[tuple(v)] * const(2, source.type), source.type)
    two = b.block(shape, lambda v, _: source[(shape[0] - 1 - v[0], *v[1:])] + const(1, source.type), source.type)
    return b.block(shape, lambda v, _: one[tuple(v)] + two[tuple(v)], source.type)


# ---- buffers that are written more than once


def _update(b: Builder, source: Buffer) -> Buffer:
    """Every element, or some rows, of a buffer that may have been read before."""
    target: Buffer = b.pick([source, *[x for x in _buffers(b) if x.type == source.type]])
    size, *rest = shape_of(target)
    factor, low = const(b.pick([2, 3]), target.type), b.pick([0, 0, 1]) if size > 1 else 0

    def at(v: Vars) -> tuple[Expr, ...]:
        return (v[0] + low if low else v[0], *v[1:])

    b.block([size - low, *rest], lambda v, _: target[at(v)] * factor, target.type, into=target, at=at)
    return target


def _overwrite(b: Builder, source: Buffer) -> Buffer:
    """A buffer of the same shape gets the values of this one."""
    shape, addend = shape_of(source), const(b.pick([1, 2]), source.type)
    targets = [x for x in _buffers(b) if x.type == source.type and x is not source and shape_of(x) == shape]
    if not targets:
        middle = b.block(shape, lambda v, _: source[tuple(v)] * const(2, source.type), source.type)
        targets, source = [source], middle
    target, last = b.pick(targets), source
    turn = b.pick([False, True])

    def body(v: Vars, _: Vars) -> Expr:
        return last[(shape[0] - 1 - v[0], *v[1:]) if turn else tuple(v)] + addend

    return b.block(shape, body, target.type, into=target)


def _halves(b: Builder, source: Buffer) -> Buffer:
    """A buffer whose parts are written by two blocks."""
    size, *rest = shape_of(source)
    more = b.pick([1, 2])
    first = b.new([size + more, *rest], source.type)
    b.block([size, *rest], lambda v, _: source[tuple(v)], source.type, into=first)
    one = const(b.pick([1, 2]), source.type)
    b.block([more, *rest], lambda v, _: source[(v[0] % size, *v[1:])] + one, source.type, into=first,
            at=lambda v: (v[0] + size, *v[1:]))  # fmt: skip
    return first


def _accumulate(b: Builder, source: Buffer) -> Buffer:
    """A sum whose first values another block has written."""
    *shape, size = shape_of(source)
    total = b.block(shape, lambda v, _: source[(*v, const(0, b.index))], source.type)
    return b.block(shape, lambda v, k: source[(*v, k[0])], source.type, reduce=[size], combine=lambda a, x: a + x,
                   start=None, into=total)  # fmt: skip


# ---- blocks under one loop


def _rows(b: Builder, source: Buffer) -> Buffer:
    """A producer and its consumer, which reads the rows that are ready."""
    shape, zero = shape_of(source), _zero(source)
    depth = b.pick(range(1, len(shape) + 1))
    back, late = b.pick([0, 1]), b.pick([0, 0, 1])
    one = b.block(shape, lambda v, _: source[tuple(v)] * const(2, source.type), source.type, plain=True)

    def body(v: Vars, _: Vars) -> Expr:
        here = one[tuple(v)] + const(1, source.type)
        return here + _if(v[0] > 0, one[(v[0] - 1, *v[1:])], zero) if back else here

    two = b.block(shape, body, source.type, plain=True)
    if back or late:
        b.kept.append(one)
    b.together(depth, late)
    return two


def _ahead(b: Builder, source: Buffer) -> Buffer:
    """Rows are read ahead and then overwritten."""
    shape, zero = shape_of(source), _zero(source)

    def body(v: Vars, _: Vars) -> Expr:
        return source[tuple(v)] + _if(v[0] < shape[0] - 1, source[(v[0] + 1, *v[1:])], zero)

    read = b.block(shape, body, source.type, plain=True)
    b.block(shape, lambda v, _: read[tuple(v)] * const(2, source.type), source.type, into=source, plain=True)
    b.together()
    return source


def _row_sums(b: Builder, source: Buffer) -> Buffer:
    """A reduction per row and what comes of it, row by row."""
    *shape, size = shape_of(source)
    total = b.block(shape, lambda v, k: source[(*v, k[0])], source.type, reduce=[size],
                    combine=lambda a, x: binary(Max, a, x), start=lowest(source.type), plain=True)  # fmt: skip
    scaled = b.block([*shape, size], lambda v, _: source[tuple(v)] - total[tuple(v[:-1])], source.type, plain=True)
    b.together(b.pick(range(1, len(shape) + 1)))
    return scaled


# ---- reductions


def _fold(b: Builder, source: Buffer) -> Buffer:
    """Over any dimensions, by any operator, from any start."""
    shape, dtype = shape_of(source), source.type
    gone = b.pick([[len(shape) - 1], [0], [*range(len(shape))], [*range(1, len(shape))], [*range(len(shape))]]) or [0]
    kept = [d for d in range(len(shape)) if d not in gone]

    def element(v: Vars, k: Vars) -> Expr:
        values = iter(v)
        reduced = dict(zip(gone, k, strict=True))
        return source[tuple(reduced[d] if d in reduced else next(values) for d in range(len(shape)))]

    combine, start = _operator(b, dtype)
    return b.block([shape[d] for d in kept] or [1], element, dtype, reduce=[shape[d] for d in gone], combine=combine,
                   start=start)  # fmt: skip


def _operator(b: Builder, dtype: str) -> tuple[Callable[[Expr, Expr], Expr], Expr]:
    name = b.pick(["sum", "max", "min", "prod", "minus", "horner", "last", "first"])
    if name == "max":
        return lambda a, x: binary(Max, a, x), b.pick([lowest(dtype), const(0, dtype)])
    if name == "min":
        return lambda a, x: binary(Min, a, x), b.pick([highest(dtype), const(1, dtype)])
    if name == "prod":
        return lambda a, x: a * x, const(b.pick([1, 2]), dtype)
    if name == "minus":
        return lambda a, x: a - x, const(b.pick([0, 5]), dtype)
    if name == "horner":
        return lambda a, x: a * 2 + x, const(0, dtype)
    if name == "last":
        return lambda a, x: x, const(0, dtype)
    if name == "first":
        return lambda a, x: Select(a < x, x, a), lowest(dtype)
    return lambda a, x: a + x, const(b.pick([0, 0, 5]), dtype)


def _window(b: Builder, source: Buffer) -> Buffer:
    """Over a window that moves by one or two rows, with or without weights."""
    size, *rest = shape_of(source)
    width = min(size, b.pick([2, 3]))
    stride = b.pick([1, 2])
    weights = b.param([width], source.type) if b.pick([False, True]) else None

    def element(v: Vars, k: Vars) -> Expr:
        x = source[(v[0] * stride + k[0] if stride > 1 else v[0] + k[0], *v[1:])]
        return x if weights is None else x * weights[k[0]]

    combine, start = _operator(b, source.type) if weights is None else ((lambda a, x: a + x), _zero(source))
    return b.block([(size - width) // stride + 1, *rest], element, source.type, reduce=[width], combine=combine,
                   start=start)  # fmt: skip


def _best(b: Builder, source: Buffer) -> Buffer:
    """Value and index of the largest element of each row; of equal ones the first, or the one there before."""
    *shape, size = shape_of(source)
    where, best = b.new(shape, "int32"), b.new(shape, source.type)
    kept = b.pick([True, False])

    def stored(v: Vars, k: Vars) -> tuple[Stmt, Stmt]:
        index, x = tuple(v), source[(*v, k[0])]
        if dt.is_float(source.type):  # no NaN: regrouping a choice among them is another choice
            x = Max(x, const(-1000, source.type))
        at = as_expr(k[0]) if b.index == "int32" else k[0].astype("int32")
        greater = best[index] >= x if kept else best[index] > x
        first = greater if kept else Or(best[index] > x, And(EQ(best[index], x), where[index] < at))
        i, value = Var("index", "int32"), Var("value", source.type)
        stores = seq(BufferStore(where, i, index), BufferStore(best, value, index))
        inner = LetStmt(value, Select(greater, best[index], x), stores)
        init = seq(BufferStore(where, const(-1), index), BufferStore(best, lowest(source.type), index))
        return init, LetStmt(i, Select(first, where[index], at), inner)

    b.nest(shape, [size], stored)
    b.kept.append(where)
    return best


def _rank(*ranks: int) -> Callable[[Buffer], bool]:
    return lambda source: len(source.shape) in ranks


VARIED_STAGES = (
    Stage("reading", _reading),
    Stage("join", _join),
    Stage("update", _update),
    Stage("branches", _branches),
    Stage("overwrite", _overwrite),
    Stage("halves", _halves),
    Stage("fold", _fold),
    Stage("fold", _fold, _rank(2, 3)),
    Stage("rows", _rows),
    Stage("ahead", _ahead),
    Stage("window", _window),
    Stage("accumulate", _accumulate, _rank(2, 3)),
    Stage("row sums", _row_sums, _rank(2, 3)),
    Stage("best", _best, _rank(2, 3)),
    Stage("diagonal", _diagonal, _rank(2, 3)),
)
"""Kinds of blocks that put dependences of every sort into a program."""


# ---- sizes that are not known


def symbolic(pick: Choose) -> PrimFunc:
    """A program of one or two blocks over rows whose number the arguments say."""
    rows, width = Var("n"), const(pick([2, 3, 4]))
    source, middle = Buffer("A", (rows, width), "float32"), Buffer("T0", (rows, width), "float32")
    stmts: list[Stmt] = []
    inner: list[Buffer] = []
    if pick([False, True]):
        stmts.append(_symbolic_block("T0", [rows, width], 2, middle, lambda v: source[v[0], v[1]] * 2))
        inner, read = [middle], middle
    else:
        read = source
    if pick([True, False]):
        out = Buffer("T1", (rows, width), "float32")
        stmts.append(_symbolic_block("T1", [rows, width], 2, out, lambda v: read[v[0], v[1]] + 1))
    elif pick([True, False]):
        out = Buffer("T1", (rows,), "float32")
        stmts.append(_symbolic_block("T1", [rows, width], 1, out, lambda v: read[v[0], v[1]]))
    else:
        out = Buffer("T1", (width,), "float32")
        stmts.append(_symbolic_block("T1", [width, rows], 1, out, lambda v: read[v[1], v[0]]))
    root = make_block("root", seq(*stmts), alloc_buffers=inner)
    attrs = Attrs({"global_symbol": "main", "tir.noalias": True})
    return PrimFunc((source, out), BlockRealize((), (), root), attrs)


def _symbolic_block(
    name: str, extents: Sequence[Expr], spatial: int, out: Buffer, value: Callable[[Vars], Expr]
) -> Stmt:
    loops = [Var(n) for n in "ij"[: len(extents)]]
    iters = [Var(f"v{loop.name}") for loop in loops]
    kinds = ["spatial"] * spatial + ["reduce"] * (len(extents) - spatial)
    items = [IterVar(v, Range(const(0), n), kind) for v, n, kind in zip(iters, extents, kinds, strict=True)]
    index, init = tuple(iters[:spatial]), None
    body = value(iters)
    if spatial < len(extents):
        init, body = BufferStore(out, const(0, "float32"), index), out[index] + body
    stmt: Stmt = BufferStore(out, body, index)
    reads, writes = access_regions(stmt, init, dict(zip(iters, extents, strict=True)))
    block = make_block(name, stmt, iter_vars=items, reads=reads, writes=writes, init=init)
    result: Stmt = BlockRealize(tuple(loops), (), block)
    for loop, extent in reversed(list(zip(loops, extents, strict=True))):
        result = For(loop, const(0), extent, "serial", result)
    return result
