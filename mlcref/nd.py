"""``tvm.nd``: arrays under TVM's older names."""

from mlcref.runtime.nd import array, empty

__all__ = ["array", "empty"]
