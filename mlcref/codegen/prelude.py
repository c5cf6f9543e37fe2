"""The C functions and vector types that generated kernels use: each written once, and only when used."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlcref import dtype as dt
from mlcref.codegen import narrow_floats
from mlcref.codegen.cores import LEAVE_CORE
from mlcref.codegen.c_types import c_type, item_size, unsigned_type
from mlcref.codegen.foreign import as_c
from mlcref.codegen.vector_math import CFunction, elementary, extremum_body, lane_by_lane
from mlcref.errors import UnsupportedError
from mlcref.ir import INTRINSICS

_INLINE = "static inline __attribute__((always_inline))"

_HEADER = f"""#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
{narrow_floats.TYPES}"""

_ALLOCATE = """static void* allocate(int64_t bytes) {
    void* memory = aligned_alloc(64, ((size_t)bytes + 127) / 64 * 64);
    if (!memory) { fprintf(stderr, "mlcref kernel: out of memory\\n"); abort(); }
    return memory;
}
static void release(void* memory) { free(memory); }"""

HEADER_BYTES = 64
"""What stands before a workspace: its size."""

_WORKSPACE = f"""static char* workspace_kept;
static char* take_workspace(int64_t bytes) {{
    char* block = __atomic_exchange_n(&workspace_kept, (char*)0, __ATOMIC_ACQUIRE);
    if (block && *(int64_t*)block < bytes) {{ free(block); block = 0; }}
    if (!block) {{
        block = aligned_alloc({HEADER_BYTES}, (size_t)bytes + {HEADER_BYTES});
        if (!block) {{ fprintf(stderr, "mlcref kernel: out of memory\\n"); abort(); }}
        *(int64_t*)block = bytes;
    }}
    return block + {HEADER_BYTES};
}}
static void keep_workspace(char* workspace) {{
    free(__atomic_exchange_n(&workspace_kept, workspace - {HEADER_BYTES}, __ATOMIC_ACQ_REL));
}}"""

_INTEGERS = {
    "int8_t": "signed char", "int16_t": "short", "int32_t": "int", "int64_t": "long long", "uint8_t": "unsigned char",
    "uint16_t": "unsigned short", "uint32_t": "unsigned int", "uint64_t": "unsigned long long",
    **{f"{name}_t": base for name, base in narrow_floats.STORAGE.items()},
}  # fmt: skip
"""Cython's view of the types of stdint.h: external names of about that size."""


_ON_VECTORS = {
    "bitwise_and": "x0 & x1", "bitwise_or": "x0 | x1", "bitwise_xor": "x0 ^ x1", "bitwise_not": "~x0",
    "abs": "({kind})(({unsigned})(x0 ^ {sign}) - ({unsigned}){sign})",
    "shift_left": "({kind})(({unsigned})x0 << ({unsigned})x1)", "shift_right": "x0 >> x1",
}  # fmt: skip
"""Intrinsics of integers as operators of vectors."""


