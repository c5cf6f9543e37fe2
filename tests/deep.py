"""Long searches: the property tests, with new seeds, until the time is over.

    python tests/deep.py 20                                      # minutes, over every file of tests/property
    python tests/deep.py 5 tests/property/test_engines.py
    python tests/deep.py 5 --seed 7 tests/property/test_engines.py

Round after round runs each file with the next seed and ``EXAMPLES`` examples per test. A file that fails is shown and
left out of the rounds that follow; Hypothesis keeps its example. Prints how many examples ran; exits 1 after a failure.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = 200


def searched(file: str, seed: int) -> tuple[int, str]:
    """How many examples ran, and the report if one failed."""
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "deep", "HYPOTHESIS_EXAMPLES": str(EXAMPLES)}
    command = [sys.executable, "-m", "pytest", "-q", file, f"--hypothesis-seed={seed}", "--hypothesis-show-statistics"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    counts = re.findall(r"- (\d+) passing, (\d+) failing", done.stdout)
    examples = sum(int(passing) + int(failing) for passing, failing in counts)
    return examples, "" if done.returncode in (0, 5) else done.stdout + done.stderr


def rounds(files: Sequence[str], seed: int, until: float) -> Iterator[tuple[str, int, int, str]]:
    """File, seed, examples and report of each run."""
    failed: set[str] = set()
    for number in count(seed):
        for file in [file for file in files if file not in failed]:
            if time.monotonic() > until:
                return
            examples, report = searched(file, number)
            if report:
                failed.add(file)
            yield file, number, examples, report
        if len(failed) == len(files):
            return


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Run property tests with new seeds until the time is over.")
    parser.add_argument("minutes", type=float)
    parser.add_argument("files", nargs="*", help="all of tests/property if none is given")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    options = parser.parse_args(arguments)
    files = options.files or sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/property/test_*.py"))
    os.nice(10)
    ran: Counter[str] = Counter()
    failures = 0
    for file, seed, examples, report in rounds(files, options.seed, time.monotonic() + 60 * options.minutes):
        ran[file] += examples
        failures += bool(report)
        print(f"{file} --hypothesis-seed={seed}: {examples} examples{', FAILED' if report else ''}", flush=True)
        if report:
            print(report, flush=True)
    print(*(f"{file}: {examples} examples" for file, examples in ran.items()), sep="\n")
    print(f"{ran.total()} examples, {failures} files failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
