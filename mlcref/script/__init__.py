"""TVMScript: reading programs (decorators, texts) and writing them (text, drawings under errors, colour)."""

from mlcref.errors import set_drawer
from mlcref.ir.base import install_printer
from mlcref.script import ir, relax, tir, tirx
from mlcref.script.carets import draw
from mlcref.script.parse import from_source, ir_module, parse
from mlcref.script.print import print_script
from mlcref.script.registry import (
    register_function_parser,
    register_function_printer,
    register_namespace,
    register_node_printer,
)  # fmt: skip
from mlcref.script.show import html, show
from mlcref.script.source import Source

install_printer(print_script, show, html)
set_drawer(draw)

__all__ = [
    "Source", "draw", "from_source", "html", "ir", "ir_module", "parse", "print_script", "show",
    "register_function_parser", "register_function_printer",
    "register_namespace", "register_node_printer", "relax", "tir", "tirx",
]  # fmt: skip
