"""Random search over a stochastic schedule of the big layer, with every instruction of every trace checked by the
oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from mlcref.demo.model import BIG_LAYER, small_layer
from mlcref.driver import compile as compile_module
from mlcref.ir import IRModule, PrimFunc
from mlcref.schedule import Instruction, Schedule, Trace
from mlcref.schedule.find import constant_extent
from mlcref.verify import Verdict, check_equivalent

Array = np.ndarray[Any, Any]
UNROLLED, VECTORIZED = 0, 1


def stochastic_schedule(sch: Schedule) -> Schedule:
    """Tile outputs and inputs of the layer by sampled factors; the innermost outputs are unrolled or vectorized."""
    block = sch.get_block("Y")
    _, j, k = sch.get_loops(block)
    j_0, j_1 = sch.split(j, sch.sample_perfect_tile(j, n=2, max_innermost_factor=32))
    k_0, k_1 = sch.split(k, sch.sample_perfect_tile(k, n=2, max_innermost_factor=16))
    sch.reorder(j_0, k_0, k_1, j_1)
    if sch.get(sch.sample_categorical([UNROLLED, VECTORIZED], [0.7, 0.3])) == UNROLLED:
        sch.unroll(j_1)
    else:
        sch.vectorize(j_1)
    sch.reverse_compute_at(sch.get_block("Z"), j_0)
    sch.decompose_reduction(block, k_0)
    return sch


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a trace, in words, and what the oracle says of it; None for one that changes no program."""

    text: str
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Trial:
    """One sampled schedule: its trace, the median seconds of a call, and the verdicts of its instructions."""

    trace: Trace
    func: PrimFunc
    seconds: float
    steps: tuple[Step, ...]

    @property
    def verified(self) -> bool:
        """Did the oracle accept every instruction?"""
        return all(step.verdict is None or bool(step.verdict) for step in self.steps)


def check_trace(trace: Trace, layer: PrimFunc) -> tuple[Step, ...]:
    """Replay ``trace`` on a smaller ``layer`` and compare the program before and after each instruction.

    Sampled factors are fitted to the smaller loops: the inner factor becomes its greatest common divisor with the
    extent.
    """
    sch = Schedule(layer)
    lines = trace.as_python()
    steps: list[Step] = []
    before = layer

    def fit(inst: Instruction, inputs: Sequence[Any], _attributes: Sequence[Any], decision: Any) -> Any:
        if inst.name != "sample_perfect_tile":
            return decision
        loop: Any = sch.get(inputs[0])
        extent = constant_extent(loop)
        assert extent is not None
        inner = gcd(decision[-1], extent)
        return [extent // inner, inner]

    def compare(_inst: Instruction) -> None:
        nonlocal before
        after = sch.mod["main"]
        verdict = None if after is before else check_equivalent(before, after)
        steps.append(Step(lines[len(steps)], verdict))
        before = after

    trace.apply_to_schedule(sch, decision_provider=fit, after=compare)
    return tuple(steps)


def measure(func: PrimFunc, arrays: Sequence[Array], target: str) -> float:
    """Median seconds of a call of the compiled function."""
    compiled = compile_module(IRModule({"main": func}), target=target)
    evaluator = compiled.time_evaluator("main", number=20, repeat=7)
    return float(evaluator(*arrays).median)


def search(
    mod: IRModule,
    arrays: Sequence[Array],
    *,
    trials: int,
    seed: int,
    target: str,
    report: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """``trials`` different sampled schedules of the big layer, the fastest first; ``report`` hears of each as it is
    measured.
    """
    layer, small = mod[BIG_LAYER], small_layer()
    found: dict[str, Trial] = {}
    attempt = 0
    while len(found) < trials and attempt < 10 * trials:
        sch = stochastic_schedule(Schedule(layer, seed=seed + attempt))
        attempt += 1
        key = str(sch.trace)
        if key in found:
            continue
        func = sch.mod["main"]
        trial = Trial(sch.trace, func, measure(func, arrays, target), check_trace(sch.trace, small))
        found[key] = trial
        report(trial)
    return sorted(found.values(), key=lambda trial: trial.seconds)
