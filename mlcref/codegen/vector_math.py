"""Elementary functions as C text, on scalars and on GCC vectors of any length: one formula for both.

Every function is at most 2 ulp from the exact value, for every argument, denormal ones and results included; infinities
and NaN go where the reference of the intrinsic sends them. Nothing asks for fused multiply-add, and nothing breaks if
the compiler uses it; sums must not be reassociated. Coefficients are minimax polynomials (Remez's exchange algorithm,
computed with 60 digits); arguments are reduced as in Cody and Waite, "Software Manual for the Elementary Functions",
1980; the form of ``log`` is that of Tang, "Table-driven implementation of the logarithm function", 1990.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlcref import dtype as dt
from mlcref.codegen.vector_machine import with_builtin

_Lists = dict[str, tuple[float, ...]]

_COMMON: _Lists = {
    "LOG2E": (1.4426950408889634,),
    "LN2": (0.6931471805599453,),
}

_SINGLE: _Lists = {
    "LN2_HIGH": (0.693145751953125,),  # 16 bits: exact times any exponent
    "LN2_LOW": (1.428606820309417e-06,),
    "EXP_FROM": (-105.0,), "EXP_TO": (89.0,), "EXP2_FROM": (-151.0,), "EXP2_TO": (129.0,),
    "TANH_TO": (10.0,), "ERF_TO": (4.0,),
    # (exp(r) - 1 - r) / r**2
    "EXP": (0.5000000026940499, 0.16666576945514902, 0.041666375174584096, 0.008363183917014958, 0.0013941121268280538),
    # (2**r - 1) / r
    "EXP2": (0.6931471880323665, 0.2402265108411574, 0.05550357094717684, 0.009618030782836866, 0.0013390871108351697,
             0.0001546973184479076),
    # (log((1 + s) / (1 - s)) / s - 2) / z, z = s**2
    "LOG": (0.6666668532233285, 0.3998869586793646, 0.2958308767243314),
    # erf(x) / x - 1, of x**2 up to 1
    "ERF_NEAR": (0.12837916591455323, -0.37612627140203114, 0.11283600210281232, -0.026854445541398743,
                 0.0051895364159361655, -0.0008020845497148456, 7.889119051358215e-05),
    # log2(1 - erf(x)), of x - 1 for x from 1 on
    "ERF_FAR": (-2.6684168388686853, -3.807212381702629, -1.2165193920532205, -0.05918782025130625,
                0.01302171078786266, -0.001659684501745242),
    # (tanh(x) / x - 1) / z, z = x**2, for x up to 0.55
    "TANH_NEAR": (-0.3333333206101103, 0.13333118645342532, -0.05391013375400811, 0.021312567203280515,
                  -0.006614592155105476),
}  # fmt: skip

_DOUBLE: _Lists = {
    "LN2_HIGH": (0.6931471803691238,),  # 32 bits
    "LN2_LOW": (1.9082149292705877e-10,),
    "EXP_FROM": (-746.0,), "EXP_TO": (710.0,), "EXP2_FROM": (-1076.0,), "EXP2_TO": (1025.0,),
    "TANH_TO": (20.0,), "ERF_TO": (6.0,),
    "EXP": (0.5000000000000001, 0.16666666666666674, 0.04166666666662412, 0.008333333333322207, 0.0013888888917217117,
            0.00019841269886590853, 2.4801521291501768e-05, 2.7557242336866204e-06, 2.762009026715767e-07,
            2.511004981851042e-08),
    "EXP2": (0.6931471805599453, 0.24022650695910072, 0.055504108664821625, 0.009618129107628487,
             0.0013333558146406469, 0.00015403530393354775, 1.5252733841559674e-05, 1.321548682329612e-06,
             1.0178057086433279e-07, 7.054891467853578e-09, 4.4558181123285643e-10, 2.5737813434157112e-11),
    "LOG": (0.666666666666667, 0.39999999999897884, 0.28571428626651846, 0.22222211031710962, 0.1818289620906606,
            0.1533149774552984, 0.1461909698169215),
    "ERF_NEAR": (0.1283791670955126, -0.3761263890318375, 0.11283791670954885, -0.026866170645077875,
                 0.005223977624828421, -0.0008548326981425121, 0.00012055331132944123, -1.4925595771968367e-05,
                 1.6461008475286604e-06, -1.6350396204132904e-07, 1.4660328642637993e-08, -1.137495558164706e-09,
                 5.960685310428274e-11),
    "ERF_FAR": (-2.6684166967815997, -3.807225345853604, -1.216346657686163, -0.05995999003881802,
                0.014475750108817895, -0.0028535102261739447, 0.00034238396741805086, 3.791095937724054e-05,
                -3.918231586638898e-05, 1.3862713306685278e-05, -2.971624925571724e-06, 2.0612834381970394e-07,
                1.4072889998764952e-07, -7.507358109030095e-08, 2.1512221917564787e-08, -4.1318199745329245e-09,
                5.312502400738254e-10, -4.157017553515162e-11, 1.4990220724860188e-12),
    "TANH_NEAR": (-0.3333333333333333, 0.13333333333332723, -0.05396825396744069, 0.021869488493856705,
                  -0.008863234399922324, 0.0035921103806371086, -0.001455661665505591, 0.0005889344598425574,
                  -0.00023462796067304977, 8.50990243481369e-05, -2.0591092664562472e-05),
}  # fmt: skip


@dataclass(frozen=True)
class _Type:
    """A float type as the texts below speak of it: ``float32``, ``float64x8``, …"""

    name: str

    @property
    def lanes(self) -> int:
        return dt.lanes(self.name)

    @property
    def single(self) -> bool:
        return dt.parse(self.name).bits == 32

    @property
    def element(self) -> str:
        return "float" if self.single else "double"

    @property
    def values(self) -> str:
        """The C type of the values."""
        return self.name if self.lanes > 1 else self.element

    @property
    def bits(self) -> str:
        """The C type of their bits, and of what a comparison gives."""
        width = dt.parse(self.name).bits
        return f"int{width}x{self.lanes}" if self.lanes > 1 else f"int{width}_t"

    @property
    def mantissa(self) -> int:
        """Bits of the significand in memory."""
        return 23 if self.single else 52

    @property
    def one(self) -> str:
        """The bits of 1.0."""
        return "0x3f800000" if self.single else "0x3ff0000000000000"

    @property
    def magic(self) -> str:
        """1.5 times the power of two at which floats are integers: adding it rounds to the nearest integer."""
        return self.literal(1.5 * 2.0**self.mantissa)

    @property
    def magic_bits(self) -> str:
        """The bits of :attr:`magic`."""
        return "0x4b400000" if self.single else "0x4338000000000000"

    def literal(self, value: float) -> str:
        """A C constant, exact in binary."""
        text = f"{value.hex()}{'f' if self.single else ''}"
        return f"({text})" if value < 0 else text

    def number(self, name: str) -> str:
        """A constant of the tables."""
        return self.literal(self.table(name)[0])

    def table(self, name: str) -> tuple[float, ...]:
        """The numbers of that name."""
        return {**_COMMON, **(_SINGLE if self.single else _DOUBLE)}[name]

    def polynomial(self, name: str, variable: str) -> str:
        """Horner's rule over a table."""
        lowest, *higher = self.table(name)
        inner = ""
        for coefficient in reversed(higher):
            inner = f"({inner} * {variable} + {self.literal(coefficient)})" if inner else self.literal(coefficient)
        return f"({inner} * {variable} + {self.literal(lowest)})"


