"""Does one program mean what another means? Verdicts by the oracle, for programs, traces and passes."""

from mlcref.verify.bisect import Bisection, bisect_passes, bisect_trace
from mlcref.verify.equivalent import check_equivalent
from mlcref.verify.findings import verify
from mlcref.verify.passes import PassVerdict, check_passes
from mlcref.verify.replay import replay
from mlcref.verify.report import Counterexample, Finding, Verdict

__all__ = [
    "Bisection", "Counterexample", "Finding", "PassVerdict", "Verdict", "bisect_passes", "bisect_trace",
    "check_equivalent", "check_passes", "replay", "verify",
]  # fmt: skip