@dataclass
class Prelude:
    """The verbatim C block of one module. Methods return the name under which the text may use what they add."""

    code: dict[str, str] = field(default_factory=dict)
    declarations: dict[str, str] = field(default_factory=dict)
    imported: dict[str, None] = field(default_factory=dict)

    def text(self) -> str:
        """The ``cdef extern`` block: C code, then what Cython is told about it."""
        code = "\n".join([_HEADER, *self.code.values()])
        types = [f"    ctypedef {base} {name}" for name, base in _INTEGERS.items()]
        declared = [f"    {line}" for line in self.declarations.values()]
        quoted = code.replace("\\", "\\\\")
        quotes = '    """'
        body = [f"    {line}" for line in quoted.splitlines()]
        return "\n".join(["cdef extern from *:", quotes, *body, quotes, *types, *declared])

    def function(self, name: str, result: str, parameters: tuple[str, ...], body: str) -> str:
        """Add the inline function ``name``; parameters are C types, called x0, x1, … in ``body``."""
        if name not in self.code:
            self.code[name] = _definition(name, result, parameters, body)
            self.declarations[name] = f"{result} {name}({', '.join(parameters)}) nogil"
        return name

    def imports(self, text: str) -> None:
        """Add a C text that the program brings along."""
        self.imported[text] = None
        self.code[f"imported {text}"] = as_c(text)

    def foreign(self, name: str, dtype: str) -> str:
        """The imported function ``name`` with a value of ``dtype``; C checks its arguments."""
        kind = "void" if dtype == "void" else c_type(dtype)
        made = f"extern_{name}_{kind}"
        self.declarations[made] = f'{kind} {made} "{name}"(...) nogil'
        return made

    # ---- types and memory

    def pointer(self, dtype: str, restrict: bool) -> str:
        """The type of a pointer to elements of ``dtype``; with ``restrict``, nothing else points to what it does."""
        element = c_type(dtype)
        if not restrict:
            return f"{element}*"
        name = f"{dtype}_restrict"
        self.code[name] = f"typedef {element}* __restrict__ {name};"
        self.declarations[name] = f"ctypedef {element}* {name}"
        return name

    def vector(self, dtype: str) -> str:
        """The GCC vector type of ``dtype``; it may lie at any address that suits an element, and alias anything."""
        parsed = dt.parse(dtype)
        size, element = item_size(parsed.element), c_type(parsed.element)
        attributes = f"vector_size({size * parsed.lanes}), aligned({size}), may_alias"
        plain = f"typedef {element} {dtype} __attribute__(({attributes}));"
        self.code[dtype] = narrow_floats.vector_type(dtype, attributes) if narrow_floats.is_narrow(dtype) else plain
        self.declarations[dtype] = f"ctypedef {element} {dtype}"
        return dtype

    def allocation(self) -> None:
        """Add ``allocate`` and ``release``."""
        self.code["allocate"] = _ALLOCATE
        self.declarations["allocate"] = "void* allocate(int64_t) nogil"
        self.declarations["release"] = "void release(void*) nogil"

    def workspace(self) -> None:
        """Add ``take_workspace`` and ``keep_workspace``."""
        self.code["workspace"] = _WORKSPACE
        self.declarations["take_workspace"] = "char* take_workspace(int64_t) nogil"
        self.declarations["keep_workspace"] = "void keep_workspace(char*) nogil"

    def cores(self) -> None:
        """Add ``current_core`` and ``leave_core``, and the type of what ``in_parallel`` runs."""
        self.code["cores"] = LEAVE_CORE
        self.declarations["current_core"] = "int current_core() nogil"
        self.declarations["leave_core"] = "void leave_core(int) nogil"
        parameters = "(void**, int64_t, int64_t, int64_t)"
        self.declarations["iterations"] = f"ctypedef void (*iterations){parameters} noexcept nogil"

    def special(self, value: float) -> str:
        """A float that has no digits: infinity or not-a-number."""
        name = "INFINITY" if value == value else "NAN"
        self.declarations[name] = f"const float {name}"
        return f"(-{name})" if value < 0 else name

    # ---- arithmetic

    def wrapping(self, operation: str, symbol: str, dtype: str) -> str:
        """``add``, ``sub`` or ``mul`` of integers, in two's complement."""
        kind, wide = c_type(dtype), unsigned_type(dtype)
        return self.function(
            f"{operation}_{dtype}", kind, (kind, kind), f"return ({kind})(({wide})x0 {symbol} ({wide})x1);"
        )

    def extremum(self, operation: str, symbol: str, dtype: str) -> str:
        """``max`` or ``min``: the second operand unless the first is strictly beyond it."""
        kind = c_type(dtype)
        test = f"x0 {symbol} x1"
        if narrow_floats.is_narrow(dtype):
            test = f"{self.comparison('gt' if symbol == '>' else 'lt', symbol, dtype)}(x0, x1)"
        return self.function(f"{operation}_{dtype}", kind, (kind, kind), f"return {test} ? x0 : x1;")

    def comparison(self, name: str, symbol: str, dtype: str) -> str:
        """A test of two narrow floats, or of vectors of them."""
        return self.c_function(narrow_floats.comparison(name, symbol, dtype))

    def narrow_operation(self, name: str, symbol: str, dtype: str) -> str:
        """Arithmetic of narrow floats, or of vectors of them."""
        return self.c_function(narrow_floats.operation(name, symbol, dtype))

    def conversion(self, source: str, target: str) -> str:
        """A conversion from or to narrow floats, or vectors of them."""
        if narrow_floats.is_narrow(target):
            return self.c_function(narrow_floats.from_other(source, target))
        return self.c_function(narrow_floats.to_other(source, target))

    def floor_division(self, dtype: str) -> str:
        """The quotient rounded towards minus infinity."""
        kind = c_type(dtype)
        body = f"{kind} q = x0 / x1; return q - ((x0 % x1 != 0) & ((x0 < 0) != (x1 < 0)));"
        return self.function(f"floordiv_{dtype}", kind, (kind, kind), body)

    def floor_remainder(self, dtype: str) -> str:
        """The remainder with the sign of the divisor."""
        kind = c_type(dtype)
        body = f"{kind} r = x0 % x1; return r + (((r != 0) & ((r < 0) != (x1 < 0))) ? x1 : 0);"
        return self.function(f"floormod_{dtype}", kind, (kind, kind), body)

    def selection(self, dtype: str) -> str:
        """One of two values, both computed."""
        kind = c_type(dtype)
        return self.function(f"select_{dtype}", kind, ("int", kind, kind), "return x0 ? x1 : x2;")

    # ---- vectors

    def vector_extremum(self, operation: str, symbol: str, dtype: str) -> str:
        """As :meth:`extremum`, in each lane."""
        kind = self.vector(dtype)
        if narrow_floats.is_narrow(dtype):
            test = self.comparison("gt" if symbol == ">" else "lt", symbol, dtype)
            body = f"return {self.vector_selection(dtype)}({test}(x0, x1), x0, x1);"
        elif dt.is_float(dtype):
            self.vector(mask_type(dtype))
            body = extremum_body(dtype, symbol)
        else:
            body = f"return {self.vector_selection(dtype)}(x0 {symbol} x1, x0, x1);"
        return self.function(f"{operation}_{dtype}", kind, (kind, kind), body)

    def vector_selection(self, dtype: str) -> str:
        """In each lane one of two values, by a mask."""
        kind, mask = self.vector(dtype), self.vector(mask_type(dtype))
        body = f"return ({kind})((x0 & ({mask})x1) | (~x0 & ({mask})x2));"
        return self.function(f"select_{dtype}", kind, (mask, kind, kind), body)

    def vector_test(self, name: str, dtype: str) -> str:
        """A mask of the lanes for which ``isnan``, ``isinf`` or ``isfinite`` holds."""
        kind, mask = self.vector(dtype), self.vector(mask_type(dtype))
        if narrow_floats.is_narrow(dtype):
            inner = self.vector_test(name, narrow_floats.widened(dtype))
            widen = self.conversion(dtype, narrow_floats.widened(dtype))
            body = f"return __builtin_convertvector({inner}({widen}(x0)), {mask});"
            return self.function(f"{name}_{dtype}", mask, (kind,), body)
        body = {"isnan": "x0 != x0", "isinf": "(x0 == x0) & (x0 - x0 != 0)", "isfinite": "x0 - x0 == 0"}[name]
        return self.function(f"{name}_{dtype}", mask, (kind,), f"return {body};")

    def shuffle(self, dtype: str, picked: list[int]) -> str:
        """Lanes of two vectors one after the other, picked by constants."""
        kind, mask, lanes = self.vector(dtype), self.vector(mask_type(dtype)), ", ".join(map(str, picked))
        bits = self.vector(narrow_floats.bits_type(dtype))
        body = f"""
    #if defined(__clang__)
    return __builtin_shufflevector(x0, x1, {lanes});
    #else
    return ({kind})__builtin_shuffle(({bits})x0, ({bits})x1, ({mask}){{{lanes}}});
    #endif
    """
        return self.function(f"shuffle_{dtype}_{'_'.join(map(str, picked))}", kind, (kind, kind), body)

    # ---- intrinsics

    def intrinsic(self, name: str, dtype: str, result: str) -> str:
        """The C function for the intrinsic ``name`` on ``dtype``, a scalar or a vector.

        Raises ``UnsupportedError`` when there is none.
        """
        known = elementary(name, dtype)
        if known is not None:
            return self.c_function(known)
        if narrow_floats.is_narrow(dtype):
            return self._of_float32(name, dtype, result)
        if dt.lanes(dtype) > 1:
            return self._vector(name, dtype, result)
        return self._scalar(name, dtype, result)

    def _of_float32(self, name: str, dtype: str, result: str) -> str:
        """A function of narrow floats: that of float32, its result rounded."""
        row = INTRINSICS.get(name)
        if row is None or not row.arity or name in ("fma", "nextafter", "reinterpret"):
            raise _no_function(name, dtype)
        wide = narrow_floats.widened(dtype)
        inner = self.intrinsic(name, wide, "bool" if dt.is_bool(result) else wide)
        return self.c_function(narrow_floats.of_float32(name, inner, dtype, row.arity, rounds=not dt.is_bool(result)))

    def c_function(self, made: CFunction) -> str:
        """Add a function with a formula; Cython is told of it, C also of those that it calls."""
        self._code(made)
        self.declarations[made.name] = f"{made.result} {made.name}({', '.join(made.parameters)}) nogil"
        return made.name

    def _code(self, made: CFunction) -> None:
        for dtype in made.vectors:
            self.vector(dtype)
        for needed in made.needs:
            self._code(needed)
        self.code[made.name] = _definition(made.name, made.result, made.parameters, made.body)

    def _vector(self, name: str, dtype: str, result: str) -> str:
        """Operators on the whole vectors of integers; functions of floats lane by lane."""
        kind, count, parsed = self.vector(dtype), INTRINSICS[name].arity or 0, dt.parse(dtype)
        if dt.is_float(dtype):
            scalar = self._scalar(name, parsed.element, dt.parse(result).element)
            value = f"{scalar}({', '.join(f'x{i}[i]' for i in range(count))})"
            body = lane_by_lane(kind, parsed.lanes, value)
        else:
            unsigned = self.vector(f"uint{parsed.bits}x{parsed.lanes}")
            sign = f"(x0 >> {parsed.bits - 1})" if parsed.code == "int" else f"({kind}){{0}}"
            body = f"return {_ON_VECTORS[name].format(kind=kind, unsigned=unsigned, sign=sign)};"
        return self.function(f"{name}_{dtype}", kind, (kind,) * count, body)

    def _scalar(self, name: str, dtype: str, result: str) -> str:
        row = INTRINSICS.get(name)
        callable_here = row is not None and row.arity is not None and not row.effect
        spelled = _special_spelling(name, dtype) or row.c if row is not None and callable_here else None
        if row is None or row.arity is None or spelled is None:
            raise _no_function(name, dtype)
        kind = c_type(dtype)
        out = "int" if dt.is_bool(result) else c_type(result)
        suffix = "f" if dtype == "float32" else ""
        arguments = [f"x{i}" for i in range(row.arity)]
        if spelled.isidentifier():
            spelled = f"{spelled}{suffix}({', '.join(arguments)})"
        else:
            spelled = spelled.format(*arguments, f=suffix)
        return self.function(f"{name}_{dtype}", out, (kind,) * row.arity, f"return {spelled};")