@dataclass(frozen=True, slots=True)
class CFunction:
    """One C function: its name, the C types of result and parameters (called x0, x1, …), the lines of its body, the
    functions that it calls, and the data types of the vectors in it.
    """

    name: str
    result: str
    parameters: tuple[str, ...]
    body: str
    needs: tuple[CFunction, ...]
    vectors: tuple[str, ...]


def lane_by_lane(result: str, lanes: int, value: str) -> str:
    """The body of a function whose vector result is ``value`` in lane ``i``.

    Lanes of masks must not be read: gcc 12 takes ``m[i] ? 1 : 0`` of a comparison ``m`` for -1 where it holds.
    """
    return f"{result} r; for (int i = 0; i < {lanes}; i++) r[i] = {value}; return r;"


def elementary(name: str, dtype: str) -> CFunction | None:
    """The function ``name`` (one of :data:`NAMES`) on ``dtype``, a float32 or float64 scalar or vector; None for other
    functions and data types.

    >>> elementary("exp", "float32x16").result, elementary("exp", "float16"), elementary("atan2", "float32")
    ('float32x16', None, None)
    """
    if name not in _FUNCTIONS or dt.parse(dtype).element not in ("float32", "float64"):
        return None
    return _made(name, _Type(dtype))


def _made(name: str, t: _Type) -> CFunction:
    kinds, body, needs = _FUNCTIONS[name] if name in _FUNCTIONS else _PARTS[name]
    spelled = {"F": t.values, "I": t.bits, "E": t.element}
    result, *parameters = [spelled[kind] for kind in kinds]
    made = tuple([_made(part, t) for part in needs])
    vectors = (t.name, t.bits) if t.lanes > 1 else ()
    return CFunction(f"{name}_{t.name}", result, tuple(parameters), body(t), made, vectors)


