"""Operations on float vectors that are one instruction of some machines: a builtin function of gcc where there is one.

A loop over lanes would do where gcc makes a vector of it; it does not where single lanes are used, too. Other compilers
and machines take the portable form.
"""

from __future__ import annotations

from mlcref import dtype as dt

_GUARDS = {512: "__AVX512F__", 256: "__AVX__", 128: "__SSE2__"}
_SCALE_GUARDS = {512: "__AVX512F__", 256: "__AVX512VL__", 128: "__AVX512VL__"}


def with_builtin(operation: str, dtype: str, otherwise: str) -> str:
    """The body of a function of float vectors: ``max``, ``min`` (the second operand unless the first is beyond it),
    ``sqrt`` or ``scale`` (x0 times 2 to the power of the float x1); ``otherwise`` is the body without a builtin.

    >>> print(with_builtin("max", "float32x8", "return portable(x0, x1);").strip().splitlines()[1].strip())
    return __builtin_ia32_maxps256(x0, x1);
    """
    parsed = dt.parse(dtype)
    width = parsed.bits * parsed.lanes
    guard = (_SCALE_GUARDS if operation == "scale" else _GUARDS).get(width)
    if guard is None:
        return otherwise
    call = _builtin(operation, "ps" if parsed.bits == 32 else "pd", width)
    return f"""
    #if defined(__GNUC__) && !defined(__clang__) && defined({guard})
    return {call};
    #else
    {otherwise}
    #endif
    """


def _builtin(operation: str, suffix: str, width: int) -> str:
    """The call. Of 512 bits: with a mask of all lanes and the current direction of rounding."""
    size = "" if width == 128 else str(width)
    operands = "x0" if operation == "sqrt" else "x0, x1"
    if operation == "scale":
        rounding = ", 4" if width == 512 else ""
        return f"__builtin_ia32_scalef{suffix}{width}_mask(x0, x1, x0, -1{rounding})"
    if width == 512:
        return f"__builtin_ia32_{operation}{suffix}512_mask({operands}, x0, -1, 4)"
    return f"__builtin_ia32_{operation}{suffix}{size}({operands})"
