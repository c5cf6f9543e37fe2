"""The process that measures: ``python -m mlcref.benchmark.worker FD``. Requests come as JSON lines on standard input,
messages go as JSON lines to the file descriptor ``FD``; what libraries print disturbs nothing.

A message with "step" says what begins, so that the parent knows whom to blame when nothing follows. One with "result"
ends a request.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

from mlcref.benchmark import peaks
from mlcref.benchmark.check import (
    WrongResult, check_meaning, check_result, fingerprint, foreign, one_line, reduced,
)  # fmt: skip
from mlcref.benchmark.measure import Call, Effort, interleaved, quartiles, ratio, seconds_per_call
from mlcref.benchmark.memory import check_growth, forget_peak, peak_memory, resident_memory, watched, workspace_bytes
from mlcref.benchmark.operators import Case, case_of
from mlcref.benchmark.systems import SYSTEMS
from mlcref.benchmark.workload import workload_of
from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.runtime.compiler import why_no_compiler

Row = dict[str, Any]
Say = Callable[[Mapping[str, Any]], None]

REFERENCES = ("numpy", "torch")
PEAK = "peak"
_SLOW_SECONDS, _VERY_SLOW_SECONDS = 0.25, 5.0
"""A call that takes longer is timed once; a very slow one the first time."""


def measure(request: Mapping[str, Any], say: Say) -> list[Row]:
    """The rows of a workload, one for each system of the request."""
    case, threads = case_of(workload_of(request["workload"])), int(request["threads"])
    effort = Effort(**request["effort"]).for_threads(threads)
    say({"step": "reference", "system": None})
    w = case.workload
    check_meaning(w.operator, w.dtype, w.layout)
    contestants = _Contestants(case, threads, effort, say)
    for name in request["systems"]:
        contestants.admit(name)
    contestants.race()
    return list(contestants.rows.values())


class _Contestants:
    """The systems that compute a workload correctly, and the rows of all."""

    def __init__(self, case: Case, threads: int, effort: Effort, say: Say) -> None:
        self.case, self.threads, self.effort, self.say, self.now = case, threads, effort, say, effort.now
        self.want, self.before = case.reference(), fingerprint(case)
        self.calls: dict[str, Call] = {}
        self.samples: dict[str, list[float]] = {}
        self.rows: dict[str, Row] = {}

    def admit(self, name: str) -> None:
        """Prepare a system and check its result; its row says why it does not take part."""
        row = self.rows[name] = {"system": name, "status": "ok", "reason": ""}
        self.say({"step": "prepare", "system": name})
        reason = SYSTEMS[name].why_not()
        if reason is not None:
            row.update(status="unavailable", reason=one_line(reason))
            return
        try:
            foreign(lambda: self._run_once(name, row))
        except WrongResult as error:
            row.update(status="wrong", reason=one_line(error.what))
        except UnsupportedError as error:
            row.update(status="unsupported", reason=one_line(error.what))
        except MlcrefError as error:
            row.update(status="failed", reason=one_line(error.what))

    def _run_once(self, name: str, row: Row) -> None:
        start = perf_counter()
        prepared = SYSTEMS[name].prepare(self.case, self.threads)
        row["prepare_seconds"] = perf_counter() - start
        self.say({"step": "first call", "system": name})
        start = self.now()
        value, growth = watched(prepared.call)
        taken = self.now() - start
        check_result(prepared.result(value), self.want, self.case.empty().dtype)
        if fingerprint(self.case) != self.before:
            raise WrongResult("the inputs are not what they were", rule="bench.inputs")
        if prepared.library is not None:
            check_growth(growth, prepared.library)
            row["workspace_bytes"] = workspace_bytes(prepared.library)
        if taken < _VERY_SLOW_SECONDS:
            taken = seconds_per_call(prepared.call, 1, self.now)
        if taken > _SLOW_SECONDS:
            self.samples[name] = [taken]
        else:
            self.calls[name] = prepared.call

    def race(self) -> None:
        """Time them in turn, the machine's peak among them, and complete the rows."""
        calls = dict(self.calls)
        top = _peak(self.case, self.threads)
        if top is not None:
            calls[PEAK] = top.call
        self.samples.update(foreign(lambda: interleaved(calls, self.effort, self._turn)))
        roof = top.flops / quartiles(self.samples.pop(PEAK))[1] if top is not None else None
        for name, row in self.rows.items():
            if name in self.samples:
                row.update(self._figures(name, roof))

    def _turn(self, name: str) -> None:
        self.say({"step": "measure", "system": None if name == PEAK else name})

    def _figures(self, name: str, roof: float | None) -> Row:
        low, middle, high = quartiles(self.samples[name])
        found: Row = {"lower": low, "median": middle, "upper": high, "samples": len(self.samples[name])}
        found["flops_per_second"] = self.case.flops / middle
        found["bytes_per_second"] = self.case.moved_bytes / middle
        if roof is not None:
            found["peak_flops_per_second"] = roof
            found["share_of_peak"] = self.case.flops / middle / roof
        for other in REFERENCES:
            if other in self.samples:
                found[f"times_{other}"] = self._ratio(name, other)
        return found

    def _ratio(self, name: str, other: str) -> float:
        mine, theirs = self.samples[name], self.samples[other]
        if len(mine) == len(theirs):
            return ratio(mine, theirs)
        return quartiles(theirs)[1] / quartiles(mine)[1]


