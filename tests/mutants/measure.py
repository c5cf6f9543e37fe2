"""The campaign behind docs/primitives.md: ``python -m tests.mutants.measure [--examples N] [--seeds S …] [--jobs N]``.

Every primitive and every pass, as many examples each, on seeds that the mutants are not run on; written to
``campaign.json``, whole targets at a time, so that it can be interrupted and continued.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import track

from mlcref.testing.campaign import merged, run_campaign, targets
from tests.mutants.store import HERE

CAMPAIGN = HERE / "campaign.json"
SEEDS = (100, 101, 102)


def measured(target: str, seeds: tuple[int, ...], examples: int) -> dict[str, Any]:
    """The sum over the seeds; the texts of failures stay, the rest is numbers."""
    total = merged(run_campaign([target], seed, examples)[target] for seed in seeds)
    return asdict(total)


def main() -> int:
    """The command; returns 1 when an example was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.measure", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=CAMPAIGN)
    options = parser.parse_args()
    settings = {"seeds": options.seeds, "examples": options.examples}
    held = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    known: dict[str, Any] = held.get("targets", {}) if held.get("settings") == settings else {}
    missing = [name for kind in ("primitives", "passes") for name in targets(kind) if name not in known]
    with ProcessPoolExecutor(options.jobs) as pool:
        running = {pool.submit(measured, name, tuple(options.seeds), options.examples): name for name in missing}
        for done in track(as_completed(running), total=len(running), disable=not sys.stderr.isatty()):
            known[running[done]] = done.result()
            text = json.dumps({"settings": settings, "targets": known}, indent=1, sort_keys=True)
            partial = options.out.with_suffix(f".{os.getpid()}")
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(options.out)
    wrong = [text for tally in known.values() for text in tally["failures"]]
    print(f"{len(known)} targets, {len(wrong)} wrong examples", *wrong[:3], sep="\n\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
