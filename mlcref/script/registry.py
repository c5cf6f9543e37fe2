"""Where other kinds of functions plug in: the graph level registers its parser, printer and namespace here."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from mlcref.ir import BaseFunc
from mlcref.script.source import Source

FunctionParser = Callable[[ast.FunctionDef, Mapping[str, Any], Source, Mapping[str, ast.FunctionDef]], BaseFunc]
"""Makes a function from its definition, the names around it, its source and the definitions of its module."""

NodePrinter = Callable[..., Any]

_parsers: dict[str, FunctionParser] = {}
_function_printers: dict[type, NodePrinter] = {}
_node_printers: dict[type, NodePrinter] = {}
_namespaces: dict[str, ModuleType] = {}
_aliases: dict[str, str] = {}
_callables: set[int] = set()
_DECORATORS = frozenset(["prim_func", "tirx_prim_func", "macro", "inline", "ir_module", "function"])
"""Names that decorate definitions; a script does not call them."""


def register_namespace(name: str, module: ModuleType, alias: str | None = None) -> None:
    """Make ``module`` the namespace that scripts import as ``from tvm.script import <name> as <alias>``.

    Scripts reach the names in its ``__all__`` and may call them. ``alias`` is bound even when a text does not import
    it.
    """
    _namespaces[name] = module
    if alias is not None:
        _aliases[alias] = name
    for item in module.__all__:
        value = getattr(module, item)
        inner = [getattr(value, part) for part in value.__all__] if isinstance(value, ModuleType) else [value]
        _callables.update(id(part) for part in inner if getattr(part, "__name__", "") not in _DECORATORS)


def namespaces() -> Mapping[str, ModuleType]:
    """Namespaces by their names in ``from tvm.script import <name>``."""
    return _namespaces


def default_names() -> dict[str, Any]:
    """The names that every text may use: ``T``, ``I``, ``R``."""
    return {alias: _namespaces[name] for alias, name in _aliases.items()}


def aliases() -> Mapping[str, str]:
    """Prefixes that every text may use, with their namespaces: ``{"T": "tir"}``."""
    return _aliases


def may_call(function: Any) -> bool:
    """Is this one of the functions of a registered namespace?"""
    return id(function) in _callables


def register_function_parser(decorator_module_name: str, parser: FunctionParser) -> None:
    """Parse functions that a namespace decorates ("relax" for ``@R.function``) with ``parser``."""
    _parsers[decorator_module_name] = parser


def function_parser(decorator_module_name: str) -> FunctionParser | None:
    """The parser registered for a namespace, if there is one."""
    return _parsers.get(decorator_module_name)


def register_function_printer(node_type: type, printer: Callable[[Any, Any, str], None]) -> None:
    """Print functions of class ``node_type`` with ``printer(page, func, name)``, which writes lines to the page."""
    _function_printers[node_type] = printer


def function_printer(node_type: type) -> Callable[[Any, Any, str], None] | None:
    """The printer registered for a class of functions, if there is one."""
    return _function_printers.get(node_type)


def register_node_printer(node_type: type, printer: Callable[[Any, Any], str]) -> None:
    """Print other nodes of class ``node_type`` as expressions with ``printer(page, node) -> text``."""
    _node_printers[node_type] = printer


def node_printer(node_type: type) -> Callable[[Any, Any], str] | None:
    """The expression printer registered for a class of nodes, if there is one."""
    return _node_printers.get(node_type)
