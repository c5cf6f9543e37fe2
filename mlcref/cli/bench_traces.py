"""``python -m mlcref bench --check-traces``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from mlcref.benchmark.report import bytes_words, threads_words
from mlcref.benchmark.traces import Traced, check_trace
from mlcref.benchmark.workload import select


def run(options: argparse.Namespace) -> int:
    """Verify the schedules of the chosen workloads: 0, or 1 when one of them failed."""
    found: list[Traced] = []
    chosen = [(workload, threads) for workload in select(options.suite, options.only) for threads in options.threads]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=len(chosen))
        for workload, threads in chosen:
            progress.update(task, description=f"{workload.name}, {threads_words(threads)}")
            found.append(check_trace(workload, threads))
            progress.advance(task)
            for failure in found[-1].failures:
                progress.console.print(f"{workload.name}, {threads_words(threads)}: {failure}", highlight=False)
    if options.json:
        print(json.dumps([each.as_json() for each in found], indent=2))
    else:
        console = Console()
        show(found, console if console.is_terminal else Console(width=200))
    return int(any(each.failures for each in found))


def show(found: Sequence[Traced], console: Console) -> None:
    """A line for each workload and number of threads, and what is true of all."""
    heads = "threads", "rules", "instructions", "reduced to, and ragged", "path", "verdicts", "workspace", "compiled"
    table = Table(Column("workload", overflow="fold"), *heads, pad_edge=False)
    for each in found:
        columns = [
            str(each.threads), ", ".join(each.rules) or "none", str(each.instructions), "\n".join(each.extents),
            "same" if each.same_path else "similar", each.verdict, bytes_words(each.workspace),
            "\n".join(each.failures) or f"{each.compiled} within bound",
        ]  # fmt: skip
        table.add_row(each.workload, *columns, style="red" if each.failures else None)
    console.print(table)
    good, same = sum(not each.failures for each in found), sum(each.same_path for each in found)
    words = f"{good} of {len(found)} schedules hold; {same} of them were reduced along the same path"
    console.print(words, highlight=False)
