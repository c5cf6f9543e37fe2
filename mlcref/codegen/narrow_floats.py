"""Float types of 8 and 16 bits as C text, on scalars and on GCC vectors: float16, bfloat16, float8_e5m2, float8_e4m3fn.

They are held as their bits. An operation is that of float32, rounded: 24 digits are more than twice those of the result
and two more, so that rounding twice is rounding once (Figueroa, "When is double rounding innocuous?", 1995). What has
more digits than float32 is first rounded to odd, which keeps apart what the second rounding must tell apart (Boldo and
Melquiond, "When double rounding is odd", 2005). There is a conversion after each operation, so that nothing is
contracted, with one exception: where the machine computes with vectors of float16 (AVX512-FP16), the compiler may
contract ``a * b + c`` of them as it may for float32. Scalars never have the type ``_Float16``: gcc 12 chooses between
two of them by an instruction that assemblers refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlcref import dtype as dt
from mlcref.codegen.vector_math import CFunction, lane_by_lane

NATIVE = "defined(__AVX512FP16__)"
"""The preprocessor's condition for arithmetic of vectors of float16."""

TYPES = """typedef uint16_t float16_t;
typedef uint16_t bfloat16_t;
typedef uint8_t float8_e4m3fn_t;
typedef uint8_t float8_e5m2_t;"""

def vector_type(dtype: str, attributes: str) -> str:
    """The definition of the C type of vectors of ``dtype``, with ``attributes``: of ``_Float16`` where the machine
    computes with such vectors. Their lanes are only ever read as :func:`bits_type`.
    """
    parsed = dt.parse(dtype)
    plain = f"typedef {parsed.element}_t {dtype} __attribute__(({attributes}));"
    if parsed.element != "float16" or parsed.lanes < _FEWEST_NATIVE:
        return plain
    return f"#if {NATIVE}\ntypedef _Float16 {dtype} __attribute__(({attributes}));\n#else\n{plain}\n#endif"


def bits_type(dtype: str) -> str:
    """The vector of integers that holds the bits of vectors of narrow floats; other types are their own.

    >>> bits_type("float16x8"), bits_type("float32x8")
    ('uint16x8', 'float32x8')
    """
    parsed = dt.parse(dtype)
    return dt.parse(f"uint{parsed.bits}").with_lanes(parsed.lanes) if is_narrow(dtype) else dtype


_FEWEST_NATIVE = 8

STORAGE = {
    "float16": "unsigned short", "bfloat16": "unsigned short", "float8_e4m3fn": "unsigned char",
    "float8_e5m2": "unsigned char",
}  # fmt: skip
"""The narrow types, and as what Cython takes their values, with which it does nothing but pass them on."""


@dataclass(frozen=True)
class _Format:
    """``digits`` of the significand in memory, the exponent's ``bias``, the bits of a float32 from which on the value
    ``overflows``, the ``overflow`` that it becomes then, a ``nan``, the ``special`` bits from which on there are no
    finite numbers, and what such numbers have ``set`` in float32.
    """

    digits: int
    bias: int
    overflows: str
    overflow: str
    nan: str
    special: str
    set: str


_FORMATS = {
    "float16": _Format(10, 15, "0x477ff000u", "0x7c00u", "0x7e00u", "0x7c00u", "0x7f800000u"),
    "float8_e5m2": _Format(2, 15, "0x47700000u", "0x7cu", "0x7eu", "0x7cu", "0x7f800000u"),
    "float8_e4m3fn": _Format(3, 7, "0x43e80001u", "0x7fu", "0x7fu", "0x7fu", "0x7fc00000u"),
}


def is_narrow(dtype: str) -> bool:
    """Is this one of the types here, with any number of lanes?

    >>> is_narrow("float16x8"), is_narrow("float32")
    (True, False)
    """
    return dt.parse(dtype).element in STORAGE


def widened(dtype: str) -> str:
    """The type in which ``dtype`` computes: float32, with as many lanes.

    >>> widened("bfloat16x8")
    'float32x8'
    """
    return dt.parse("float32").with_lanes(dt.lanes(dtype))


