"""Code generation: lowered programs to text. Nothing is built or run here."""

from typing import TYPE_CHECKING

from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref.codegen.cython import call_spec, emit
    from mlcref.codegen.kernel_source import KernelParam, KernelSource, KernelSpec
    from mlcref.codegen.workspace import formula_value
else:
    __getattr__, __dir__ = names_on_use(
        __name__,
        {
            "mlcref.codegen.cython": "call_spec emit",
            "mlcref.codegen.kernel_source": "KernelParam KernelSource KernelSpec",
            "mlcref.codegen.workspace": "formula_value",
        },
    )

__all__ = ["KernelParam", "KernelSource", "KernelSpec", "call_spec", "emit", "formula_value"]
