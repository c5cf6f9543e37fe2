"""What code generation gives: a text of kernels, and how to call each."""

from __future__ import annotations

from mlcref.records import dataclass



@dataclass(frozen=True, slots=True)
class KernelParam:
    """A parameter as the caller sees it; ``shape`` is None for a scalar, extents are numbers or names."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None
    written: bool


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """How to call one kernel: the function's ``symbol``, the ``kernel``'s name in the text, its parameters.

    ``workspace`` is the formula of the bytes that a call allocates, over the names of scalars and symbolic extents;
    None where that depends on more than those.
    """

    symbol: str
    kernel: str
    params: tuple[KernelParam, ...]
    noalias: bool
    parallel: bool
    workspace: str | None = "0"


@dataclass(frozen=True, slots=True)
class KernelSource:
    """A Cython text, the names of its kernels, and how to call each."""

    text: str
    names: tuple[str, ...]
    specs: tuple[KernelSpec, ...]