@dataclass(frozen=True)
class _Form:
    """How scalars or vectors of ``lanes`` are written."""

    lanes: int

    def kind(self, dtype: str) -> str:
        """The C type of ``dtype`` with these lanes."""
        if self.lanes > 1:
            return dt.parse(dtype).with_lanes(self.lanes)
        return {"float32": "float", "float64": "double"}.get(dtype, f"{dtype}_t")

    def name(self, dtype: str) -> str:
        """``dtype`` with these lanes."""
        return dt.parse(dtype).with_lanes(self.lanes)

    def convert(self, value: str, dtype: str) -> str:
        """``value`` converted as C does."""
        kind = self.kind(dtype)
        return f"__builtin_convertvector({value}, {kind})" if self.lanes > 1 else f"(({kind}){value})"

    def bits(self, value: str, dtype: str, target: str = "") -> str:
        """``value``, a narrow float of ``dtype``, as its bits; bits as a float of ``target``."""
        kind = self.kind(target) if target else bits_type(dtype)
        return f"(({kind}){value})" if self.lanes > 1 else value

    def mask(self, test: str, dtype: str = "uint32") -> str:
        """All bits set where ``test`` holds."""
        kind = self.kind(dtype)
        return f"(({kind})({test}))" if self.lanes > 1 else f"(-({kind})({test}))"

    def function(
        self, name: str, result: str, parameters: tuple[str, ...], body: str, needs: tuple[CFunction, ...] = (),
        inside: tuple[str, ...] = (),
    ) -> CFunction:  # fmt: skip
        """A function of these lanes; types are data types of one lane."""
        used = tuple([self.name(t) for t in (result, *parameters, *inside)]) if self.lanes > 1 else ()
        kinds = tuple([self.kind(t) for t in parameters])
        return CFunction(self.name_of(name), self.kind(result), kinds, body, needs, used)

    def name_of(self, name: str) -> str:
        """The name of a function of these lanes."""
        return f"{name}x{self.lanes}" if self.lanes > 1 else name


def constant_bits(value: float, dtype: str) -> str:
    """The bits of a constant, in C.

    >>> constant_bits(1.0, "bfloat16")
    '0x3f80'
    """
    element = dt.numpy_dtype(dtype)
    bits = element.type(value).tobytes()
    return hex(int.from_bytes(bits, "little" if element.byteorder != ">" else "big"))


def widen(dtype: str) -> CFunction:
    """``dtype``, a scalar or a vector, to float32: exact."""
    parsed = dt.parse(dtype)
    form = _Form(parsed.lanes)
    bits, value = form.kind("uint32"), form.kind("float32")
    start = f"{bits} b = {form.convert(form.bits('x0', dtype), 'uint32')}; {value} r;"
    if parsed.element == "bfloat16":
        body = f"{start} b <<= 16; __builtin_memcpy(&r, &b, sizeof r); return r;"
        body = _with_instruction(parsed.lanes, _SHIFTED if parsed.lanes == 16 else None, body)
    else:
        body = f"{start} {_widen_bits(_FORMATS[parsed.element], form, parsed.bits)}"
    if parsed.element == "float16":
        body = _with_instruction(parsed.lanes, _WIDENING.get(parsed.lanes), body)
    inside = (f"uint{parsed.bits}", "uint32")
    return form.function(f"widen_{parsed.element}", "float32", (parsed.element,), body, inside=inside)


def _widen_bits(f: _Format, form: _Form, bits: int) -> str:
    """Shifted into place the bits are the number times a power of two, also where it is subnormal."""
    top = 1 << (bits - 1)
    scale = float(2.0 ** (127 - f.bias)).hex()
    special = form.mask(f"m >= {f.special}")
    return (
        f"{form.kind('uint32')} m = b & {top - 1}u, t = m << {23 - f.digits}; __builtin_memcpy(&r, &t, sizeof r); "
        f"r *= {scale}f; __builtin_memcpy(&t, &r, sizeof t); "
        f"t |= ({special} & {f.set}) | ((b & {top}u) << {32 - bits}); "
        "__builtin_memcpy(&r, &t, sizeof r); return r;"
    )


def narrow(dtype: str) -> CFunction:
    """float32 to ``dtype``, a scalar or a vector: to nearest, half to even."""
    parsed = dt.parse(dtype)
    form = _Form(parsed.lanes)
    short = f"uint{parsed.bits}"
    bits = form.kind("uint32")
    start = f"{bits} b, r; __builtin_memcpy(&b, &x0, sizeof b); {bits} m = b & 0x7fffffffu;"
    end = f"return {form.bits(form.convert('r', short), short, parsed.element)};"
    if parsed.element == "bfloat16":
        nan = form.mask("m > 0x7f800000u")
        middle = f"r = (b + (0x7fffu + ((b >> 16) & 1u))) >> 16; r = (~{nan} & r) | ({nan} & ((b >> 16) | 0x40u));"
    else:
        middle = _narrow_bits(_FORMATS[parsed.element], form, parsed.bits)
    if form.lanes == 16 and parsed.bits == 16:
        end = _with_instruction(16, f"return ({form.kind(parsed.element)}){_HALVED};", end)
    body = f"{start} {middle} {end}"
    if parsed.element == "float16":
        body = _with_instruction(parsed.lanes, _NARROWING.get(parsed.lanes), body)
    return form.function(f"narrow_{parsed.element}", parsed.element, ("float32",), body, inside=(short, "uint32"))


