"""Sums of two products of short integers in each lane: ``sum + (a[0] * b[2 i] + a[1] * b[2 i + 1])`` in lane ``i``.

Some machines have an instruction for it: ``vpdpwssd`` (AVX512-VNNI), or ``vpmaddwd`` and an addition. Both wrap as
32-bit integers do and saturate nowhere, so that they are exact; elements of 8 bits are widened to 16 first.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlcref import arith
from mlcref import dtype as dt
from mlcref.codegen.vector_math import CFunction
from mlcref.ir import Add, Broadcast, BufferLoad, Cast, Expr, Mul, Ramp, constant

_SHORT = ("int8", "uint8", "int16")


@dataclass(frozen=True, slots=True)
class Pairs:
    """``sum``, the first of the two factors ``one`` of all lanes, and the first vector of the factors ``many``."""

    sum: Expr
    one: BufferLoad
    many: BufferLoad

    def function(self) -> CFunction:
        """The C function of the sum, of a pointer to the two factors, and of one to the factors of all lanes."""
        lanes = dt.lanes(self.sum.dtype)
        one, many = self.one.buffer.type, self.many.buffer.type
        kind, shorts, factors = f"int32x{lanes}", f"int16x{2 * lanes}", f"{many}x{2 * lanes}"
        vectors = (kind, f"uint32x{lanes}", shorts, factors, f"{one}x{2 * lanes}", f"uint16x{lanes}")
        parameters = (kind, f"{one}_t*", f"{many}_t*")
        return CFunction(f"dot_{one}_{many}_{kind}", kind, parameters, _body(lanes, one, many), (), vectors)


def pairs_of(expr: Add) -> Pairs | None:
    """The sum of two products that ``expr`` is, None for any other sum."""
    both = expr.b
    if dt.parse(expr.dtype).element != "int32" or not isinstance(both, Add):
        return None
    first, second = _factors(both.a), _factors(both.b)
    if first is None or second is None or not all(map(_neighbours, first, second)):
        return None
    return Pairs(expr.a, *first)


def _factors(product: Expr) -> tuple[BufferLoad, BufferLoad] | None:
    """A short integer that all lanes share, and one of each lane, every other element."""
    if not isinstance(product, Mul):
        return None
    a, b = product.a, product.b
    one, many = (a, b) if isinstance(a, Broadcast) else (b, a)
    if not isinstance(one, Broadcast):
        return None
    x, y = _short(one.value), _short(many)
    if x is None or y is None or not y.indices or not isinstance(y.indices[-1], Ramp):
        return None
    return (x, y) if constant(y.indices[-1].stride) == 2 and x.indices else None


def _short(expr: Expr) -> BufferLoad | None:
    load = expr.value if isinstance(expr, Cast) else None
    return load if isinstance(load, BufferLoad) and load.buffer.type in _SHORT else None


def _neighbours(first: BufferLoad, second: BufferLoad) -> bool:
    """Is ``second`` one element after ``first``, in each lane?"""
    if first.buffer is not second.buffer:
        return False
    if [arith.expr_key(index) for index in first.indices[:-1]] != [arith.expr_key(i) for i in second.indices[:-1]]:
        return False
    starts = [i.base if isinstance(i, Ramp) else i for i in (first.indices[-1], second.indices[-1])]
    return arith.linear(starts[1] - starts[0], {}).number() == 1


def _body(lanes: int, one: str, many: str) -> str:
    portable = (
        f"for (int i = 0; i < {lanes}; i++) x0[i] = (int32_t)((uint32_t)x0[i] + (uint32_t)(x1[0] * x2[2 * i]) "
        "+ (uint32_t)(x1[1] * x2[2 * i + 1])); return x0;"
    )
    sums = _SUMS.get(lanes)
    if sums is None:
        return portable
    branches = [f"#elif {_GCC} && {guard}\n{_operands(lanes, one, many)} {value}\n" for guard, value in sums]
    return f"\n{''.join(branches).replace('#elif', '#if', 1)}#else\n{portable}\n#endif\n"


def _operands(lanes: int, one: str, many: str) -> str:
    """Vectors ``a`` and ``b`` of 16-bit integers from the two pointers."""
    count = 2 * lanes
    b = f"{many}x{count} m; __builtin_memcpy(&m, x2, sizeof m); int16x{count} b = "
    b += "m;" if many == "int16" else f"__builtin_convertvector(m, int16x{count});"
    size = dt.parse(one).bits * 2
    splat = f"uint{size}_t p; __builtin_memcpy(&p, x1, sizeof p); uint{size}x{lanes} w = p - (uint{size}x{lanes}){{0}};"
    a = f"int16x{count} a = "
    a += f"(int16x{count})w;" if one == "int16" else f"__builtin_convertvector(({one}x{count})w, int16x{count});"
    return f"{b} {splat} {a}"


_GCC = "defined(__GNUC__) && !defined(__clang__)"
_SUMS = {
    16: (
        ("defined(__AVX512VNNI__) && defined(__AVX512BW__)",
         "return (int32x16)__builtin_ia32_vpdpwssd_v16si(x0, (int32x16)a, (int32x16)b);"),
        ("defined(__AVX512BW__)",
         "return (int32x16)((uint32x16)x0 + (uint32x16)__builtin_ia32_pmaddwd512_mask(a, b, (int32x16){0}, -1));"),
    ),
    8: (("defined(__AVX2__)", "return (int32x8)((uint32x8)x0 + (uint32x8)__builtin_ia32_pmaddwd256(a, b));"),),
    4: (("defined(__SSE2__)", "return (int32x4)((uint32x4)x0 + (uint32x4)__builtin_ia32_pmaddwd128(a, b));"),),
}  # fmt: skip
