"""``python -m mlcref demo``."""

from __future__ import annotations

import argparse
from typing import Any

from mlcref.demo.run import Options
from mlcref.demo.run import run as run_demo


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    demo: argparse.ArgumentParser = commands.add_parser(
        "demo", help="classify Fashion-MNIST images: parse, check, search, compile, compare"
    )
    demo.add_argument("--json", action="store_true", help="print one JSON object instead of the tour")
    demo.add_argument("--data", metavar="DIR", help="directory with t10k-images-idx3-ubyte(.gz) and its labels")
    demo.add_argument("--trials", type=int, default=8, help="sampled schedules to try (default %(default)s)")
    demo.add_argument("--oracle-images", type=int, default=20, help="images for the oracle (default %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the search (default %(default)s)")
    return demo


def run(options: argparse.Namespace) -> int:
    """Run it."""
    return run_demo(Options(options.json, options.data, options.trials, options.oracle_images, options.seed))