def _narrow_bits(f: _Format, form: _Form, bits: int) -> str:
    """Normal numbers are rounded as integers, subnormal ones by the addition of a number whose last digit is theirs."""
    shift, kind = 23 - f.digits, form.kind("uint32")
    magic = 2.0 ** (1 - f.bias + shift)
    first = 128 - f.bias  # the exponent, in the bits of a float32, of the smallest normal number
    magic_bits = (128 - f.bias + shift) << 23
    small, large, nan = form.mask(f"m < {first << 23}u"), form.mask(f"m >= {f.overflows}"), form.mask("m > 0x7f800000u")
    return (
        f"{kind} n = (m + ({(1 << (shift - 1)) - 1}u + ((m >> {shift}) & 1u)) - {(127 - f.bias) << 23}u) >> {shift}; "
        f"{form.kind('float32')} t; __builtin_memcpy(&t, &m, sizeof t); t += {float(magic).hex()}f; "
        f"{kind} d; __builtin_memcpy(&d, &t, sizeof d); d -= {magic_bits}u; "
        f"{kind} e = {small}, o = {large}, q = {nan}; "
        f"r = (e & d) | (~e & ~o & n) | (o & ~q & {f.overflow}) | (q & {f.nan}) "
        f"| ((b >> {32 - bits}) & {1 << (bits - 1)}u);"
    )


_FLOATS, _SHORTS = ((f"({kind} __attribute__((vector_size({{}})))){{}}") for kind in ("float", "short"))


def _with_instruction(lanes: int, instruction: str | None, body: str) -> str:
    """An instruction for these lanes where gcc and the machine have it, else ``body``."""
    if instruction is None:
        return body
    guard = "defined(__AVX512F__)" if lanes == 16 else "defined(__F16C__)"
    return f"\n#if defined(__GNUC__) && !defined(__clang__) && {guard}\n{instruction}\n#else\n{body}\n#endif\n"


_WIDENING = {
    1: f"return __builtin_ia32_vcvtph2ps({_SHORTS.format(16, '{x0}')})[0];",
    8: f"return (float32x8)__builtin_ia32_vcvtph2ps256({_SHORTS.format(16, 'x0')});",
    16: f"return (float32x16)__builtin_ia32_vcvtph2ps512_mask({_SHORTS.format(32, 'x0')}, "
        f"{_FLOATS.format(64, '{0}')}, -1, 4);",
}
_INTS = "(int __attribute__((vector_size(64))))"
_SHIFTED = (
    f"uint32x16 b = (uint32x16)__builtin_ia32_pmovzxwd512_mask({_SHORTS.format(32, 'x0')}, {_INTS}{{0}}, -1); "
    "b <<= 16; return (float32x16)b;"
)
_HALVED = f"__builtin_ia32_pmovdw512_mask({_INTS}r, {_SHORTS.format(32, '{0}')}, -1)"
_NARROWING = {
    1: f"return __builtin_ia32_vcvtps2ph({_FLOATS.format(16, '{x0}')}, 0)[0];",
    8: "return (float16x8)__builtin_ia32_vcvtps2ph256(x0, 0);",
    16: f"return (float16x16)__builtin_ia32_vcvtps2ph512_mask(x0, 0, {_SHORTS.format(32, '{0}')}, -1);",
}


# ---- conversions from and to other types


def _to_odd(lanes: int) -> CFunction:
    """float64 to float32: towards zero, the last bit set where that is not exact."""
    form = _Form(lanes)
    bits = form.kind("uint32")
    wide = form.convert("r", "float64")
    over = f"(({wide} > x0) & (x0 > 0)) | (({wide} < x0) & (x0 < 0))"
    inexact = f"{wide} != x0"
    if lanes > 1:
        steps = f"{bits} o = __builtin_convertvector({over}, {bits}), i = __builtin_convertvector({inexact}, {bits});"
    else:
        steps = f"{bits} o = -({bits})({over}), i = -({bits})({inexact});"
    body = (
        f"{form.kind('float32')} r = {form.convert('x0', 'float32')}; {steps} {bits} b; "
        "__builtin_memcpy(&b, &r, sizeof b); b = (b + o) | (i & 1u); __builtin_memcpy(&r, &b, sizeof r); return r;"
    )
    return form.function("float32_to_odd", "float32", ("float64",), body, inside=("uint32", "int64"))


