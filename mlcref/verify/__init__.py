"""Does one program mean what another means? Verdicts by the oracle, for programs and for passes."""

from mlcref.verify.equivalent import check_equivalent
from mlcref.verify.passes import PassVerdict, check_passes
from mlcref.verify.report import Counterexample, Verdict

__all__ = ["Counterexample", "PassVerdict", "Verdict", "check_equivalent", "check_passes"]
