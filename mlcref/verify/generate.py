"""Small valid programs, drawn by ``pick(options)``: what property tests transform, lower and compile.

Programs are chains of one to four blocks over small buffers: elementwise, broadcast, transpose, stencil, sum, max,
matrix product and, where asked for, gather, pad, reshape, conversion and intrinsics, with non-divisible extents, of
floats or integers. Every element of the output is written; every access is in bounds, whatever the inputs hold.

Options are ordered from simple to complex, so that a ``pick`` that minimises finds the simple program.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlcref import dtype as dt
from mlcref.ir import And, Buffer, Expr, FloorMod, Max, Min, PrimFunc, Var, binary, call, cast, const
from mlcref.verify.program_builder import STYLES, Builder, Choose, Stage, shape_of
from mlcref.verify.varied_stages import VARIED_STAGES, symbolic

EXTENTS = (2, 3, 4, 6, 8)
DTYPES = ("float32", "int32")
SMALL_EXTENTS = (2, 3, 4, 5, 6, 8, 1)
ALL_DTYPES = ("float32", "int32", "float64", "float16", "bfloat16", "int8", "int16", "int64", "uint8", "uint32")
_WIDER = {
    "float16": "float32", "bfloat16": "float32", "float32": "float64", "int8": "int32", "uint8": "int16",
    "int16": "float32", "int32": "int8", "int64": "int32", "uint32": "int64", "float64": "float32",
}  # fmt: skip
"""The conversions drawn: all have a meaning for every value (a float becomes no integer)."""


def _elementwise(b: Builder, source: Buffer) -> Buffer:
    factor = const(b.pick([1, 2, 3]), source.type)
    choice = b.pick(["scale", "shift", "relu"])

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        x = source[tuple(v)]
        if choice == "scale":
            return x * factor
        return x + factor if choice == "shift" else Max(x, const(0, source.type))

    return b.block(shape_of(source), body, source.type)


def _transpose(b: Builder, source: Buffer) -> Buffer:
    return b.block(shape_of(source)[::-1], lambda v, _: source[tuple(reversed(v))], source.type)


def _combine(b: Builder, source: Buffer) -> Buffer:
    """With another buffer of the same shape, or a row that is broadcast."""
    shape = shape_of(source)
    known = [x for x in (*b.made, *b.params) if x is not source and x.type == source.type]
    others = [x for x in known if shape_of(x) == shape]
    if others:
        other = b.pick(others)
        return b.block(shape, lambda v, _: source[tuple(v)] + other[tuple(v)], source.type)
    row = b.param(shape[-1:], source.type)
    return b.block(shape, lambda v, _: source[tuple(v)] + row[v[-1]], source.type)


def _stencil(b: Builder, source: Buffer) -> Buffer:
    shape = shape_of(source)
    if b.pick([False, True]) and shape[0] > 1:
        smaller = [shape[0] - 1, *shape[1:]]
        return b.block(smaller, lambda v, _: source[tuple(v)] + source[(v[0] + 1, *v[1:])], source.type)

    def padded(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        left = call("if_then_else", v[0] > 0, source[(v[0] - 1, *v[1:])], const(0, source.type))
        return source[tuple(v)] + left

    return b.block(shape, padded, source.type)


def _reduce(b: Builder, source: Buffer) -> Buffer:
    shape = shape_of(source)

    def element(v: Sequence[Var], k: Sequence[Var]) -> Expr:
        return source[(*v, *k)]

    if b.pick([False, True]):
        return b.block(shape[:-1], element, source.type, reduce=shape[-1:], combine=lambda a, x: a + x)
    low = -1000 if dt.is_float(source.type) else max(-1000, dt.integer_range(source.type)[0])
    return b.block(
        shape[:-1], element, source.type, reduce=shape[-1:], combine=lambda a, x: binary(Max, a, x), start=low
    )


def _matmul(b: Builder, source: Buffer) -> Buffer:
    shape = shape_of(source)
    columns = b.pick(b.extents)
    weight = b.param([shape[-1], columns], source.type)
    return b.block(
        [*shape[:-1], columns],
        lambda v, k: source[(*v[:-1], k[0])] * weight[k[0], v[-1]],
        source.type,
        reduce=shape[-1:],
        combine=lambda a, x: a + x,
    )


def _gather(b: Builder, source: Buffer) -> Buffer:
    """Rows in an order that the inputs decide; any input is brought into bounds."""
    shape, rows = shape_of(source), b.pick(b.extents)
    order = b.param([rows], "int32")
    last = const(shape[0] - 1)
    clamped = b.pick([True, False])

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        row = order[v[0]]
        inside = Min(Max(row, const(0)), last) if clamped else FloorMod(row, const(shape[0]))
        return source[(inside, *v[1:])]

    return b.block([rows, *shape[1:]], body, source.type)


def _pad(b: Builder, source: Buffer) -> Buffer:
    """With a border of a constant around the first dimension."""
    shape, border = shape_of(source), const(b.pick([0, 1]), source.type)
    before, after = b.pick([0, 1, 2]), b.pick([1, 2])

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        inside = And(v[0] >= before, v[0] < shape[0] + before)
        return call("if_then_else", inside, source[(v[0] - before, *v[1:])], border)

    return b.block([shape[0] + before + after, *shape[1:]], body, source.type)


def _flatten(b: Builder, source: Buffer) -> Buffer:
    rows, columns = shape_of(source)

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        return source[v[0] // columns, v[0] % columns]

    return b.block([rows * columns], body, source.type)


def _convert(b: Builder, source: Buffer) -> Buffer:
    target = _WIDER[source.type]
    return b.block(shape_of(source), lambda v, _: cast(target, source[tuple(v)]), target)


def _activate(b: Builder, source: Buffer) -> Buffer:
    name = b.pick(["sqrt", "tanh", "exp"])

    def body(v: Sequence[Var], _: Sequence[Var]) -> Expr:
        x = source[tuple(v)]
        if name == "tanh":
            return call(name, x)
        bounded = Max(x, const(0, source.type)) if name == "sqrt" else Min(x, const(4, source.type))
        return call(name, bounded)

    return b.block(shape_of(source), body, source.type)


def _has_columns(source: Buffer) -> bool:
    return len(source.shape) > 1


STAGES = (
    Stage("elementwise", _elementwise),
    Stage("transpose", _transpose),
    Stage("combine", _combine),
    Stage("stencil", _stencil),
    Stage("reduce", _reduce, _has_columns),
    Stage("matmul", _matmul, _has_columns),
)
ALL_STAGES = (  # those that always fit come first: their numbers stay when the shape before them shrinks
    *STAGES[:4],
    Stage("pad", _pad),
    Stage("gather", _gather),
    Stage("convert", _convert),
    *STAGES[4:],
    Stage("flatten", _flatten, lambda source: len(source.shape) == 2),
    Stage("activate", _activate, lambda source: dt.is_float(source.type)),
)


def program(
    pick: Choose,
    max_blocks: int = 4,
    *,
    dtypes: Sequence[str] = DTYPES,
    stages: Sequence[Stage] = STAGES,
    extents: Sequence[int] = EXTENTS,
) -> PrimFunc:
    """A valid schedulable program of at most ``max_blocks`` blocks, its output the last parameter.

    ``stages`` are the kinds of blocks, ``dtypes`` the types of the first input, ``extents`` the sizes of inputs.

    >>> from random import Random
    >>> func = program(Random(0).choice)
    >>> func.params[-1] in func.root.alloc_buffers
    False
    """
    b = Builder(pick, dtypes, extents)
    source = b.param([pick(extents) for _ in range(pick([1, 2, 2]))], b.dtype)
    more = True
    while more:  # asked after each block, so that a search for a smaller program can leave out any of them
        source = pick([stage for stage in stages if stage.fits(source)]).build(b, source)
        more = len(b.made) < max_blocks and pick([False, True, True, True])
    return b.function([source])


def varied(pick: Choose) -> PrimFunc:
    """A valid schedulable program for tests of transformations: a third of them are those of :func:`program`, the
    others have blocks of all kinds in nests of all styles, several outputs, several readers of a buffer, buffers that
    are written twice, blocks under one loop, and a few sizes that only the arguments say.

    >>> from random import Random
    >>> len(varied(Random(6).choice).params) > 1
    True
    """
    kind = pick(["plain"] * 10 + ["varied"] * 22 + ["symbolic"])
    if kind == "symbolic":
        return symbolic(pick)
    stages, dtypes = pick([(STAGES, DTYPES), (STAGES, DTYPES), (ALL_STAGES, ALL_DTYPES)])
    if kind == "plain":
        return program(pick, pick([1, 2, 3]), stages=stages, dtypes=dtypes, extents=SMALL_EXTENTS)
    b = Builder(pick, dtypes, SMALL_EXTENTS, STYLES, pick(["int32"] * 7 + ["int64"]))
    rank = pick([1, 2, 2, 2, 3])
    source = b.param([pick(SMALL_EXTENTS if rank < 3 else (2, 3, 1, 4)) for _ in range(rank)], b.dtype)
    for _ in range(pick([1, 2, 3])):
        source = pick([source, source, *b.made, *b.params])
        kinds = [stage for stage in pick([VARIED_STAGES, VARIED_STAGES, stages]) if stage.fits(source)]
        source = pick(kinds).build(b, source)
        if b.blocks > 2:
            break
    if b.made and pick([False, False, False, True]):
        b.kept.append(pick(b.made))
    return b.function(b.sinks())
