"""Code generation: lowered programs to text. Nothing is built or run here."""

from mlcref.codegen.cython import KernelParam, KernelSource, KernelSpec, call_spec, emit
from mlcref.codegen.workspace import formula_value

__all__ = ["KernelParam", "KernelSource", "KernelSpec", "call_spec", "emit", "formula_value"]
