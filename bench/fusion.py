"""``python -m bench.fusion``: what fusion does to a transformer block and a block of ResNet-50.

Kernels, bytes between them, the memory that the plan takes, and time, before and after; both forms are scheduled in the
same way, with the layouts of weights prepared. ``--write`` puts the table into docs/fusion.md, ``--show`` prints which
calls became one kernel. Exits with 1 when a result is wrong.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mlcref import relax
from bench.kernel_bounds import kernels_are_right
from mlcref.benchmark.measure import Effort, interleaved, ratio
from mlcref.benchmark.networks import BLOCKS, shape_of
from mlcref.driver import compile
from mlcref.interp.graph import interpret_graph
from mlcref.ir import IRModule
from mlcref.relax import transform
from mlcref.relax.graph_steps import between_bytes, graph_steps
from mlcref.relax.pipeline import RemoveUncalledFunctions, ScheduleTensorPrograms
from mlcref.relax.plan_memory import memory_plan

PAGE = Path(__file__).parents[1] / "docs" / "fusion.md"
SMALL: dict[str, tuple[int, int]] = {"transformer block": (4, 8), "ResNet block": (8, 4)}
"""Sizes at which the oracle runs the blocks."""
EFFORT = Effort(rounds=15, seconds=0.02)

HEAD = """# Fusion of two blocks

Written by `python -m bench.fusion --write`; do not edit. A transformer block (128 tokens, width 256, four heads,
normalization first) and a block of ResNet-50 (256 channels, 56×56, batch 1) in float32, built with `BlockBuilder`
(`mlcref/benchmark/networks.py`), before and after `FuseOps` and `FuseTIR`. Both forms are scheduled by the same rules,
with the layouts of weights prepared and memory planned. *Between* is what kernels hand to each other, *plan* the block
of memory that these values share. Times are medians of 15 rounds in which the forms take turns, the ratio is the median
over the rounds.

*Oracle*: at small extents the graph oracle finds the same bits before and after; at these extents every element that a
compiled kernel computes is within its bound of exact arithmetic on what the kernel was given
(`mlcref.testing.graph_bounds`), and nothing changes where values share memory.

"""
COLUMNS = (
    "block", "threads", "kernels", "between, KiB", "plan, KiB", "before, µs", "after, µs", "times as fast", "oracle",
)  # fmt: skip


def unfused_pipeline(target: str) -> transform.Sequential:
    """The "autoschedule" pipeline without fusion."""
    return transform.Sequential([
        transform.FoldConstant(), transform.LegalizeOps(), transform.FoldConstant(), RemoveUncalledFunctions(),
        transform.AttachAttrLayoutFreeBuffers(), ScheduleTensorPrograms(target),
        transform.SplitLayoutRewritePreproc(), transform.FoldConstant(), RemoveUncalledFunctions(),
    ])  # fmt: skip


def with_weights(module: IRModule) -> tuple[IRModule, np.ndarray[Any, Any]]:
    """A block with random weights, and random data for it."""
    generator = np.random.default_rng(0)
    data, *weights = module["main"].params
    values = {weight.name_hint: weights_like(weight.name_hint, shape_of(weight), generator) for weight in weights}
    x = generator.standard_normal(shape_of(data)).astype("float32")
    return transform.BindParams("main", values)(module), x


def weights_like(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """Random weights as after training: scales (their names begin with g) around 1, small shifts, and sums of products
    that neither grow nor vanish."""
    if len([extent for extent in shape if extent > 1]) == 1:
        return (name.startswith("g") + 0.1 * generator.standard_normal(shape)).astype("float32")
    terms = shape[0] if len(shape) == 2 else np.prod(shape[1:])
    return (generator.standard_normal(shape) / (2 * np.sqrt(terms))).astype("float32")


def oracle_agrees(name: str) -> bool:
    """Does the oracle find the same bits before and after fusion, at small extents?"""
    module, x = with_weights(BLOCKS[name](*SMALL[name]))
    forms = (transform.LegalizeOps()(module), relax.get_pipeline("zero")(module))
    before, after = (interpret_graph(form, x) for form in forms)
    return bool(before.tobytes() == after.tobytes())


@dataclass(frozen=True)
class Form:
    """A block in one form: its kernels, the bytes between them, the bytes of the plan, and the compiled function."""

    kernels: int
    between: int
    planned: int
    run: Callable[..., Any]


def form_of(module: IRModule, target: str) -> Form:
    """``module``, scheduled, compiled."""
    steps = graph_steps(module)
    run = relax.VirtualMachine(compile(module, target))["main"]
    return Form(len(steps), between_bytes(steps) or 0, memory_plan(module).bytes, run)


@dataclass(frozen=True)
class Row:
    """What fusion does to one block on some threads; times in microseconds."""

    block: str
    threads: int
    before: Form
    after: Form
    times: tuple[float, float]
    faster: float
    right: bool

    def cells(self) -> tuple[str, ...]:
        """The row as text, a cell for each of ``COLUMNS``."""
        pairs = [
            (self.before.kernels, self.after.kernels), (self.before.between // 1024, self.after.between // 1024),
            (self.before.planned // 1024, self.after.planned // 1024),
        ]  # fmt: skip
        return (
            self.block, str(self.threads), *(f"{a} → {b}" for a, b in pairs), *(f"{time:.0f}" for time in self.times),
            f"{self.faster:.2f}", "agrees" if self.right else "WRONG",
        )  # fmt: skip


def row(name: str, threads: int, effort: Effort = EFFORT) -> tuple[Row, IRModule, IRModule]:
    """Measure one block; gives the graph as it was built and the fused one, too."""
    module, x = with_weights(BLOCKS[name]())
    target = f"cython --num-cores={threads}"
    fused = relax.get_pipeline("autoschedule", target=target)(module)
    unfused = unfused_pipeline(target)(module)
    before, after = form_of(unfused, target), form_of(fused, target)
    right = all(kernels_are_right(module, form, target, x) for form in (unfused, fused)) and oracle_agrees(name)
    calls = {"before": lambda: before.run(x), "after": lambda: after.run(x)}
    seconds = interleaved(calls, effort.for_threads(threads))
    times = tuple([1e6 * statistics.median(seconds[key]) for key in calls])
    faster = ratio(seconds["after"], seconds["before"])
    return Row(name, threads, before, after, (times[0], times[1]), faster, right), module, fused


def markdown(rows: list[Row]) -> str:
    """The rows as a table for the documentation."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(item.cells() for item in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def main(arguments: list[str]) -> int:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.fusion", description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--write", action="store_true", help="write docs/fusion.md")
    parser.add_argument("--show", action="store_true", help="print which calls became one kernel")
    options = parser.parse_args(arguments)
    rows, table = [], Table(*COLUMNS)
    for name in BLOCKS:
        for threads in options.threads:
            made, module, fused = row(name, threads)
            rows.append(made)
            table.add_row(*made.cells())
        if options.show:
            relax.show(module, fused)
    Console(width=max(Console().width, 140)).print(table)
    if options.write:
        PAGE.write_text(HEAD + markdown(rows), encoding="utf-8")
    return int(not all(made.right for made in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
