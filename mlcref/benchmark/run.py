"""The suite: every workload with every number of threads, in worker processes, results as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlcref.benchmark.child import Child, Step, WorkerLost
from mlcref.benchmark.machine import machine, versions
from mlcref.benchmark.measure import Effort
from mlcref.benchmark.operators import case_of
from mlcref.benchmark.results import Results
from mlcref.benchmark.systems import chosen_systems
from mlcref.benchmark.workload import Workload, digest, select
from mlcref.errors import MlcrefError

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. ``patterns`` narrow the suite by name, ``limit`` is the seconds that any step may take."""

    suite: str = "small"
    patterns: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1, 2)
    effort: Effort = field(default_factory=Effort)
    limit: float = 120.0
    memory: bool = True
    peaks: bool = True

    def header(self) -> dict[str, Any]:
        """The first line of the results: two runs with the same one measure the same."""
        systems = chosen_systems(self.systems)
        return {
            "suite": self.suite,
            "patterns": list(self.patterns),
            "systems": systems,
            "threads": list(self.threads),
            "effort": asdict(self.effort),
            "limit": self.limit,
            "memory": self.memory,
            "peaks_wanted": self.peaks,
            "workloads": digest(),
            "machine": machine(),
            "versions": versions(systems),
        }


@dataclass(frozen=True, slots=True)
class Listener:
    """Hears what goes on: how many groups there are and how many were there already, steps, finished groups."""

    begin: Callable[[int, int], None] = lambda total, done: None
    step: Callable[[str, int, str], None] = lambda workload, threads, text: None
    group: Callable[[dict[str, Any]], None] = lambda group: None


def run(plan: Plan, path: Path | None = None, listener: Listener | None = None) -> Results:
    """Measure everything that ``path`` does not hold yet.

    Raises ``MlcrefError`` for a suite, pattern or system that does not exist and for a number of threads below 1.
    """
    if not plan.threads or min(plan.threads) < 1:
        raise MlcrefError("threads are counted from 1", rule="bench.threads")
    hear = listener or Listener()
    chosen = select(plan.suite, plan.patterns)
    results = Results.started(plan.header(), path)
    left = [(threads, w) for threads in plan.threads for w in chosen if not results.has(w.name, threads)]
    total = len(plan.threads) * len(chosen)
    hear.begin(total, total - len(left))
    for threads in plan.threads:
        mine = [workload for count, workload in left if count == threads]
        if mine:
            _Session(plan, threads, results, hear).run(mine)
    if not results.complete:
        results.finish()
    return results


class _Session:
    """All workloads with one number of threads. A worker that is lost is replaced by another."""

    def __init__(self, plan: Plan, threads: int, results: Results, hear: Listener) -> None:
        self.plan, self.threads, self.results, self.hear = plan, threads, results, hear
        self.child: Child | None = None

    def run(self, chosen: Sequence[Workload]) -> None:
        """Measure them one after the other."""
        try:
            if self.plan.peaks and self.threads not in self.results.peaks:
                self.results.add_peaks(self.threads, self._peaks())
            for workload in chosen:
                group = self._group(workload)
                self.results.add_group(group)
                self.hear.group(group)
        finally:
            self._drop()

    def _peaks(self) -> dict[str, float]:
        try:
            found: dict[str, float] = self._ask({"kind": "peaks", "effort": asdict(self.plan.effort)}, "the machine")
        except MlcrefError:  # no compiler that works: the suite goes on without a roof
            return {}
        return found

    def _group(self, workload: Workload) -> dict[str, Any]:
        case = case_of(workload)
        group = {
            "workload": workload.name, "operator": workload.operator, "dtype": workload.dtype, "threads": self.threads,
            "flops": case.flops, "moved_bytes": case.moved_bytes, "tensor_bytes": case.tensor_bytes,
        }  # fmt: skip
        del case  # the memory of the inputs
        rows = self._measured(workload)
        if self.plan.memory:
            for row in rows:
                if row["status"] == "ok":
                    row.update(self._memory(workload, row["system"]))
        return {**group, "rows": rows}

    def _measured(self, workload: Workload) -> list[Row]:
        """The rows of a workload; a system that the worker was lost with is left out of the next attempt."""
        systems, lost = chosen_systems(self.plan.systems), dict[str, Row]()
        order = list(systems)
        while systems:
            request = {"kind": "measure", "workload": workload.name, "systems": systems}
            try:
                rows = self._ask({**request, "effort": asdict(self.plan.effort)}, workload.name)
            except WorkerLost as error:
                self._drop()
                if error.system is None:
                    rows = [_failure(name, error.what) for name in systems]
                else:
                    systems = [name for name in systems if name != error.system]
                    status = "too slow" if error.late else "failed"
                    lost[error.system] = _failure(error.system, error.what, status)
                    continue
            except MlcrefError as error:
                rows = [_failure(name, error.what) for name in systems]
            by_name = {row["system"]: row for row in rows} | lost
            return [by_name[name] for name in order]
        return [lost[name] for name in order]

    def _memory(self, workload: Workload, system: str) -> Row:
        """Peak memory, from a process that does nothing else."""
        request = {"kind": "memory", "workload": workload.name, "system": system}
        try:
            self._ask({**request, "kind": "rehearse"}, workload.name)
            with Child(self.threads, self.plan.limit) as child:
                found: Row = child.ask(request, self._step(workload.name))
        except MlcrefError as error:
            return {"memory_reason": error.what}
        return found

    def _ask(self, request: Row, about: str) -> Any:
        if self.child is None:
            self.child = Child(self.threads, self.plan.limit)
        return self.child.ask(request, self._step(about))

    def _step(self, about: str) -> Step:
        return lambda step, system: self.hear.step(about, self.threads, step if system is None else f"{step}: {system}")

    def _drop(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None


def _failure(system: str, reason: str, status: str = "failed") -> Row:
    return {"system": system, "status": status, "reason": reason}
