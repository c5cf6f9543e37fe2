"""Schedules that MetaSchedule samples, replayed here: the same program, or one that means the same?

    python tests/compat/schedule_agreement.py             # measures all and writes data/schedules.json
    python tests/compat/schedule_agreement.py softmax     # shows one operator, writes nothing

Every sketch of MetaSchedule's default spaces for the CPU (llvm) and for CUDA is sampled several times, for operators
that TVM builds itself, with its default postprocessors. The trace, in the JSON form of TVM, is applied to our schedule
of the same function. The result is "equal" when it has the structure of TVM's after index expressions are simplified on
both sides and loops renamed, "equivalent" when the oracle finds no difference, "refused" with our rule, or "differs".
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tvm
from rich.progress import track
from tvm.s_tir import meta_schedule

from mlcref.errors import MlcrefError
from mlcref.ir import IRModule, PrimFunc, first_difference
from mlcref.schedule import Schedule, Trace
from mlcref.script import from_source
from mlcref.verify import check_equivalent
from normal_form import normalised
from topi_agreement import made_by_tvm, told
from topi_catalog import OPERATORS, Operator, Spec

LIST = Path(__file__).parent / "data" / "schedules.json"
TARGETS: dict[str, dict[str, Any]] = {
    "llvm": {"kind": "llvm", "num-cores": 4},
    "cuda": {"kind": "cuda", "arch": "sm_80", "max_threads_per_block": 1024, "thread_warp_size": 32,
             "max_shared_memory_per_block": 49152},
}  # fmt: skip
SCHEDULED = ("matmul", "dense", "batch_matmul", "softmax", "conv2d_nchw", "conv2d_nhwc", "max_pool2d", "relu", "sum",
             "transpose", "layer_norm", "bilinear_matmul_relu", "conv1d_ncw", "log_softmax", "argmax",
             "depthwise_conv2d_nchw", "add", "exp", "concatenate")  # fmt: skip
SEEDS = range(1, 7)
MOST_STATEMENTS = 300_000


@dataclass(frozen=True)
class Line:
    """One sampled trace: ``status`` is "equal", "equivalent", "undecided", "differs", "refused" or "fails"."""

    operator: str
    arguments: str
    target: str
    sketch: int
    seed: int
    instructions: int
    status: str
    cause: str = ""


def sampled(theirs: Any, target: str, seed: int) -> Iterator[tuple[int, Any]]:
    """The number of each sketch, and its schedule with decisions of ``seed`` and TVM's postprocessors."""
    context = meta_schedule.TuneContext(
        mod=tvm.IRModule({"main": theirs}), target=tvm.target.Target(TARGETS[target]),
        space_generator="post-order-apply", rand_state=seed, num_threads=1,
    )  # fmt: skip
    for number, schedule in enumerate(context.generate_design_space()):
        schedule.enter_postproc()
        if all(rule.apply(schedule) for rule in context.space_generator.postprocs):
            yield number, schedule


def json_of(trace: Any) -> Any:
    """A trace of TVM as plain JSON values."""
    return json.loads(json.dumps(trace.as_json(), default=lambda x: x.value if hasattr(x, "value") else list(x)))


def replayed(ours: PrimFunc, form: Any, theirs: PrimFunc) -> tuple[str, str]:
    """The status of a trace in JSON form, and why it is not "equal"."""
    sch = Schedule(ours)
    try:
        Trace.apply_json_to_schedule(form, sch)
    except MlcrefError as error:
        return "refused", f"[{error.rule}] {error.what}"
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError, AssertionError) as error:
        return "fails", f"{type(error).__name__}: {error}"
    mine = sch.mod["main"]
    assert isinstance(mine, PrimFunc)
    difference = first_difference(normalised(mine), normalised(theirs))
    if difference is None:
        return "equal", ""
    verdict = check_equivalent(theirs, mine, trials=2, max_statements=MOST_STATEMENTS, minimize=False)
    if verdict.status == "UNSUPPORTED":
        verdict = check_equivalent(ours, mine, trials=2, max_statements=MOST_STATEMENTS, minimize=False)
        status = {"REFUTED": "differs", "UNSUPPORTED": "undecided"}.get(verdict.status, "equivalent")
        return status, f"{difference}; against the function before: {verdict.status}"
    return ("differs" if verdict.status == "REFUTED" else "equivalent"), str(difference)


def measure(operator: Operator, case: Sequence[Spec], target: str) -> Iterator[Line]:
    """Each distinct sampled trace of one function."""
    theirs = made_by_tvm(operator, case)
    ours = from_source(theirs.script())
    assert isinstance(ours, PrimFunc)
    seen: set[str] = set()
    for seed in SEEDS:
        for number, schedule in sampled(theirs, target, seed):
            form = json_of(schedule.trace)
            if json.dumps(form) in seen:
                continue
            seen.add(json.dumps(form))
            result = from_source(schedule.mod.script())
            func = result["main"] if isinstance(result, IRModule) else result
            status, cause = replayed(ours, form, func)
            yield Line(operator.name, told(case), target, number, seed, len(form[0]), status, cause[:300])


def totals(lines: Sequence[Line]) -> dict[str, Any]:
    """How many traces there are of each status, and of how many operators."""
    counts = Counter(line.status for line in lines)
    return {"traces": len(lines), "operators": len({line.operator for line in lines}), **dict(sorted(counts.items()))}


def main() -> None:
    chosen = sys.argv[1:]
    work = [(o, o.cases[0], t) for o in OPERATORS if o.name in (chosen or SCHEDULED) for t in TARGETS]
    lines: list[Line] = []
    for operator, case, target in track(work, disable=not sys.stderr.isatty()):
        lines += measure(operator, case, target)
    if chosen:
        for line in lines:
            print(line)
    else:
        text = json.dumps({"totals": totals(lines), "lines": [asdict(line) for line in lines]}, indent=1)
        partial = LIST.with_name(f"{LIST.name}.{os.getpid()}")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(LIST)
    print(totals(lines))


if __name__ == "__main__":
    main()
