"""``tvm.target``: what code is generated for."""

from mlcref.ir.target import Target

create = Target
"""TVM's older name."""

__all__ = ["Target", "create"]
