"""Lowering: from blocks and schedules to plain loops, one small pass after the other."""

from mlcref.lower.pipeline import PIPELINE, Pass, lower

__all__ = ["PIPELINE", "Pass", "lower"]
