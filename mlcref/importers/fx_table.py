"""The table of conversions: for each function, method and module of torch the function that emits it as a graph.

A converter takes the importer and then what torch takes, under torch's names, with graph values in place of tensors;
that of a module takes the importer, the module and its arguments. Rows are written with :func:`converts`; names are
looked up in the torch that the model brought along, and compared by identity, so that a function of the same name from
elsewhere is none of these.
"""

from __future__ import annotations

import builtins
import math
import operator
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

Converter = Callable[..., Any]

FUNCTIONS: dict[str, Converter] = {}
"""By path: "torch.relu", "F.relu", "operator.add", "math.sqrt"."""
METHODS: dict[str, Converter] = {}
"""Methods of tensors by name."""
MODULES: dict[str, Converter] = {}
"""Modules by name in ``torch.nn``."""
VIEWS: set[Converter] = set()
"""Converters whose result may share memory with their first operand in torch."""
ALIASES: set[Converter] = set()
"""Those whose result is their first operand."""


def converts(names: str, *, view: bool = False, alias: bool = False) -> Callable[[Converter], Converter]:
    """Enter a converter for ``names``: "torch.relu F.relu Tensor.relu nn.ReLU operator.add"; ``view`` says that it is
    in VIEWS, ``alias`` in both."""

    def enter(converter: Converter) -> Converter:
        for name in names.split():
            owner, _, last = name.partition(".")
            table = {"Tensor": METHODS, "nn": MODULES}.get(owner)
            if table is None:
                FUNCTIONS[name] = converter
            else:
                table[last] = converter
        if view or alias:
            VIEWS.add(converter)
        if alias:
            ALIASES.add(converter)
        return converter

    return enter


def look_up(path: str) -> Any:
    """What ``path`` names in torch and the standard library; None when this torch has no such name."""
    owner, _, rest = path.partition(".")
    owners = {"operator": operator, "math": math, "builtins": builtins, "torch": sys.modules.get("torch")}
    owners["F"] = sys.modules.get("torch.nn.functional")
    owners["nn"] = sys.modules.get("torch.nn")
    found = owners[owner]
    for name in rest.split("."):
        found = getattr(found, name, None)
    return found


def method(name: str) -> Converter | None:
    """The converter of a method: of the same name, of that without the underscore of a change in place, or for
    ``__add__`` and ``__radd__`` that of the operator."""
    if not (name.startswith("__") and name.endswith("__")):
        return METHODS.get(name) or METHODS.get(name.removesuffix("_"))
    plain = FUNCTIONS.get(f"operator.{name[2:-2]}")
    turned = FUNCTIONS.get(f"operator.{name[3:-2]}") if name.startswith("__r") else None
    if plain is not None or turned is None:
        return plain
    return lambda at, input, other: turned(at, other, input)


@cache
def functions() -> dict[int, tuple[str, Converter]]:
    """Path and converter of each function by its identity."""
    found = ((path, converter, look_up(path)) for path, converter in FUNCTIONS.items())
    return {id(target): (path, converter) for path, converter, target in found if target is not None}


@cache
def modules() -> dict[type, Converter]:
    """Converters of modules by class."""
    found = ((look_up(f"nn.{name}"), converter) for name, converter in MODULES.items())
    return {kind: converter for kind, converter in found if kind is not None}
