"""Schedules from the structure of blocks. The package is called like its function: ``mlcref.autoschedule(mod)``."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref.autoschedule.core import autoschedule, with_rules
    from mlcref.autoschedule.machine import Machine
else:
    __getattr__, __dir__ = names_on_use(
        __name__, {"mlcref.autoschedule.core": "autoschedule with_rules", "mlcref.autoschedule.machine": "Machine"}
    )

__all__ = ["Machine", "autoschedule", "with_rules"]


class _CallablePackage(ModuleType):
    """``mlcref.autoschedule`` is this package and the function, whichever was asked for first."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.autoschedule(*args, **options)


sys.modules[__name__].__class__ = _CallablePackage