# ---- parts: what differs between scalars and vectors


def _bits(t: _Type) -> str:
    if t.lanes > 1:
        return f"return ({t.bits})x0;"
    return f"union {{ {t.element} value; {t.bits} bits; }} u; u.value = x0; return u.bits;"


def _value(t: _Type) -> str:
    if t.lanes > 1:
        return f"return ({t.values})x0;"
    return f"union {{ {t.element} value; {t.bits} bits; }} u; u.bits = x0; return u.value;"


def _below(t: _Type) -> str:
    """The third argument where the first is less than the second, else the fourth."""
    return _choice(t, "<")


def _equal(t: _Type) -> str:
    """The third argument where the first is equal to the second, else the fourth."""
    return _choice(t, "==")


def _choice(t: _Type, symbol: str) -> str:
    if t.lanes == 1:
        return f"return x0 {symbol} x1 ? x2 : x3;"
    return f"{t.bits} m = x0 {symbol} x1; return ({t.values})((m & ({t.bits})x2) | (~m & ({t.bits})x3));"


def _greater(t: _Type) -> str:
    """The first argument if it is greater than the second, else the second, NaN too."""
    return extremum_body(t.name, ">")


def _smaller(t: _Type) -> str:
    """The first argument if it is less than the second, else the second, NaN too."""
    return extremum_body(t.name, "<")


def extremum_body(dtype: str, symbol: str) -> str:
    """The body of a maximum (``>``) or minimum (``<``) of floats: the second operand unless the first is beyond it."""
    t = _Type(dtype)
    if t.lanes == 1:
        return f"return x0 {symbol} x1 ? x0 : x1;"
    masked = f"{t.bits} m = x0 {symbol} x1; return ({t.values})((m & ({t.bits})x0) | (~m & ({t.bits})x1));"
    return with_builtin("max" if symbol == ">" else "min", dtype, masked)


def _all(t: _Type) -> str:
    return f"return x0 - ({t.values}){{0}};" if t.lanes > 1 else "return x0;"


def _sqrt(t: _Type) -> str:
    root = "__builtin_sqrtf" if t.single else "__builtin_sqrt"
    if t.lanes == 1:
        return f"return {root}(x0);"
    return with_builtin("sqrt", t.name, lane_by_lane(t.values, t.lanes, f"{root}(x0[i])"))


# ---- parts: the same for both


def _power(t: _Type) -> str:
    """2 to the power of an integer, a normal number; multiples of ``1 << (bits - mantissa)`` in it do not count."""
    return f"return value_{t.name}((x0 << {t.mantissa}) + {t.one});"


def _scale(t: _Type) -> str:
    """``x0 * 2**x1``, rounded once; x2 has the bits of ``x1 + magic``. In two steps, of which the first is exact."""
    halves = f"{t.bits} k = x2 - {t.magic_bits}, half = k >> 1;"
    steps = f"{halves} return x0 * power_{t.name}(half) * power_{t.name}(k - half);"
    return with_builtin("scale", t.name, steps) if t.lanes > 1 else steps