def from_other(source: str, dtype: str) -> CFunction:
    """A number of another type to ``dtype``: a scalar or a vector, rounded once."""
    target, parsed = dt.parse(dtype), dt.parse(source)
    form, name = _Form(target.lanes), f"{target.element}_from_{parsed.element}"
    if parsed.is_integer and parsed.bits == 64 and target.lanes > 1:
        one = from_other(parsed.element, target.element)
        body = lane_by_lane(bits_type(dtype), target.lanes, f"{one.name}(x0[i])")
        body = body.replace("return r;", f"return ({dtype})r;")
        return form.function(name, target.element, (parsed.element,), body, (one,), (f"uint{target.bits}",))
    round_ = narrow(dtype)
    if parsed.element == "float32":
        return round_
    needs: tuple[CFunction, ...] = (round_,)
    if is_narrow(source):
        wide = widen(source)
        value, needs = f"{wide.name}(x0)", (wide, round_)
    elif parsed.bits <= 16:
        value = form.convert("x0", "float32")
    else:
        odd = _to_odd(target.lanes)
        value, needs = f"{odd.name}({_as_double(form, parsed)})", (odd, round_)
    body = f"return {round_.name}({value});"
    return form.function(name, target.element, (parsed.element,), body, needs, ("float32", "float64"))


def _as_double(form: _Form, source: dt.DataType) -> str:
    """``x0`` as a double; of an integer too long for it the last bits become one that says whether they were set."""
    if source.bits < 64 or source.is_float:
        return form.convert("x0", "float64") if source.element != "float64" else "x0"
    large = "x0 > 9007199254740992" + (" || x0 < -9007199254740992" if source.code == "int" else "")
    return f"(double)(({large}) && (x0 & 0xfff) ? ((x0 & ~({source.element}_t)0xfff) | 0x800) : x0)"


def to_other(dtype: str, target: str) -> CFunction:
    """``dtype``, a scalar or a vector, to a type that is not narrow: floats are exact, integers lose the fraction."""
    parsed, wanted = dt.parse(dtype), dt.parse(target)
    wide = widen(dtype)
    if wanted.element == "float32":
        return wide
    form = _Form(parsed.lanes)
    body = f"return {form.convert(f'{wide.name}(x0)', wanted.element)};"
    name = f"{wanted.element}_from_{parsed.element}"
    return form.function(name, wanted.element, (parsed.element,), body, (wide,), ("float32",))


# ---- operations


def operation(name: str, symbol: str, dtype: str) -> CFunction:
    """``+``, ``-``, ``*`` or ``/`` of ``dtype``, a scalar or a vector."""
    parsed = dt.parse(dtype)
    form, wide, round_ = _Form(parsed.lanes), widen(dtype), narrow(dtype)
    body = f"return {round_.name}({wide.name}(x0) {symbol} {wide.name}(x1));"
    if parsed.element == "float16" and parsed.lanes >= _FEWEST_NATIVE:
        body = f"\n#if {NATIVE}\nreturn x0 {symbol} x1;\n#else\n{body}\n#endif\n"
    kinds = (parsed.element, parsed.element)
    return form.function(f"{name}_{parsed.element}", parsed.element, kinds, body, (wide, round_), ("float32",))


def comparison(name: str, symbol: str, dtype: str) -> CFunction:
    """A test of two values; of vectors, a mask of integers as wide as ``dtype``."""
    parsed = dt.parse(dtype)
    form, wide, mask = _Form(parsed.lanes), widen(dtype), f"int{parsed.bits}"
    test = f"{wide.name}(x0) {symbol} {wide.name}(x1)"
    value = form.convert(f"({test})", mask) if parsed.lanes > 1 else test
    kinds = (parsed.element, parsed.element)
    return form.function(f"{name}_{parsed.element}", mask, kinds, f"return {value};", (wide,), ("int32", "float32"))


def of_float32(name: str, inner: str, dtype: str, count: int, rounds: bool) -> CFunction:
    """The function ``inner`` of ``count`` float32 values (scalars or vectors) on ``dtype``; its result is a float that
    is rounded, or a truth value.
    """
    parsed = dt.parse(dtype)
    form, wide, round_ = _Form(parsed.lanes), widen(dtype), narrow(dtype)
    value = f"{inner}({', '.join(f'{wide.name}(x{i})' for i in range(count))})"
    if rounds:
        value = f"{round_.name}({value})"
    result, kinds = parsed.element if rounds else "int32", (parsed.element,) * count
    return form.function(f"{name}_{parsed.element}", result, kinds, f"return {value};", (wide, round_), ("float32",))
