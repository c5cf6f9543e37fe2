"""``tvm.contrib``: what course code takes from there."""

from mlcref.contrib import clang, utils

__all__ = ["clang", "utils"]
