"""The namespace ``T`` of scripts: ``from mlcref.script import tir as T``.

Inside a script the parser evaluates these names. Outside one, ``T.Buffer``, the data types and the decorator are what
Python evaluates when a function is defined, and the names of expressions build nodes (``T.exp(x)``).
"""

from __future__ import annotations

import sys
from typing import Any

from mlcref.script import axis as axis
from mlcref.script import expression_names, statement_names
from mlcref.script.expression_names import *  # noqa: F403
from mlcref.script.expression_names import ALIASES, INTRINSIC_NAMES, NODES
from mlcref.script.parse import inline as inline
from mlcref.script.parse import macro as macro
from mlcref.script.parse import prim_func as prim_func
from mlcref.script.registry import register_namespace
from mlcref.script.statement_names import *  # noqa: F403
from mlcref.script.statement_names import bind, block, block_attr
from mlcref.script.type_names import DATA_TYPES, BufferName, HandleName, LetName

handle = HandleName()
Buffer = BufferName()
let = LetName()
buffer_decl = Buffer
sblock, sblock_attr, LetStmt = block, block_attr, bind

_SHORT = {"f16": "float16", "f32": "float32", "f64": "float64", "bf16": "bfloat16", "boolean": "bool",
          **{f"{kind[0]}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}}  # fmt: skip
_TABLES: dict[str, Any] = {
    **DATA_TYPES, **NODES, **INTRINSIC_NAMES, **ALIASES, **{name: DATA_TYPES[kind] for name, kind in _SHORT.items()},
}  # fmt: skip

__all__ = [
    "Buffer", "LetStmt", "axis", "buffer_decl", "handle", "inline", "let", "macro", "prim_func", "sblock",
    "sblock_attr",
    *statement_names.__all__, *expression_names.__all__, *_TABLES,
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _TABLES:
        return _TABLES[name]
    raise AttributeError(f"T has no name {name!r}")


register_namespace("tir", sys.modules[__name__], alias="T")