def _magnitude(t: _Type) -> str:
    return f"return value_{t.name}(bits_{t.name}(x0) & ~{_sign(t)});"


def _sign(t: _Type) -> str:
    return "(int32_t)0x80000000" if t.single else "(int64_t)0x8000000000000000"


def _signed_as(t: _Type) -> str:
    """``x0``, which is not negative, with the sign of ``x1``."""
    return f"return value_{t.name}(bits_{t.name}(x0) | (bits_{t.name}(x1) & {_sign(t)}));"


def _reduced(t: _Type) -> str:
    """The lines that write ``a`` as ``n * log(2) + r``; the last bits of ``t`` are n."""
    return f"""
    {t.values} t = a * {t.number("LOG2E")} + {t.magic};
    {t.values} n = t - {t.magic};
    {t.values} r = a - n * {t.number("LN2_HIGH")} - n * {t.number("LN2_LOW")};"""


def _clamped(t: _Type, least: str, most: str) -> str:
    """``x0`` between two constants; NaN stays."""
    return f"""
    {t.values} least = all_{t.name}({t.number(least)}), most = all_{t.name}({t.number(most)});
    {t.values} a = smaller_{t.name}(most, greater_{t.name}(least, x0));"""


# ---- the functions


def _exp(t: _Type) -> str:
    return f"""{_clamped(t, "EXP_FROM", "EXP_TO")}{_reduced(t)}
    return scale_{t.name}((r * {t.polynomial("EXP", "r")} + 1) * r + 1, n, bits_{t.name}(t));"""


def _exp2(t: _Type) -> str:
    return f"""{_clamped(t, "EXP2_FROM", "EXP2_TO")}
    {t.values} t = a + {t.magic};
    {t.values} n = t - {t.magic};
    {t.values} r = a - n;
    return scale_{t.name}(1 + r * {t.polynomial("EXP2", "r")}, n, bits_{t.name}(t));"""


def _sigmoid(t: _Type) -> str:
    """With ``e = exp(-|x|)``, which cannot overflow: 1 / (1 + e) or e / (1 + e), as what is left of 1 or e."""
    return f"""
    {t.values} e = exp_{t.name}(-magnitude_{t.name}(x0));
    {t.values} w = below_{t.name}(x0, all_{t.name}(0), e, all_{t.name}(1));
    return w - w * (e / (1 + e));"""


def _tanh(t: _Type) -> str:
    """Up to 0.55 a polynomial, beyond it, with ``e = exp(2 |x|) - 1``, e / (e + 2)."""
    return f"""
    {t.values} b = magnitude_{t.name}(x0);
    b = smaller_{t.name}(all_{t.name}({t.number("TANH_TO")}), b);
    {t.values} z = b * b;
    {t.values} near = b + b * (z * {t.polynomial("TANH_NEAR", "z")});
    {t.values} a = 2 * b;{_reduced(t)}
    {t.values} p = r * r * {t.polynomial("EXP", "r")} + r;
    {t.values} s = power_{t.name}(bits_{t.name}(t));
    {t.values} e = p * s + (s - 1);
    return signed_{t.name}(below_{t.name}(b, all_{t.name}({t.literal(0.55)}), near, e / (e + 2)), x0);"""


def _erf(t: _Type) -> str:
    """Up to 1 a polynomial, beyond it ``1 - 2**q`` with a polynomial q."""
    return f"""
    {t.values} b = magnitude_{t.name}(x0);
    b = smaller_{t.name}(all_{t.name}({t.number("ERF_TO")}), b);
    {t.values} z = b * b;
    {t.values} near = b + b * {t.polynomial("ERF_NEAR", "z")};
    {t.values} d = b - 1;
    {t.values} q = {t.polynomial("ERF_FAR", "d")};
    {t.values} t = q + {t.magic};
    {t.values} r = q - (t - {t.magic});
    {t.values} far = 1 - power_{t.name}(bits_{t.name}(t)) * (1 + r * {t.polynomial("EXP2", "r")});
    return signed_{t.name}(below_{t.name}(b, all_{t.name}(1), near, far), x0);"""


