"""The namespace ``R`` of scripts: ``from mlcref.script import relax as R``.

Inside a graph function the parser evaluates these names. Outside, ``R.Tensor`` and the other descriptions are what
Python evaluates in the annotations of a function.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mlcref.script import graph_names
from mlcref.script import print_graph as _  # noqa: F401  (registers the printer)
from mlcref.script.graph_names import *  # noqa: F403
from mlcref.script.parse import environment, in_class
from mlcref.script.parse_graph import parse_graph_function
from mlcref.script.registry import register_namespace
from mlcref.script.source import definition_of


def function(func: Any = None, /, *, private: bool = False, pure: bool = True, check_well_formed: bool = True) -> Any:
    """Decorator: the graph function that a Python function spells. In a class it waits for ``ir_module``.

    ``private`` leaves out the global symbol; impure functions are not supported. Raises ``ScriptError``.
    """
    del private, pure, check_well_formed  # the parser reads them off the text

    def parse_one(function: Callable[..., Any]) -> Any:
        if in_class(function):
            return function
        node, source = definition_of(function)
        return parse_graph_function(node, environment(function), source)

    return parse_one if func is None else parse_one(func)


tuple = graph_names.make_tuple

__all__ = ["function", "tuple", *graph_names.__all__]

register_namespace("relax", sys.modules[__name__], alias="R")
