"""Models of other systems as graphs: ``from_fx`` reads what ``torch.fx`` traced.

Nothing here imports torch: a traced model brings it along.
"""

from typing import TYPE_CHECKING

from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref.importers.fx import FxImporter, detach_params, from_fx
    from mlcref.importers.fx_errors import UnsupportedNode
else:
    __getattr__, __dir__ = names_on_use(
        __name__,
        {
            "mlcref.importers.fx": "FxImporter detach_params from_fx",
            "mlcref.importers.fx_errors": "UnsupportedNode",
        },
    )

__all__ = ["FxImporter", "UnsupportedNode", "detach_params", "from_fx"]
