"""Packages whose names are imported when somebody asks for them (PEP 562).

A new process that finds its kernels in the cache needs neither schedules nor the code generator, and importing those
takes longer than the rest. Such a package says its names twice: as imports that only type checkers and import-linter
read, and as a table; a test holds the two together.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def names_on_use(
    package: str, names: Mapping[str, str], submodules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for ``package``: ``names`` says which names its modules have, parted by spaces.

    ``submodules`` are modules of the package that are names of their own. A name is found once, then it is an ordinary
    attribute. No name may be that of a module of the package, which importing it would put in its place.

    >>> import sys, types
    >>> sys.modules["some"] = types.ModuleType("some")
    >>> find, listed = names_on_use("some", {"math": "sqrt hypot"})
    >>> find("sqrt")(9.0), "hypot" in listed()
    (3.0, True)
    >>> find("cbrt")
    Traceback (most recent call last):
    AttributeError: module 'some' has no attribute 'cbrt'
    >>> del sys.modules["some"]
    """
    module_of = {name: module for module, listed in names.items() for name in listed.split()}
    below = frozenset(submodules)

    def find(name: str) -> Any:
        if name in below:
            return import_module(f"{package}.{name}")
        module = module_of.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        found = getattr(import_module(module), name)
        setattr(sys.modules[package], name, found)
        return found

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of, *below})

    return find, listed
