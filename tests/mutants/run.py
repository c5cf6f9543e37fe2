"""Run the harness over the mutants: ``python -m tests.mutants.run [--graphs] [--only NAME …] [--jobs N]``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rich.progress import track

from tests.mutants.store import DIFFS, GRAPHS, HERE, ROOT, Mutant, mutants

RESULTS, GRAPH_RESULTS = HERE / "results.json", HERE / "graph_results.json"
SEEDS = (0, 1, 2)
EXAMPLES = 500
_MOST_SECONDS = 400


def prepared(place: Path) -> Path:
    """A copy of the package at ``place``."""
    shutil.copytree(ROOT / "mlcref", place / "mlcref", ignore=shutil.ignore_patterns("__pycache__"))
    return place


def run_mutant(mutant: Mutant, place: Path, examples: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Apply, run the harness, take back. The status is killed, survived, or broken (the package does not import)."""
    original = (ROOT / mutant.file).read_text(encoding="utf-8")
    path = place / mutant.file
    try:
        changed = mutant.applied(original)
    except ValueError as error:
        return {"status": "broken", "found": [], "what": str(error)}
    try:
        path.write_text(changed, encoding="utf-8")
        return _judged(mutant, place, examples, seeds)
    finally:
        path.write_text(original, encoding="utf-8")


def _judged(mutant: Mutant, place: Path, examples: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    harness = ["graph_harness"] if mutant.target.startswith("graph:") else ["campaign", "first"]
    command = [sys.executable, "-m", f"mlcref.testing.{harness[0]}", *harness[1:], "--only", mutant.target]
    command += ["--examples", str(examples), "--seed", *map(str, seeds)]
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"status": "killed", "found": [[1, _MOST_SECONDS, "does not end"]]}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        return {"status": "broken", "found": [], "what": last}
    _, found = json.loads(done.stdout.splitlines()[-1])
    killed = all(number is not None for number, _, _ in found)
    shown = [[number, round(seconds, 2), what[:160]] for number, seconds, what in found]
    return {"status": "killed" if killed else "survived", "found": shown}


def main() -> int:
    """The command; returns 1 when a mutant that is not marked as equivalent survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("--only", nargs="*", help="names of mutants, or beginnings of them")
    parser.add_argument("--missing", action="store_true", help="only those without a result, or that were not killed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--graphs", action="store_true", help="the mutants of passes over graphs")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    options.results = options.results or (GRAPH_RESULTS if options.graphs else RESULTS)
    listed = mutants(GRAPHS if options.graphs else DIFFS)
    known: dict[str, Any] = json.loads(options.results.read_text()) if options.results.exists() else {}
    chosen = [m for m in listed if not options.only or any(m.name.startswith(name) for name in options.only)]
    if options.missing:
        chosen = [m for m in chosen if known.get(m.name, {}).get("status") != "killed"]
    with tempfile.TemporaryDirectory() as temporary:
        places: SimpleQueue[Path] = SimpleQueue()
        for i in range(options.jobs):
            places.put(prepared(Path(temporary) / str(i)))

        def run(mutant: Mutant) -> tuple[Mutant, dict[str, Any]]:
            place = places.get()
            try:
                return mutant, run_mutant(mutant, place, options.examples, tuple(options.seeds))
            finally:
                places.put(place)

        with ThreadPoolExecutor(options.jobs) as pool:
            for mutant, result in track(pool.map(run, chosen), total=len(chosen), disable=not sys.stderr.isatty()):
                known[mutant.name] = {"target": mutant.target, **result}
                _write(options.results, known)
                print(_line(mutant, result), flush=True)
    return _summary({m.name: m for m in listed}, known)


def _write(path: Path, known: dict[str, Any]) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


def _line(mutant: Mutant, result: dict[str, Any]) -> str:
    found = "  ".join("-" if number is None else f"{number} ({seconds} s)" for number, seconds, _ in result["found"])
    return f"{result['status']:9s} {mutant.name:60s} {found or result.get('what', '')}"


def _summary(listed: dict[str, Mutant], known: dict[str, Any]) -> int:
    rows = {name: result for name, result in known.items() if name in listed}
    killed = sum(result["status"] == "killed" for result in rows.values())
    left = [name for name, result in rows.items() if result["status"] != "killed"]
    equivalent = [name for name in left if listed[name].equivalent]
    counted = len(rows) - len(equivalent)
    print(f"{killed} of {counted} killed ({100 * killed / max(counted, 1):.1f} %), {len(equivalent)} equivalent")
    for name in left:
        print(f"  {rows[name]['status']}: {name}: {listed[name].equivalent or listed[name].why}")
    return int(len(left) > len(equivalent))


if __name__ == "__main__":
    sys.exit(main())
