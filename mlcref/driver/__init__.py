"""The compiler's front door: a module in, something to call out."""

from typing import TYPE_CHECKING

from mlcref.driver.compile import compile
from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref.driver.graph import compile_graph
    from mlcref.driver.tensor_expressions import build
else:
    __getattr__, __dir__ = names_on_use(
        __name__, {"mlcref.driver.graph": "compile_graph", "mlcref.driver.tensor_expressions": "build"}
    )

__all__ = ["build", "compile", "compile_graph"]
