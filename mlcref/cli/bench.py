"""``python -m mlcref bench``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mlcref.benchmark.measure import Effort
from mlcref.benchmark.page import page
from mlcref.benchmark.report import show, threads_words
from mlcref.benchmark.results import Results
from mlcref.benchmark.run import Listener, Plan
from mlcref.benchmark.run import run as run_plan
from mlcref.benchmark.systems import SYSTEMS
from mlcref.benchmark.workload import SUITES, select
from mlcref.cli import bench_traces
from mlcref.errors import MlcrefError

_FILE = "mlcref-bench.jsonl"


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    bench: argparse.ArgumentParser = commands.add_parser(
        "bench", help="measure mlcref beside numpy, PyTorch, ONNX Runtime, JAX, numba and TVM"
    )
    bench.add_argument("--suite", choices=SUITES, default="small", help="which workloads (default %(default)s)")
    bench.add_argument("--only", nargs="+", default=[], metavar="PATTERN", help="of them those named like 'conv2d*'")
    known = ", ".join(SYSTEMS)
    bench.add_argument("--systems", type=_names, default=(), metavar="A,B", help=f"of {known} (default: all but tvm*)")
    bench.add_argument("--threads", type=_numbers, default=(1, 2), metavar="1,2", help="(default 1,2)")
    bench.add_argument("--rounds", type=int, default=15, help="measurements of each call (default %(default)s)")
    bench.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: of one thread, its own time only")
    bench.add_argument("--limit", type=float, default=120.0, help="seconds that a step may take (default %(default)s)")
    bench.add_argument("--no-memory", action="store_true", help="leave out peak memory, a process for each row")
    bench.add_argument("--no-peaks", action="store_true", help="leave out the machine's bandwidths and peaks")
    bench.add_argument("--results", type=Path, default=Path(_FILE), help="the file of results (default %(default)s)")
    bench.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    bench.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots")
    bench.add_argument("--list", action="store_true", help="list the workloads and measure nothing")
    words = "measure nothing, verify each schedule at reduced extents, and compiled"
    bench.add_argument("--check-traces", action="store_true", help=words)
    bench.add_argument("--show", action="store_true", help="show the results of the file and measure nothing")
    return bench


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def run(options: argparse.Namespace) -> int:
    """Run it: 0, or 1 when a result was wrong or mlcref failed."""
    if options.list:
        for workload in select(options.suite, options.only):
            print(workload.name)
        return 0
    if options.check_traces:
        return bench_traces.run(options)
    try:
        results = _shown(options.results) if options.show else _measured(options)
    except KeyboardInterrupt:
        words = f"interrupted; the same command continues, what is measured is in {options.results}"
        Console(stderr=True).print(words, highlight=False, soft_wrap=True)
        return 130
    _report(results, options)
    return int(any(_bad(row) for row in results.rows()))


def _bad(row: dict[str, Any]) -> bool:
    return bool(row["status"] == "wrong" or (row["status"] == "failed" and row["system"].startswith("mlcref")))


def _shown(path: Path) -> Results:
    found = Results.read(path) if path.exists() else None
    if found is None:
        raise MlcrefError(f"{path} holds no results", rule="bench.results", hint="measure first, without --show")
    return found


def _report(results: Results, options: argparse.Namespace) -> None:
    if options.html is not None:
        options.html.write_text(page(results), encoding="utf-8")
    if options.json:
        print(json.dumps(results.as_json(), indent=2))
    else:
        console = Console()
        show(results, console if console.is_terminal else Console(width=200))


def _measured(options: argparse.Namespace) -> Results:
    effort = Effort(rounds=options.rounds, clock=options.clock)
    plan = Plan(
        options.suite, tuple(options.only), options.systems, options.threads, effort, options.limit,
        not options.no_memory, not options.no_peaks,
    )  # fmt: skip
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None)

        def begin(total: int, done: int) -> None:
            progress.update(task, total=total, completed=done)

        def step(workload: str, threads: int, text: str) -> None:
            progress.update(task, description=f"{workload}, {threads_words(threads)}: {text}")

        def group(_: dict[str, Any]) -> None:
            progress.advance(task)

        return run_plan(plan, options.results, Listener(begin, step, group))
