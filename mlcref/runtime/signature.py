"""What a compiled function takes: the parameters that the launcher checks a call against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcref import dtype as dtypes
from mlcref.errors import UnsupportedError
from mlcref.records import dataclass


def _array_dtype(name: str, dtype: str) -> np.dtype[Any]:
    if dtypes.lanes(dtype) != 1:
        hint = "declare elements and vectorize the loop"
        raise UnsupportedError(f"parameter {name} has the vector type {dtype}", rule="call.dtype", hint=hint)
    return dtypes.numpy_dtype(dtype)


@dataclass(frozen=True, slots=True)
class BufferParam:
    """An array parameter: row-major and dense, of ``dtype`` and ``shape``.

    An extent is a number or the name of a symbolic dimension: its first occurrence in the parameter list fixes the
    size, every later one must agree. ``written`` says that the function may write to it.

    >>> str(BufferParam("A", "float32", ("n", 128)))
    'A: float32[n, 128]'
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    written: bool = False

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The numpy data type of an element; raises ``TypeMismatch`` or ``UnsupportedError`` where there is none."""
        return _array_dtype(self.name, self.dtype)

    def __str__(self) -> str:
        return f"{self.name}: {self.kind}"

    @property
    def kind(self) -> str:
        """Data type and shape, such as ``float32[n, 128]``."""
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class ScalarParam:
    """A number parameter. One that carries the name of a symbolic dimension fixes its size.

    >>> str(ScalarParam("n", "int64"))
    'n: int64'
    """

    name: str
    dtype: str
    shape: None = None
    written: bool = False

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The numpy data type of the value; raises ``TypeMismatch`` or ``UnsupportedError`` where there is none."""
        return _array_dtype(self.name, self.dtype)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}"


Param = BufferParam | ScalarParam


def extra_symbols(params: Sequence[Param]) -> tuple[str, ...]:
    """The symbolic dimensions that no scalar parameter carries, in order of first appearance.

    Their sizes follow the parameters in the kernel's ``args``, as ``int64``.

    >>> extra_symbols([BufferParam("A", "float32", ("n", "m")), ScalarParam("n", "int32")])
    ('m',)
    """
    scalars = {param.name for param in params if isinstance(param, ScalarParam)}
    extents = [extent for param in params for extent in param.shape or () if isinstance(extent, str)]
    return tuple(dict.fromkeys(extent for extent in extents if extent not in scalars))
