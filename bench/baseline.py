"""Ratios to numpy that the kernels must keep: ``python -m bench.baseline RESULTS [--write]``.

``RESULTS`` is a file that ``python -m mlcref bench`` wrote. Without ``--write``, its ratios are compared with those in
``baseline.json``: exits with 1 when one has fallen below 0.8 of what it was, or is missing. With it, they become the
baseline. A ratio within one interleaved run is what carries over from machine to machine, times do not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mlcref.benchmark.results import Results

BASELINE = Path(__file__).with_name("baseline.json")
LEAST = 0.8
SYSTEMS = ("mlcref", "mlcref-unscheduled")

Ratios = dict[str, float]
"""By system, number of threads and workload, joined by spaces."""


def ratios(results: Results) -> Ratios:
    """Every ratio to numpy of mlcref's."""
    rows = [row for row in results.rows() if row["system"] in SYSTEMS and "times_numpy" in row]
    return {f"{row['system']} {row['threads']} {row['workload']}": float(f"{row['times_numpy']:.3g}") for row in rows}


def fallen(now: Ratios, before: Ratios) -> list[str]:
    """What is missing or slower than the baseline allows, in words."""
    found = [f"{name}: no result, was {ratio:.2f}" for name, ratio in before.items() if name not in now]
    for name, ratio in before.items():
        if name in now and now[name] < LEAST * ratio:
            found.append(f"{name}: {now[name]:.2f} × numpy, was {ratio:.2f}")
    return found


def main() -> int:
    """Compare or write."""
    arguments = argparse.ArgumentParser(prog="bench.baseline")
    arguments.add_argument("results", type=Path)
    arguments.add_argument("--write", action="store_true")
    options = arguments.parse_args()
    results = Results.read(options.results)
    if results is None:
        print(f"{options.results} holds no results", file=sys.stderr)
        return 2
    now = ratios(results)
    if options.write:
        BASELINE.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        return 0
    bad = fallen(now, json.loads(BASELINE.read_text(encoding="utf-8")))
    print("\n".join(bad) or f"{len(now)} ratios keep to the baseline")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
