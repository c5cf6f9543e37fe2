"""``python -m bench.memory_plan``: static memory plans of well-known networks beside their lower bounds.

``--write`` puts the table into docs/memory_plan.md. Weights and the result are not counted; nothing is compiled or run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.tvm_plans import recorded
from mlcref import relax
from mlcref.benchmark.networks import NETWORKS
from mlcref.ir import IRModule
from mlcref.relax.plan_memory import MemoryPlan, memory_plan

PAGE = Path(__file__).parents[1] / "docs" / "memory_plan.md"
TARGET = "cython --num-cores=2"
BAR = 1.05
"""The plan over the lower bound, at most."""

HEAD = """# Static memory plans

Written by `python -m bench.memory_plan --write`; do not edit. Graphs of four networks at their real shapes, batch 1,
float32 (`mlcref/benchmark/networks.py`): legalized, *one* kernel for *each* operator, and *fused* and scheduled, as
`get_pipeline("autoschedule")` leaves them. *Sum* is what the values between the kernels take when each has memory of
its own, *bound* what is alive at once at some kernel, which no plan can be below, *plan* what `StaticPlanMemory` takes.
*In place* counts the values that are written over an input which nothing needs any more, as the accesses of the
kernel's program allow; bound and plan count such a pair once. *TVM* is what `StaticPlanBlockMemory` of TVM 0.27 takes
for the same graph, in the second row as TVM fuses it (`python -m bench.tvm_plans`). Weights and results are not
counted. In MiB.

"""
COLUMNS = ("network", "kernels", "values", "sum", "bound", "plan", "ratio", "in place", "bound", "plan", "ratio",
           "TVM")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Plans of one network in one form, without and with values that are written in place."""

    network: str
    form: str
    alone: MemoryPlan
    shared: MemoryPlan

    def cells(self) -> tuple[str, ...]:
        """The row as text, a cell for each of ``COLUMNS``."""
        over = sum(value.over is not None for value in self.shared.values)
        return (
            self.network, self.form, str(len(self.alone.values)), _mib(self.alone.total), *_plan(self.alone),
            str(over), *_plan(self.shared), _mib(recorded()[self.network][self.form]),
        )  # fmt: skip

    @property
    def ratio(self) -> float:
        """The larger of the two ratios."""
        return max(self.alone.ratio, self.shared.ratio)


def _mib(size: int) -> str:
    return f"{size / 2**20:.2f}"


def _plan(plan: MemoryPlan) -> tuple[str, str, str]:
    return _mib(plan.least), _mib(plan.bytes), f"{plan.ratio:.3f}"


def row(network: str, form: str, module: IRModule) -> Row:
    """The plans of ``module``."""
    return Row(network, form, memory_plan(module, in_place=False), memory_plan(module))


def legalized(network: str) -> Row:
    """The plans of a network with one kernel for each operator."""
    return row(network, "one each", relax.transform.LegalizeOps()(NETWORKS[network]()))


def scheduled(network: str) -> Row:
    """The plans of a network that is fused and scheduled."""
    return row(network, "fused", relax.get_pipeline("autoschedule", target=TARGET)(NETWORKS[network]()))


def rows() -> Iterator[Row]:
    """All rows; scheduling takes some seconds for each network."""
    for network in NETWORKS:
        yield legalized(network)
        yield scheduled(network)


def markdown(found: list[Row]) -> str:
    """The rows as a table for the documentation."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(item.cells() for item in found)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def main(write: bool) -> int:
    """Print the table, and write the page; 1 where a plan misses the bar."""
    found = list(rows())
    table = Table(*COLUMNS)
    for item in found:
        table.add_row(*item.cells())
    Console(width=max(Console().width, 120)).print(table)
    if write:
        PAGE.write_text(HEAD + markdown(found), encoding="utf-8")
    return int(max(item.ratio for item in found) > BAR)


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