def _no_function(name: str, dtype: str) -> UnsupportedError:
    return UnsupportedError(f"the Cython backend cannot call {name} on {dtype}", rule="codegen.intrinsic")


def mask_type(dtype: str) -> str:
    """The integer vector that a comparison of vectors of ``dtype`` gives: in lanes where it holds, all bits are set.

    >>> mask_type("float64x8"), mask_type("uint8x16")
    ('int64x8', 'int8x16')
    """
    parsed = dt.parse(dtype)
    return f"int{parsed.bits}x{parsed.lanes}"


def _definition(name: str, result: str, parameters: tuple[str, ...], body: str) -> str:
    signature = ", ".join(f"{kind} x{i}" for i, kind in enumerate(parameters))
    return f"{_INLINE} {result} {name}({signature}) {{ {body} }}"


def _special_spelling(name: str, dtype: str) -> str | None:
    """Intrinsics whose C form depends on the data type by more than the suffix of math.h."""
    unsigned, kind = unsigned_type(dtype), c_type(dtype)
    if name == "abs":
        return "fabs" if dt.is_float(dtype) else f"({{0}} < 0 ? ({kind})(0 - ({unsigned}){{0}}) : {{0}})"
    if name == "shift_left":
        return f"(({kind})(({unsigned}){{0}} << {{1}}))"
    if name == "popcount":
        mask = (1 << dt.parse(dtype).bits) - 1
        return f"(({kind})__builtin_popcountll((uint64_t){{0}} & {mask}ull))"
    return None