def _split(t: _Type) -> str:
    """The lines that write ``x0`` as ``(1 + f) * 2**k``, ``1 + f`` around 1, and make ``c = f - log(1 + f)``."""
    tiny = 2.0 ** (-126 if t.single else -1022)
    middle = "0x3f3504f3" if t.single else "0x3fe6a09e667f3bcd"
    shift = float(t.mantissa)
    return f"""
    {t.values} tiny = all_{t.name}({t.literal(tiny)});
    {t.bits} b = bits_{t.name}(below_{t.name}(x0, tiny, x0 * {t.literal(2.0**t.mantissa)}, x0));
    {t.bits} e = (b - {middle}) >> {t.mantissa};
    {t.values} f = value_{t.name}(b - (e << {t.mantissa})) - 1;
    {t.values} k = value_{t.name}(e + {t.magic_bits}) - {t.magic};
    k = below_{t.name}(x0, tiny, k - {t.literal(shift)}, k);
    {t.values} s = f / (2 + f);
    {t.values} z = s * s;
    {t.values} h = {t.literal(0.5)} * f * f;
    {t.values} v = s * (h + z * {t.polynomial("LOG", "z")});"""


def _at_the_ends(t: _Type) -> str:
    """The result ``r`` of a logarithm, or what it is at 0, below and at infinity."""
    f = "f" if t.single else ""
    infinity, nan = f"all_{t.name}(__builtin_inf{f}())", f'all_{t.name}(__builtin_nan{f}(""))'
    return f"""
    {t.values} zero = all_{t.name}(0), infinity = {infinity};
    r = below_{t.name}(x0, infinity, r, x0);
    r = below_{t.name}(x0, zero, {nan}, r);
    return equal_{t.name}(x0, zero, -infinity, r);"""


def _log(t: _Type) -> str:
    r = f"k * {t.number('LN2_HIGH')} - ((h - (v + k * {t.number('LN2_LOW')})) - f)"
    return f"""{_split(t)}
    {t.values} r = {r};{_at_the_ends(t)}"""


def _log2(t: _Type) -> str:
    return f"""{_split(t)}
    {t.values} r = k + (f - (h - v)) * {t.number("LOG2E")};{_at_the_ends(t)}"""


def _rsqrt(t: _Type) -> str:
    return f"return 1 / sqrt_{t.name}(x0);"


_Row = tuple[str, Callable[[_Type], str], tuple[str, ...]]
"""Kinds of result and parameters (F floats, I their bits, E one element), the body, the parts that it calls."""

_PARTS: dict[str, _Row] = {
    "bits": ("IF", _bits, ()), "value": ("FI", _value, ()), "below": ("FFFFF", _below, ()),
    "equal": ("FFFFF", _equal, ()), "greater": ("FFF", _greater, ()), "smaller": ("FFF", _smaller, ()),
    "all": ("FE", _all, ()),
    "power": ("FI", _power, ("value",)), "scale": ("FFFI", _scale, ("power",)),
    "magnitude": ("FF", _magnitude, ("bits", "value")), "signed": ("FFF", _signed_as, ("bits", "value")),
}  # fmt: skip

_FUNCTIONS: dict[str, _Row] = {
    "exp": ("FF", _exp, ("bits", "greater", "smaller", "all", "scale")),
    "exp2": ("FF", _exp2, ("bits", "greater", "smaller", "all", "scale")),
    "log": ("FF", _log, ("bits", "value", "below", "equal", "all")),
    "log2": ("FF", _log2, ("bits", "value", "below", "equal", "all")),
    "tanh": ("FF", _tanh, ("bits", "below", "smaller", "all", "power", "magnitude", "signed")),
    "erf": ("FF", _erf, ("bits", "below", "smaller", "all", "power", "magnitude", "signed")),
    "sigmoid": ("FF", _sigmoid, ("exp", "below", "all", "magnitude")),
    "sqrt": ("FF", _sqrt, ()),
    "rsqrt": ("FF", _rsqrt, ("sqrt",)),
}

NAMES = tuple(_FUNCTIONS)
"""The intrinsics that have a formula here."""
