"""``IRModule`` under the path that course code imports it from."""

from mlcref.ir.function import IRModule

__all__ = ["IRModule"]
