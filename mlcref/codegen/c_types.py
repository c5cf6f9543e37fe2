"""C spellings of data types, and identifiers that clash with nothing."""

from __future__ import annotations

import keyword
import re

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.ir import unique_name

_FLOATS = {"float32": "float", "float64": "double", **{name: f"{name}_t" for name in
           ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")}}  # fmt: skip
_RESERVED = {
    *keyword.kwlist, *keyword.softkwlist, "cdef", "cpdef", "ctypedef", "cimport", "include", "nogil", "gil",
    "noexcept", "void", "int", "float", "double", "long", "short", "char", "bint", "unsigned", "signed", "size_t",
    "range", "args", "NULL", "sizeof", "struct", "union", "enum", "extern", "public",
    "readonly", "inline", "api", "DEF", "IF", "ELIF", "ELSE", "ADDRESSES", "INFINITY", "NAN", "allocate", "release",
    "workspace", "workspace_kept", "take_workspace", "keep_workspace", "iterations", "in_parallel",
    "object", "str", "bytes", "list", "dict", "tuple", "set", "bool", "type", "len", "abs", "min", "max", "sum",
    "pow", "round", "print", "id", "hash", "cython",
}  # fmt: skip


def c_type(dtype: str) -> str:
    """The C type of a scalar or vector of ``dtype``; a vector type is called as its data type. Bools are stored as
    one byte.

    Raises ``UnsupportedError`` for what is no number (handles).

    >>> c_type("float32"), c_type("int8"), c_type("float32x4"), c_type("bool")
    ('float', 'int8_t', 'float32x4', 'uint8_t')
    """
    parsed = dt.parse(dtype)
    if parsed.code == "bool" and parsed.lanes == 1:
        return "uint8_t"
    if parsed.element not in _FLOATS and not parsed.is_integer:
        raise UnsupportedError(
            f"the Cython backend does not compute with {dtype}", rule="codegen.dtype",
            hint="run the program with mlcref.interpret",
        )  # fmt: skip
    if parsed.lanes > 1:
        return dtype
    return _FLOATS.get(dtype, f"{dtype}_t")


def unsigned_type(dtype: str) -> str:
    """An unsigned C type at least 32 bits wide whose arithmetic, cut to ``dtype``, wraps as ``dtype`` does."""
    return "uint64_t" if dt.parse(dtype).bits == 64 else "uint32_t"


def item_size(dtype: str) -> int:
    """Bytes of one element in memory."""
    return max(dt.parse(dtype).bits // 8, 1)


class Names:
    """Gives each object of one scope an identifier of its own, close to the name it has."""

    def __init__(self, taken: set[str] | None = None) -> None:
        self.taken = set(taken or ())
        self.of: dict[object, str] = {}

    def name(self, item: object, hint: str) -> str:
        """The identifier of ``item``, made from ``hint`` on first use."""
        if item not in self.of:
            self.of[item] = self.new(hint)
        return self.of[item]

    def new(self, hint: str) -> str:
        """An identifier like ``hint`` that nothing else has."""
        plain = re.sub(r"\W", "_", hint) or "v"
        if plain[0].isdigit() or plain.startswith("__"):
            plain = f"v{plain}"
        made = unique_name(plain, self.taken | _RESERVED)
        self.taken.add(made)
        return made