def _peak(case: Case, threads: int) -> peaks.Peak | None:
    if why_no_compiler() is not None:
        return None
    return peaks.fma("float64" if case.workload.dtype == "float64" else "float32", threads)


def memory(request: Mapping[str, Any], say: Say) -> Row:
    """Peak resident memory of a process that runs one workload in one system, and what it had before its inputs.

    Before them the system has run a tiny workload of the same operator, so that its libraries are loaded; a slow system
    has not. The peak is one of preparing and calling: what it takes to draw the inputs does not count.
    """
    workload, threads = workload_of(request["workload"]), int(request["threads"])
    system = SYSTEMS[request["system"]]
    say({"step": "memory", "system": system.name})
    reason = system.why_not()
    if reason is not None:
        raise UnsupportedError(reason)
    tiny = reduced(workload)
    if tiny is not None and not system.slow:
        prepared = system.prepare(case_of(tiny), threads)
        prepared.call()
    loaded = resident_memory() or peak_memory()
    case = case_of(workload)
    forget_peak()
    prepared = system.prepare(case, threads)
    for _ in range(3):
        prepared.call()
    return {"peak_rss_bytes": peak_memory(), "loaded_rss_bytes": loaded}


def rehearse(request: Mapping[str, Any], say: Say) -> None:
    """Prepare a tiny workload of the operator: a process that measures memory then finds what was compiled for it."""
    tiny, system = reduced(workload_of(request["workload"])), SYSTEMS[request["system"]]
    say({"step": "memory", "system": system.name})
    if tiny is not None and not system.slow:
        system.prepare(case_of(tiny), int(request["threads"]))


def machine_peaks(request: Mapping[str, Any], say: Say) -> Row:
    """What the machine can do at most with so many threads; empty where no kernel can be built."""
    say({"step": "peaks", "system": None})
    if why_no_compiler() is not None:
        return {}
    threads = int(request["threads"])
    return dict(peaks.measured(threads, Effort(**request["effort"]).for_threads(threads).now))


REQUESTS: dict[str, Callable[[Mapping[str, Any], Say], Any]] = {
    "measure": measure, "memory": memory, "peaks": machine_peaks, "rehearse": rehearse,
}  # fmt: skip


def main(descriptor: int) -> None:
    """Answer requests until the input ends."""
    with os.fdopen(descriptor, "w", encoding="utf-8") as channel:

        def say(message: Mapping[str, Any]) -> None:
            channel.write(json.dumps(message) + "\n")
            channel.flush()

        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = partial(REQUESTS[request["kind"]], request, say)
                say({"result": foreign(answer)})
            except MlcrefError as error:
                say({"error": one_line(error.what)})


if __name__ == "__main__":
    main(int(sys.argv[1]))
