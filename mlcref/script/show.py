"""Scripts in colour, in terminals and notebooks.

rich is imported where it is used: that takes 20 ms, which a program that shows nothing need not pay.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from mlcref.script.print import print_script

if TYPE_CHECKING:
    from rich.syntax import Syntax


def show(obj: Any, style: str | None = None, **options: Any) -> None:
    """Print the script of ``obj``, highlighted where standard output is a terminal. ``style``: a style of pygments."""
    from rich.console import Console

    text = print_script(obj, **options)
    console = Console()
    if console.is_terminal or console.is_jupyter:
        console.print(_highlighted(text, style or "ansi_dark"))
    else:
        print(text)


def html(obj: Any, style: str | None = None, **options: Any) -> str:
    """The script of ``obj`` as highlighted HTML, for notebooks."""
    from rich.console import Console

    text = print_script(obj, **options)
    width = max(len(line) for line in text.splitlines()) + 1
    console = Console(record=True, file=io.StringIO(), width=width)
    console.print(_highlighted(text, style or "default"))
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def _highlighted(text: str, style: str) -> Syntax:
    from rich.syntax import Syntax

    return Syntax(text, "python", theme=style, background_color="default", word_wrap=True)
