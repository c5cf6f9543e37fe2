"""Vectors divided by one number: products with its reciprocal, corrected to the very quotients that division gives.

Division takes several times as long as a multiplication, and a compiler may not exchange them. With the reciprocal y,
the number nearest to 1 / s, and what it lacks of 1 / s, ``x * y + x * lacking`` is less than one unit of the last place
from x / s; then the remainder, which fused multiply-add gives without an error, leads to the nearest number.
Source: Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor" (1990).
That holds as long as nothing underflows or overflows. A vector with elements too small, too large, negative zero or NaN
is divided, and all are where the divisor is negative, or far from 1.
"""

from __future__ import annotations

from mlcref import dtype as dt
from mlcref.codegen.vector_math import CFunction

_BITS = 512
"""Vectors of that size have the instructions that this takes: fused multiply-add and comparisons to masks."""


def division_by_one(dtype: str) -> CFunction | None:
    """The function that divides a vector of ``dtype`` by one whose elements are all the same; None for types that are
    divided as they are.

    >>> division_by_one("float32x16").name, division_by_one("float32x8"), division_by_one("int32x16")
    ('divide_by_one_float32x16', None, None)
    """
    parsed = dt.parse(dtype)
    if parsed.element not in ("float32", "float64") or parsed.bits * parsed.lanes != _BITS:
        return None
    single = parsed.bits == 32
    body = _body(dtype, single)
    return CFunction(f"divide_by_one_{dtype}", dtype, (dtype, dtype), body, (), (dtype,))


def _body(kind: str, single: bool) -> str:
    """Elements from 2**low to 2**high, and zero, by a divisor from 2**-far to 2**far, have quotients and remainders
    that are exact multiples of normal numbers' last places."""
    suffix, letters, mantissa, bias = ("f", "ps", 23, 127) if single else ("", "pd", 52, 1023)
    low, high, far = (-80, 60, 40) if single else (-600, 500, 300)
    least, span = (bias + low) << mantissa, (high - low) << mantissa
    element, word, mask = ("float", "int", "unsigned short") if single else ("double", "long long", "unsigned char")
    compare = "d512_mask" if single else "q512_mask"
    size = ((1 << (mantissa + 8)) if single else (1 << (mantissa + 11))) - 1

    def multiply_add(a: str, b: str, c: str) -> str:
        return f"__builtin_ia32_vfmadd{letters}512_mask({a}, {b}, {c}, -1, 4)"

    return f"""
    #if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__)
    {element} s = x1[0], y = 1 / s, lacking = __builtin_fma{suffix}(-y, s, 1) * y;
    {kind} none = {{0}}, all = y - none;
    typedef {word} words __attribute__((vector_size(64)));
    words zero = {{0}}, size = ((words)x0 & {size:#x}) - {least:#x};
    {mask} outside = __builtin_ia32_cmp{compare}((words)x0, zero, 4,
                     __builtin_ia32_ucmp{compare}(size, {span:#x} - zero, 6, ({mask})-1));
    if (__builtin_expect(!outside && s >= {2.0**-far!r}{suffix} && s <= {2.0**far!r}{suffix}, 1)) {{
        {kind} q = {multiply_add("x0", "all", "x0 * lacking")};
        return {multiply_add(multiply_add("-q", "x1", "x0"), "all", "q")};
    }}
    #endif
    return x0 / x1;
    """
