"""islpy, the optional library of integer sets that static proofs need (``pip install mlcref[prove]``)."""

from __future__ import annotations

from mlcref.errors import UnsupportedError

__all__ = ["MissingExtra", "isl"]


class MissingExtra(UnsupportedError, ModuleNotFoundError):
    """A library of an optional extra is not installed; ``name`` is its name."""


try:
    import islpy as isl
except ModuleNotFoundError:
    missing = MissingExtra("static proofs need islpy, which is not installed", hint="pip install mlcref[prove]")
    missing.name = "islpy"
    raise missing from None
