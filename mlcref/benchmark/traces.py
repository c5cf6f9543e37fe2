"""Every schedule of the suite, verified: by the oracle at reduced extents, and compiled, reduced and as it is measured.

For each workload and number of threads: the reduction whose schedule takes the same path (``reduction``), and a ragged
one. Each of their instructions gets the oracle's verdict; both are compiled for this machine, and so is the workload
itself; results are compared with the reference, and memory with the formula of the workspace.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from typing import Any

from mlcref.autoschedule import Machine, with_rules
from mlcref.benchmark.check import WrongResult, check_result, fingerprint, one_line
from mlcref.benchmark.memory import check_growth, watched, workspace_bytes
from mlcref.benchmark.operators import Case, case_of
from mlcref.benchmark.reduction import Reduced, reductions
from mlcref.benchmark.systems.mlcref_system import prepared, schedulable, scheduled, target_for
from mlcref.benchmark.workload import Workload
from mlcref.errors import MlcrefError
from mlcref.schedule.stepwise import CheckWarning

DECIDED = ("TESTED", "PROVED")


@dataclass(slots=True)
class Traced:
    """What was found for a workload with so many ``threads``.

    ``rules`` are those of its blocks, ``extents`` the reduced and the ragged ones, ``same_path`` says that the reduced
    schedule has the instructions of the one that is measured. ``verdicts`` counts those of the instructions,
    ``workspace`` are the bytes that a call of the workload may allocate. ``failures`` is empty when all is well.
    """

    workload: str
    threads: int
    rules: list[str] = field(default_factory=list)
    instructions: int = 0
    extents: list[str] = field(default_factory=list)
    same_path: bool = False
    verdicts: dict[str, int] = field(default_factory=dict)
    compiled: int = 0
    workspace: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """In words.

        >>> Traced("w", 1, verdicts={"TESTED": 3, "PROVED": 1}).verdict
        '3 TESTED, 1 PROVED'
        """
        return ", ".join(f"{count} {status}" for status, count in self.verdicts.items())

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)


def check_traces(chosen: Sequence[Workload], threads: Sequence[int]) -> Iterator[Traced]:
    """What is found for each workload with each number of threads, one after the other.

    >>> from mlcref.benchmark.workload import workload_of
    >>> (found,) = check_traces([workload_of("exp/float32/rows=3,columns=7")], [1])
    >>> found.rules, found.verdict, found.failures
    (['elementwise'], '1 TESTED', [])
    """
    for workload in chosen:
        for count in threads:
            yield check_trace(workload, count)


def check_trace(workload: Workload, threads: int) -> Traced:
    """What is found for one workload; failures are in the result, and nothing is raised for them."""
    found, target = Traced(workload.name, threads), target_for(threads)
    case = case_of(workload)
    sch, rules = with_rules(schedulable(workload), target)
    found.rules = list(dict.fromkeys(rule for _, _, rule in rules))
    found.instructions = len(sch.trace.insts)
    same, ragged = reductions(workload, target)
    small, counts = [same] if ragged.workload.shape == same.workload.shape else [same, ragged], Counter[str]()
    found.extents, found.same_path = [reduced.extents for reduced in small], same.likeness == 1
    for reduced in small:
        _collect(found, f"at {reduced.extents}", partial(verdicts, reduced), counts.update)
        _collect(found, f"compiled at {reduced.extents}", partial(_compiled_small, reduced))
    found.verdicts = dict(counts)
    found.failures += [f"{count} instructions {status}" for status, count in counts.items() if status not in DECIDED]
    found.workspace = _collect(found, "compiled", partial(compiled, case, threads)) or 0
    found.compiled = len(small) + 1 - sum(failure.startswith("compiled") for failure in found.failures)
    return found


def _collect(found: Traced, what: str, step: Callable[[], Any], use: Callable[[Any], Any] = lambda value: None) -> Any:
    """What a step returns, which ``use`` takes; what goes wrong is a failure of the workload."""
    try:
        value = step()
    except MlcrefError as error:
        found.failures.append(f"{what}: {one_line(error.what)}")
        return None
    use(value)
    return value


@cache
def verdicts(reduced: Reduced) -> Counter[str]:
    """The oracle's verdicts on the instructions of a reduced workload's schedule, counted by status.

    Raises ``ScheduleError`` for an instruction that is refuted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckWarning)  # what is not decided is counted
        sch, _ = with_rules(schedulable(reduced.workload), machine=reduced.machine, check="oracle")
    return Counter(str(inst.verdict.status) for inst in sch.trace.insts if inst.verdict is not None)


@cache
def _compiled_small(reduced: Reduced) -> int:
    return compiled(case_of(reduced.workload), reduced.machine.threads, reduced.machine)


def compiled(case: Case, threads: int, machine: Machine | None = None) -> int:
    """Compile the schedule of a workload, compare what it computes with the reference and what it allocates with its
    formula; the formula's bytes. Raises ``WrongResult``, and what compiling raises.
    """
    module = scheduled(case, target_for(threads), machine)
    made, before = prepared(case, module, threads), fingerprint(case)
    assert made.library is not None
    value, growth = watched(made.call)
    check_result(made.result(value), case.reference(), case.empty().dtype)
    if fingerprint(case) != before:
        raise WrongResult("the inputs are not what they were", rule="bench.inputs")
    check_growth(growth, made.library)
    return workspace_bytes(made.library)
