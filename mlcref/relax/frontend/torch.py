"""``from mlcref.relax.frontend.torch import from_fx``, as in TVM."""

from mlcref.importers import from_fx

__all__ = ["from_fx"]
