"""The names of ``T`` for types: data types, ``T.handle``, ``T.Buffer``."""

from __future__ import annotations

from typing import Any

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch
from mlcref.ir import Buffer, Expr, Var, as_expr, cast, const
from mlcref.script.forms import DataOf, Declaration, HandleParameter


class DataTypeName:
    """A data type in a script: an annotation, a conversion (``T.float32(x)``) or, without arguments, a variable."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __call__(self, value: Any = None, *, is_size_var: bool = False) -> Expr:
        if value is None:
            return Var("", self.dtype)
        if is_size_var:
            raise TypeMismatch("a size variable has no value", hint=f"write T.{self.dtype}(is_size_var=True)")
        if isinstance(value, str):
            value = float(value)
        if isinstance(value, Expr) or hasattr(value, "as_expr"):
            return cast(self.dtype, value)
        plain_value = value.item() if hasattr(value, "item") else value
        return cast(self.dtype, const(plain_value, dt.parse(self.dtype).element))

    def __repr__(self) -> str:
        return f"T.{self.dtype}"


class HandleName:
    """``T.handle``: the annotation of a parameter that ``T.match_buffer`` (or, for ``T.handle("float32")``, a
    declaration on it) turns into a buffer."""

    dtype = "handle"

    def __init__(self, element: str | None = None, scope: str = "global") -> None:
        self.element, self.scope = element, scope

    def __call__(self, dtype: Any = None, storage_scope: str = "global", *, is_size_var: bool = False) -> HandleName:
        """The type of pointers to elements of ``dtype``."""
        del is_size_var
        return HandleName(None if dtype is None else dtype_of(dtype), storage_scope)

    @property
    def ty(self) -> HandleName:
        """The type itself, as TVM's printer spells it: ``T.handle().ty``."""
        return self


class LetName:
    """``x: T.let = e`` or ``x: T.let[T.int32] = e``."""

    def __getitem__(self, dtype: Any) -> LetName:
        result = LetName()
        result.type = dtype
        return result

    type: Any = None


class BufferName:
    """``T.Buffer((128,), "float32")``, and the older ``T.Buffer[128, "float32"]``."""

    def __call__(
        self, shape: Any, dtype: Any = "float32", data: Any = None, strides: Any = None, elem_offset: Any = None,
        scope: str = "global", align: int = 0, offset_factor: int = 0, buffer_type: str = "",
        axis_separators: Any = None,
    ) -> Any:  # fmt: skip
        """An unnamed buffer; ``align`` in bytes and ``offset_factor`` in elements, 0 for the default. With ``data`` it
        is another view of that memory."""
        if buffer_type not in ("", "default") or axis_separators:
            raise TypeMismatch("T.Buffer takes no buffer_type and no axis_separators here")
        if data is not None:
            return declared(data, shape, dtype, strides, elem_offset, scope, align, offset_factor)
        return new_buffer(shape, dtype, strides, elem_offset, scope, align, offset_factor)

    def __getitem__(self, key: Any) -> Buffer:
        parts = key if isinstance(key, tuple) and isinstance(key[-1], str | DataTypeName) else (key,)
        if len(parts) > 2:
            raise TypeMismatch("T.Buffer[...] takes a shape and a data type", hint='write T.Buffer[(4, 4), "float32"]')
        return new_buffer(*parts)


def dtype_of(name: Any) -> str:
    """The data type that a string, ``T.float32`` or a numpy dtype says."""
    return name.dtype if isinstance(name, DataTypeName | HandleName) else dt.canonical(name)


def new_buffer(
    shape: Any, dtype: Any = "float32", strides: Any = None, elem_offset: Any = None, scope: str = "global", align:
    int = 0,
    offset_factor: int = 0,
) -> Buffer:  # fmt: skip
    """An unnamed buffer; the assignment that it stands in names it."""
    extents = tuple(as_expr(extent) for extent in (shape if isinstance(shape, tuple | list) else (shape,)))
    steps = tuple(as_expr(stride) for stride in strides or ())
    if any(expr.dtype == "handle" for expr in (*extents, *steps)):
        raise TypeMismatch("a dimension is a number or a variable", hint="declare the variable: n = T.int64()")
    if steps and len(steps) != len(extents):
        raise TypeMismatch(f"a buffer of {len(extents)} dimensions has {len(steps)} strides")
    offset = None if elem_offset is None else as_expr(elem_offset)
    for expr in (*extents, *steps):
        if not dt.is_integer(expr.dtype):
            raise TypeMismatch(f"a dimension counts elements: {expr.dtype} is no integer type")
    return Buffer(
        "", extents, dtype_of(dtype), scope, steps, offset, None, _or_default(align, 64), _or_default(offset_factor, 0)
    )


def declared(data: Any, shape: Any, *layout: Any) -> Declaration:
    """A buffer of ``shape`` and ``layout`` over the memory ``data``: ``A.data``, a parameter, a pointer with a name."""
    pointer = isinstance(data, Var) and data.dtype == "handle"
    if not pointer and not isinstance(data, DataOf | HandleParameter):
        raise TypeMismatch("data= must be the memory of a buffer", hint="write data=A.data")
    source = data.buffer if isinstance(data, DataOf) else data
    return Declaration(new_buffer(shape, *layout), source)


def _or_default(value: int, default: int) -> int:
    """TVM writes -1 or 0 for "the default"."""
    return default if value <= 0 else int(value)


_ELEMENTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
"float64", "bfloat16",
             "float8_e4m3fn", "float8_e5m2", "bool")  # fmt: skip

DATA_TYPES: dict[str, DataTypeName] = {
    name: DataTypeName(name)
    for element in _ELEMENTS
    for name in (element, *(f"{element}x{lanes}" for lanes in (2, 3, 4, 8, 16, 32, 64)))
}
"""Data types by name."""
