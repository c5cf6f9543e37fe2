"""The namespace ``T`` as TVM main spells it (``tirx as T``): functions are flat unless ``s_tir=True``."""

from __future__ import annotations

import sys
from typing import Any

from mlcref.script import tir
from mlcref.script.parse import tirx_prim_func as prim_func
from mlcref.script.registry import register_namespace

__all__ = ["prim_func", *(name for name in tir.__all__ if name != "prim_func")]


def __getattr__(name: str) -> Any:
    return getattr(tir, name)


register_namespace("tirx", sys.modules[__name__])
