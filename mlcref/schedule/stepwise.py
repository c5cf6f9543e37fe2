"""Verdicts on the instructions of a schedule, as they are applied."""

from __future__ import annotations

import warnings

from mlcref.errors import ScheduleError
from mlcref.ir import PrimFunc
from mlcref.verify.report import REFUTED, UNSUPPORTED, Verdict
from mlcref.verify.step import check_step

MODES = ("off", "oracle", "prove")


class CheckWarning(UserWarning):
    """Instructions of a schedule could not be verified."""


class StepCheck:
    """What ``Schedule(check=...)`` does with each instruction.

    "oracle" runs the program before and after on the same inputs. "prove" asks for a static proof first and runs them
    where there is none. What can be neither proved nor run within the budget of :func:`mlcref.verify.check_step` gets
    the verdict "UNSUPPORTED", never a pass; the first of these warns.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.warned = False

    def verdict(self, name: str, before: PrimFunc, after: PrimFunc) -> Verdict | None:
        """The verdict on a step by the primitive ``name``; None when the mode is "off".

        Raises ``ScheduleError`` with the report when it is "REFUTED".
        """
        if self.mode == "off":
            return None
        found = check_step(before, after, by="prove" if self.mode == "prove" else "oracle")
        if found.status == REFUTED:
            what = f"{name} does not keep the meaning: {found}"
            raise ScheduleError(what, rule=f"{name}.check", root=before)
        if found.status == UNSUPPORTED and not self.warned:
            self.warned = True
            what = f"{name} could not be verified ({found.detail}); its verdict in the trace says so"
            warnings.warn(what, CheckWarning, stacklevel=5)
        return found
