"""Lowering: from blocks and schedules to plain loops, one small pass after the other. Called, the package lowers a
schedule or a module: ``mlcref.lower(s, [A, B, C], simple_mode=True)``.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref.lower.modules import lower_module
    from mlcref.lower.pipeline import PIPELINE, Pass, lower
else:
    __getattr__, __dir__ = names_on_use(
        __name__, {"mlcref.lower.modules": "lower_module", "mlcref.lower.pipeline": "PIPELINE Pass lower"}
    )

__all__ = ["PIPELINE", "Pass", "lower", "lower_module"]


class _CallablePackage(ModuleType):
    """``mlcref.lower`` is this package and TVM's function, whichever was asked for first."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.lower_module(*args, **options)


sys.modules[__name__].__class__ = _CallablePackage
