"""Does one program mean what another means? Verdicts by the oracle, for programs, traces and passes."""

from mlcref.verify.bisect import Bisection, bisect_passes, bisect_trace
from mlcref.verify.equivalent import check_equivalent
from mlcref.verify.findings import verify
from mlcref.verify.old_layout import in_old_layout
from mlcref.verify.passes import PassVerdict, check_passes
from mlcref.verify.proofs import ProofContradiction
from mlcref.verify.replay import replay
from mlcref.verify.report import Counterexample, Finding, Verdict
from mlcref.verify.step import check_step

__all__ = [
    "Bisection", "Counterexample", "Finding", "PassVerdict", "ProofContradiction", "Verdict", "bisect_passes",
    "bisect_trace", "check_equivalent", "check_passes", "check_step", "in_old_layout", "replay", "verify",
]  # fmt: skip
