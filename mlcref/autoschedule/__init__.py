"""Schedules from the structure of blocks."""

from mlcref.autoschedule.core import autoschedule
from mlcref.autoschedule.machine import Machine

__all__ = ["Machine", "autoschedule"]
