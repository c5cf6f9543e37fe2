"""Sites of the passes for narrow elements: private copies that are converted when they are read, sums of products of
integers, and what is like them but must stay as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref import dtype as dt
from mlcref.ir import (
    Add, AllocBuffer, Attrs, Broadcast, Buffer, BufferLoad, BufferStore, Cast, Expr, Mul, PrimFunc, Ramp, Stmt, Var,
    const, loop, seq, store,
)  # fmt: skip

Pick = Callable[..., Any]
_EXTENT, _LANES = 6, 4
_READ_AS = {
    "float16": ("float32", "float64", "bfloat16"), "bfloat16": ("float32", "float64"),
    "float8_e4m3fn": ("float32", "float16"), "float8_e5m2": ("float32", "float64"),
    "int8": ("int32", "int16", "int64", "float32"), "uint8": ("int32", "float32", "int16", "int8"), "int16": ("int32",),
}  # fmt: skip
"""Types of private copies, and what they are converted to."""


def private_copies(pick: Pick) -> PrimFunc:
    """A copy of an input, of its elements or of what narrowing makes of wider ones, and an output made of it by one or
    two loops that convert it, or that now and then store it as it is.
    """
    dtype = pick(["float16", "int8", "bfloat16", "uint8", "float8_e4m3fn", "float8_e5m2", "int16"])
    result = pick(_READ_AS[dtype])
    wide = "float32" if dt.is_float(dtype) else "int32"
    narrowed = pick([False, True])
    source = Buffer("A", (const(_EXTENT),), wide if narrowed else dtype)
    copy, out, plain = (Buffer(name, (const(_EXTENT),), t) for name, t in (("L", dtype), ("B", result), ("D", dtype)))

    def over(body: Callable[[Var], Stmt]) -> Stmt:
        i = Var("i", "int32")
        return loop(i, _EXTENT, body(i))

    def copied(i: Var) -> Stmt:
        value = Cast(dtype, source[i]) if narrowed else source[i]
        return store(copy, value + value if pick([False, False, True]) else value, [i])

    def product(i: Var) -> Stmt:
        other = copy[_EXTENT - 1 - i] if pick([False, True]) else copy[i]
        return store(out, Cast(result, copy[i]) * Cast(result, other), [i])

    parts = [over(copied), over(product)]
    params = [source, out]
    if pick([False, False, False, True]):
        params.append(plain)
        parts.append(over(lambda i: store(plain, copy[i], [i])))
    return PrimFunc(tuple(params), AllocBuffer(copy, seq(*parts)), Attrs({"global_symbol": "main"}))


def sums_of_products(pick: Pick) -> PrimFunc:
    """Up to four updates of vectors of one or two buffers: mostly a product is added to one and the same vector."""
    dtype = pick(["int32", "int32", "int32", "int64", "int16", "float32"])
    a, b = (Buffer(name, (const(4 * _LANES),), dtype) for name in "AB")
    sums = [Buffer(name, (const(2 * _LANES),), dtype) for name in "CD"]

    def vector(buffer: Buffer, start: int) -> BufferLoad:
        return BufferLoad(buffer, (Ramp(const(start), const(1), _LANES),))

    def factor() -> Expr:
        kind = pick(["vector", "vector", "one", "sum"])
        if kind == "one":
            return Broadcast(a[pick([0, 1, 2])], _LANES)
        return vector(pick(sums), 0) if kind == "sum" else vector(b, pick([0, 4, 1]))

    def update() -> Stmt:
        place = vector(pick([sums[0]] * 6 + [sums[1]]), pick([0] * 6 + [2, 4]))
        old = place if pick([True] * 5 + [False]) else vector(pick(sums), pick([0, 4]))
        value = Mul(factor(), factor()) if pick([True] * 5 + [False]) else factor()
        return BufferStore(place.buffer, Add(old, value), place.indices)

    return PrimFunc((a, b, *sums), seq(*[update() for _ in range(pick([2, 3, 4]))]),
                    Attrs({"global_symbol": "main", "tir.noalias": True}))  # fmt: skip


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {
    "pass:widen_copies": (private_copies,),
    "pass:join_sums": (sums_of_products,),
}
