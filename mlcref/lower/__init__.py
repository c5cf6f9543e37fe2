"""Lowering: from blocks and schedules to plain loops, one small pass after the other."""

from typing import TYPE_CHECKING

from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref.lower.pipeline import PIPELINE, Pass, lower
else:
    __getattr__, __dir__ = names_on_use(__name__, {"mlcref.lower.pipeline": "PIPELINE Pass lower"})

__all__ = ["PIPELINE", "Pass", "lower"]
