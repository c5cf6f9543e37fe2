"""Results in words: durations, ratios, geometric means, and a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from mlcref.benchmark.results import Results

Row = Mapping[str, Any]

_REFERENCE_ORDER = ("torch", "numpy")


def duration(seconds: float) -> str:
    """In a unit that suits it.

    >>> duration(1.5e-6), duration(0.25), duration(3e-9)
    ('1.50 µs', '250 ms', '3.00 ns')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{_three(seconds / scale)} {unit}"
    return f"{_three(seconds * 1e9)} ns"


def _three(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def speed(row: Row) -> str:
    """Operations per second, or bytes where there is nothing to compute.

    >>> speed({"flops": 10, "flops_per_second": 2e10}), speed({"flops": 0, "bytes_per_second": 5e9})
    ('20.0 Gop/s', '5.00 GB/s')
    """
    if row["flops"]:
        return f"{_three(row['flops_per_second'] / 1e9)} Gop/s"
    return f"{_three(row['bytes_per_second'] / 1e9)} GB/s"


def bytes_words(size: float) -> str:
    """A number of bytes.

    >>> bytes_words(3 * 2**20), bytes_words(360)
    ('3.0 MiB', '0.4 KiB')
    """
    unit, name = (2**20, "MiB") if size >= 2**20 else (2**10, "KiB")
    return f"{size / unit:.1f} {name}" if size < 100 * unit else f"{size / unit:.0f} {name}"


def memory(row: Row) -> str:
    """The peak of the process, by how much this workload raised it, and the workspace of a call.

    >>> memory({"peak_rss_bytes": 80 << 20, "loaded_rss_bytes": 60 << 20, "workspace_bytes": 1 << 20})
    '80.0 MiB (+20.0 MiB), workspace 1.0 MiB'
    """
    if "peak_rss_bytes" not in row:
        return str(row.get("memory_reason", ""))
    grown = row["peak_rss_bytes"] - row["loaded_rss_bytes"]
    words = f"{bytes_words(row['peak_rss_bytes'])} (+{bytes_words(grown)})"
    return f"{words}, workspace {bytes_words(row['workspace_bytes'])}" if row.get("workspace_bytes") else words


def reference(rows: Iterable[Row]) -> str:
    """The system that ratios are shown to: torch where it ran, else numpy."""
    ran = {row["system"] for row in rows if "median" in row}
    return next((name for name in _REFERENCE_ORDER if name in ran), "numpy")


def geometric_means(rows: Sequence[Row], to: str) -> dict[str, tuple[float, int]]:
    """Of every system's speed relative to ``to``, over the workloads that both ran, with their number.

    >>> rows = [{"system": "a", "times_numpy": 2.0}, {"system": "a", "times_numpy": 0.5}, {"system": "b"}]
    >>> geometric_means(rows, "numpy")
    {'a': (1.0, 2)}
    """
    logarithms: dict[str, list[float]] = {}
    for row in rows:
        if f"times_{to}" in row:
            logarithms.setdefault(row["system"], []).append(math.log(row[f"times_{to}"]))
    return {name: (math.exp(sum(found) / len(found)), len(found)) for name, found in logarithms.items()}


def cells(row: Row) -> list[str]:
    """A row as text: time, quartiles, speed, share of the peak, ratios, memory, remark."""
    if "median" not in row:
        return ["", "", "", "", "", "", "", f"{row['status']}: {row['reason']}"]
    share = f"{100 * row['share_of_peak']:.0f} %" if row["flops"] and "share_of_peak" in row else ""
    times = [f"{row[key]:.2f}" if key in row else "" for key in ("times_numpy", "times_torch")]
    spread = f"{duration(row['lower'])} – {duration(row['upper'])}"
    remark = "one call: it is slow" if row["samples"] == 1 else ""
    return [duration(row["median"]), spread, speed(row), share, *times, memory(row), remark]


HEADS = ("median", "quartiles", "speed", "of peak", "× numpy", "× torch", "peak memory", "")


def show(results: Results, console: Console) -> None:
    """Every row, number of threads by number of threads, and the geometric means."""
    rows = list(results.rows())
    for threads in sorted({row["threads"] for row in rows}):
        mine = [row for row in rows if row["threads"] == threads]
        console.print(_peaks_line(results.peaks.get(threads, {}), threads))
        console.print(_table(mine))
        _show_means(mine, console)


def threads_words(threads: int) -> str:
    """A number of threads in words.

    >>> threads_words(1), threads_words(2)
    ('1 thread', '2 threads')
    """
    return "1 thread" if threads == 1 else f"{threads} threads"


def _peaks_line(peaks: Mapping[str, float], threads: int) -> str:
    return f"[bold]{threads_words(threads)}[/]  " + ", ".join(peak_words(peaks))


def peak_words(peaks: Mapping[str, float]) -> list[str]:
    """The measured peaks, one phrase each.

    >>> peak_words({"flops float32": 2e11, "bandwidth L2": 5e10})
    ['float32 200 Gop/s', 'L2 50.0 GB/s']
    """
    said = []
    for name, value in peaks.items():
        kind, _, what = name.partition(" ")
        said.append(f"{what} {_three(value / 1e9)} {'Gop/s' if kind == 'flops' else 'GB/s'}")
    return said


def _table(rows: Sequence[Row]) -> Table:
    table = Table(Column("workload", overflow="fold"), "system", *HEADS, pad_edge=False)
    before = None
    for row in rows:
        first = row["workload"] != before
        if first and before is not None:
            table.add_section()
        before = row["workload"]
        name = f"{row['workload']}\n{bytes_words(row['tensor_bytes'])} of tensors" if first else ""
        table.add_row(name, row["system"], *cells(row), style="red" if row["status"] == "wrong" else None)
    return table


def _show_means(rows: Sequence[Row], console: Console) -> None:
    to = reference(rows)
    for name, (mean, number) in geometric_means(rows, to).items():
        console.print(f"{name}: {mean:.2f} × {to}, geometric mean of {number} workloads", highlight=False)
