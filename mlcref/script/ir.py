"""The namespace ``I`` of scripts: ``from mlcref.script import ir as I``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from mlcref.errors import TypeMismatch
from mlcref.script.parse import ir_module as ir_module
from mlcref.script.registry import register_namespace


def module_attrs(attrs: Mapping[str, Any], allow_overwrite: bool = False) -> dict[str, Any]:
    """Attributes of the module: ``I.module_attrs({"name": 1})`` in the class body."""
    del allow_overwrite
    return dict(attrs)


def module_global_infos(infos: Mapping[str, Any]) -> None:
    """Devices of the graph level; only an empty table is read."""
    if infos:
        raise TypeMismatch("I.module_global_infos is not supported: modules run on one device")


__all__ = ["ir_module", "module_attrs", "module_global_infos"]

register_namespace("ir", sys.modules[__name__], alias="I")
