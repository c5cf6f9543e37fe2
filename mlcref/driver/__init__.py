"""The compiler's front door: a module in, something to call out."""

from typing import TYPE_CHECKING

from mlcref.driver.compile import build, compile
from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref.driver.graph import compile_graph
else:
    __getattr__, __dir__ = names_on_use(__name__, {"mlcref.driver.graph": "compile_graph"})

__all__ = ["build", "compile", "compile_graph"]
