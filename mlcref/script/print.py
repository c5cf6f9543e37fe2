"""Modules, functions and nodes as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mlcref.errors import UnsupportedError
from mlcref.ir import BaseFunc, IRModule, PrimFunc
from mlcref.script.dialects import dialect as find_dialect
from mlcref.script.page import Page
from mlcref.script.print_expr import expr_text, literal
from mlcref.script.print_tir import is_statement, print_prim_func, print_stmt
from mlcref.script.registry import aliases, function_printer

IGNORED_OPTIONS = frozenset([
    "buffer_dtype", "int_dtype", "float_dtype", "verbose_expr", "print_line_numbers", "num_context_lines",
    "syntax_sugar", "show_object_address", "show_all_struct_info", "show_all_ty", "path_to_underline",
    "path_to_annotate", "obj_to_underline", "obj_to_annotate", "ir_prefix", "tir_prefix", "relax_prefix",
    "module_alias", "black_format", "extra_config",
])  # fmt: skip
"""Options of TVM's printer that say nothing here."""


def print_script(
    obj: Any, *, name: str | None = None, dialect: str = "tir", header: bool = True, indent_spaces: int = 4,
    show_meta: bool = False, **options: Any,
) -> str:  # fmt: skip
    """The TVMScript text of a module, function, statement or expression.

    The text of a module or function parses back to a structurally equal one. ``dialect`` is "tir" or "tirx", ``name``
    a name for a function or the module's class, ``header`` says whether the imports stand above as comments,
    ``show_meta`` whether large constants of graphs are written in full; other options of TVM's ``script()`` are
    accepted and make no difference. Raises ``UnsupportedError`` for options that neither knows.

    >>> from mlcref.ir import Var
    >>> print_script(Var("i") * 4 + 1)
    'i * 4 + 1'
    """
    unknown = sorted(set(options) - IGNORED_OPTIONS)
    if unknown:
        raise UnsupportedError(f"print_script has no option {unknown[0]!r}", rule="script.option")
    page = print_page(obj, name=name, dialect=dialect, indent=indent_spaces, show_meta=show_meta)
    text = page.text()
    return _header(page, text) + text if header and isinstance(obj, IRModule | BaseFunc) else text


def print_page(
    obj: Any,
    *,
    name: str | None = None,
    dialect: str = "tir",
    indent: int = 4,
    marks: Sequence[Any] = (),
    show_meta: bool = False,
) -> Page:
    """The page on which ``obj`` is printed, with ``marks`` to be found on it."""
    page = Page(find_dialect(dialect), indent=indent, marks=marks)
    page.full_constants = show_meta
    if isinstance(obj, IRModule):
        _print_module(page, obj, name or "Module")
    elif isinstance(obj, BaseFunc):
        _print_function(page, obj, name or str(obj.attrs.get("global_symbol", "main")))
    elif is_statement(obj):
        print_stmt(page, obj)
    else:
        page.line(expr_text(page, obj))
    return page


def _print_module(page: Page, mod: IRModule, name: str) -> None:
    page.module = page.names.bind(("module", name), name)
    page.line("@I.ir_module")
    page.line(f"class {name}:")
    with page.indented():
        if mod.attrs:
            page.line(f"I.module_attrs({literal(page, mod.attrs)})")
        if not mod.functions and not mod.attrs:
            page.line("pass")
        for k, (key, func) in enumerate(mod.functions.items()):
            if k or mod.attrs:
                page.line("")
            _print_function(page, func, key)


def _print_function(page: Page, func: BaseFunc, name: str) -> None:
    if isinstance(func, PrimFunc):
        print_prim_func(page, func, name)
        return
    printer = function_printer(type(func))
    if printer is None:
        raise UnsupportedError(f"nothing prints functions of class {type(func).__name__}", rule="script.print")
    printer(page, func, name)


def _header(page: Page, text: str) -> str:
    """Comments that say where the prefixes of ``text`` come from."""
    used = [alias for alias in aliases() if re.search(rf"\b{alias}\.", text)]
    lines = [page.dialect.header(aliases()[alias], alias) for alias in sorted(used)]
    return "\n".join(lines) + "\n\n" if lines else ""
