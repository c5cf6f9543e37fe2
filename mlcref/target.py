"""``tvm.target``: what code is generated for."""

from mlcref.ir.target import Target

__all__ = ["Target"]
