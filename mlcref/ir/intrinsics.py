"""The functions that expressions may call: one table for parser, oracle and code generators.

A reference function takes and returns plain Python numbers; for floats it computes in float64 (``math``) and the caller
rounds the result once to the type of the call. That is the meaning of the function: engines share this table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch
from mlcref.ir import references
from mlcref.ir.expr import Call, Expr, ExprLike, StringImm, as_expr, match_types
from mlcref.records import dataclass

Reference = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """One callable function.

    ``arity`` counts arguments (None: any), ``result`` says how the type of the call follows from the arguments ("same",
    "given", or the element type it always has), ``operands`` what they must be ("float", "integer", "any"), ``c`` the
    C spelling: a function of math.h (for float64; ``f`` is appended for float32) or a template over ``{0}``, ``{1}``.
    ``lazy`` marks ``if_then_else``; ``effect`` calls that do more than compute a value. ``typed`` makes the reference
    where it depends on the types of the first operand and of the result. ``type`` is the type of a "given" result that
    is not given. ``meaning`` is False for what is known, read and printed, but means nothing on this level.
    """

    name: str
    arity: int | None
    result: str = "same"
    operands: str = "any"
    reference: Reference | None = None
    c: str | None = None
    lazy: bool = False
    effect: bool = False
    typed: Callable[[str, str], Reference] | None = None
    type: str = "int32"
    meaning: bool = True


def _guard(f: Callable[..., float], domain: float = math.nan) -> Reference:
    """``f`` with IEEE results where ``math`` raises: infinity on overflow, ``domain`` outside the domain."""

    def total(*args: float) -> float:
        try:
            return f(*args)
        except OverflowError:
            return math.inf
        except ValueError:
            return domain

    return total


def _log(f: Callable[[float], float]) -> Reference:
    return lambda x: -math.inf if x == 0 else math.nan if x < 0 else f(x)


def _signed(f: Callable[[float], float]) -> Reference:
    """An odd function that overflows: the sign of infinity is that of the argument."""

    def total(x: float) -> float:
        try:
            return f(x)
        except OverflowError:
            return math.copysign(math.inf, x)

    return total


def _sigmoid(x: float) -> float:
    """With an exponential that cannot overflow: far below 0 the value is small, not 0."""
    e = math.exp(-abs(x))
    return e / (1.0 + e) if x < 0 else 1.0 / (1.0 + e)


_exp = _guard(math.exp)


def _rsqrt(x: float) -> float:
    if x == 0:
        return math.copysign(math.inf, x)
    return math.nan if x < 0 else 1.0 / math.sqrt(x)


def _round_away(x: float) -> float:
    if not math.isfinite(x) or abs(x) >= 2.0**52:
        return x
    return math.copysign(math.floor(abs(x) + 0.5) if abs(x) % 1 >= 0.5 else math.floor(abs(x)), x)


def _keep_special(f: Callable[[float], float]) -> Reference:
    """Rounding functions: infinities and NaN stay, and zero keeps its sign."""
    return lambda x: math.copysign(float(f(x)), x) if math.isfinite(x) else x


def _power(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except OverflowError:
        odd = y == math.floor(y) and y % 2 == 1
        return -math.inf if x < 0 and odd else math.inf
    except ValueError:
        return math.copysign(math.inf, x) if x == 0 and y % 2 == 1 else math.inf if x == 0 else math.nan


def _atanh(x: float) -> float:
    return math.copysign(math.inf, x) if abs(x) == 1 else math.nan if abs(x) > 1 else math.atanh(x)


def _rows() -> list[Intrinsic]:
    unary = {
        "exp": _exp, "exp2": _guard(lambda x: 2.0**x), "exp10": _guard(lambda x: 10.0**x),
        "log": _log(math.log), "log2": _log(math.log2), "log10": _log(math.log10),
        "log1p": lambda x: -math.inf if x == -1 else math.nan if x < -1 else math.log1p(x),
        "sqrt": _guard(math.sqrt), "tanh": math.tanh, "sinh": _signed(math.sinh), "cosh": _guard(math.cosh),
        "sin": _guard(math.sin), "cos": _guard(math.cos), "tan": _guard(math.tan),
        "asinh": math.asinh, "acosh": _guard(math.acosh), "atanh": _atanh,
        "asin": _guard(math.asin), "acos": _guard(math.acos), "atan": math.atan, "erf": math.erf,
        "floor": _keep_special(math.floor), "ceil": _keep_special(math.ceil), "trunc": _keep_special(math.trunc),
        "round": _round_away, "nearbyint": _keep_special(round),
    }  # fmt: skip
    rows = [Intrinsic(name, 1, "same", "float", f, name) for name, f in unary.items()]
    rows += [
        Intrinsic("rsqrt", 1, "same", "float", _rsqrt, "(1 / sqrt{f}({0}))"),
        Intrinsic("sigmoid", 1, "same", "float", _sigmoid, "(1 / (1 + exp{f}(-({0}))))"),
        Intrinsic("abs", 1, "same", "any", abs, "({0} < 0 ? -({0}) : {0})"),
        Intrinsic("pow", 2, "same", "float", _power, "pow"),
        Intrinsic("atan2", 2, "same", "float", math.atan2, "atan2"),
        Intrinsic("copysign", 2, "same", "float", math.copysign, "copysign"),
        Intrinsic("fmod", 2, "same", "float", _guard(math.fmod), "fmod"),
        Intrinsic("hypot", 2, "same", "float", math.hypot, "hypot"),
        Intrinsic("ldexp", 2, "same", "float", references.ldexp),
        Intrinsic("nextafter", 2, "same", "float", typed=references.nextafter, c="nextafter"),
        Intrinsic("fma", 3, "same", "float", typed=references.fma, c="fma"),
        Intrinsic("isnan", 1, "bool", "float", lambda x: x != x, "({0} != {0})"),
        Intrinsic("isinf", 1, "bool", "float", math.isinf, "isinf({0})"),
        Intrinsic("isfinite", 1, "bool", "float", math.isfinite, "isfinite({0})"),
        Intrinsic("bitwise_and", 2, "same", "integer", lambda a, b: a & b, "({0} & {1})"),
        Intrinsic("bitwise_or", 2, "same", "integer", lambda a, b: a | b, "({0} | {1})"),
        Intrinsic("bitwise_xor", 2, "same", "integer", lambda a, b: a ^ b, "({0} ^ {1})"),
        Intrinsic("bitwise_not", 1, "same", "integer", lambda a: ~a, "(~{0})"),
        Intrinsic("shift_left", 2, "same", "integer", lambda a, b: a << b, "({0} << {1})"),
        Intrinsic("shift_right", 2, "same", "integer", lambda a, b: a >> b, "({0} >> {1})"),
        Intrinsic("popcount", 1, "same", "integer", typed=references.popcount),
        Intrinsic("clz", 1, "int32", "integer", typed=references.clz),
        Intrinsic("reinterpret", 1, "given", "any", typed=references.reinterpret),
        Intrinsic("q_multiply_shift", 4, "same", "integer", references.q_multiply_shift),
        Intrinsic("q_multiply_shift_per_axis", 7, "same", "any", references.q_multiply_shift_per_axis),
        Intrinsic("if_then_else", 3, "given", "any", None, "({0} ? {1} : {2})", lazy=True),
        Intrinsic("likely", 1, "same", "any", lambda x: x, "{0}"),
        Intrinsic("tvm_thread_invariant", 1, "same", "any", lambda x: x, "{0}"),
        Intrinsic("call_extern", None, "given", "any", None, None, effect=True),
        Intrinsic("call_packed", None, "given", "any", None, None, effect=True),
        Intrinsic("call_pure_extern", None, "given", "any", effect=True),
        Intrinsic("assume", 1, "given", "any", effect=True, type="bool"),
        Intrinsic("undef", 0, "given", "any", effect=True),
        Intrinsic("tvm_storage_sync", None, "given", "any", effect=True),
        Intrinsic("tvm_thread_allreduce", None, "given", "any", effect=True, type="handle"),
    ]
    return rows + _handles() + _opaque()


def _handles() -> list[Intrinsic]:
    """Pointers into buffers, and calls of functions of the module that are given them."""
    return [
        Intrinsic("address_of", 1, "given", "any", effect=True, type="handle"),
        Intrinsic("buffer_data", 1, "given", "any", effect=True, type="handle"),
        Intrinsic("buffer_offset", 1, "given", "any", effect=True),
        Intrinsic("buffer_argument", 1, "given", "any", effect=True, type="handle"),
        Intrinsic("isnullptr", 1, "bool", "any", effect=True),
        Intrinsic("call_function", None, "given", "any", effect=True, type="void"),
        Intrinsic("type_annotation", 0, "given", "any", effect=True),
        Intrinsic("tvm_access_ptr", 5, "given", "any", effect=True, type="handle"),
        Intrinsic("tvm_stack_make_shape", None, "given", "any", effect=True, type="handle"),
        Intrinsic("tvm_stack_make_array", 6, "given", "any", effect=True, type="handle"),
    ]


_OPAQUE = (
    "call_cpacked", "call_intrin", "call_llvm_intrin", "call_llvm_pure_intrin", "dp4a", "end_profile_intrinsic",
    "create_barriers", "get_active_lane_mask", "mma_fill", "mma_store", "start_profile_intrinsic", "thread_return",
    "tvm_bmma_sync", "tvm_call_cpacked", "tvm_fill_fragment", "tvm_load_matrix_sync", "tvm_mma_sync",
    "tvm_stack_alloca", "tvm_store_matrix_sync", "tvm_struct_get", "tvm_struct_set",
    "tvm_tuple", "tvm_warp_activemask", "tvm_warp_shuffle", "tvm_warp_shuffle_down", "tvm_warp_shuffle_up",
    "vectorcombine", "vectorhigh", "vectorlow", "vscale",
)  # fmt: skip


def _opaque() -> list[Intrinsic]:
    """What a script may say and this level gives no meaning to: structures of the call convention, instructions of a
    machine."""
    return [Intrinsic(name, None, "given", meaning=False) for name in _OPAQUE]


INTRINSICS: dict[str, Intrinsic] = {row.name: row for row in _rows()}
"""Every intrinsic by name."""


def call(name: str, *args: ExprLike, dtype: str | None = None) -> Call:
    """A call of the intrinsic ``name``; raises ``TypeMismatch`` for a wrong name, count or type of arguments.

    >>> from mlcref.ir import Var
    >>> call("exp", Var("x", "float32")).dtype
    'float32'
    """
    row = INTRINSICS.get(name)
    if row is None:
        raise TypeMismatch(f"no intrinsic is called {name!r}")
    if row.arity is not None and len(args) != row.arity:
        raise TypeMismatch(f"{name} takes {row.arity} arguments, got {len(args)}")
    exprs = _operands(row, args)
    if row.result == "bool":
        dtype = dt.parse("bool").with_lanes(dt.lanes(exprs[0].dtype))
    elif row.result == "same":
        dtype = exprs[0].dtype
    elif row.result != "given":
        dtype = dt.parse(row.result).with_lanes(dt.lanes(exprs[0].dtype))
    elif dtype is None:
        dtype = exprs[1].dtype if row.lazy else row.type
    return Call(name, exprs, dtype)


def _in_one_type(args: tuple[ExprLike, ...]) -> tuple[Expr, ...]:
    first, *rest = args
    for other in rest:
        first = match_types(first, other)[0]
    return tuple(match_types(first, arg)[1] for arg in args)


def _operands(row: Intrinsic, args: tuple[ExprLike, ...]) -> tuple[Expr, ...]:
    if row.name == "if_then_else":
        return (as_expr(args[0]), *match_types(args[1], args[2]))
    if row.arity == 2 or row.name == "fma":
        exprs = _in_one_type(args)
    else:
        exprs = tuple(StringImm(a) if isinstance(a, str) else as_expr(a) for a in args)
    for expr in exprs:
        if dt.is_float(expr.dtype) != (row.operands == "float") and row.operands != "any":
            raise TypeMismatch(f"{row.name} is defined on {row.operands} operands, not on {expr.dtype}")
    return exprs
