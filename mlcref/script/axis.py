"""The namespace ``T.axis``: block iterators."""

from mlcref.script.statement_names import opaque, reduce, remap, scan, spatial

S, R = spatial, reduce

__all__ = ["R", "S", "opaque", "reduce", "remap", "scan", "spatial"]
