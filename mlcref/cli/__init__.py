"""The command line: ``python -m mlcref demo``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from mlcref.demo.run import Options, run
from mlcref.errors import MlcrefError


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    top = argparse.ArgumentParser(
        prog="mlcref", description="A machine-learning compiler whose every step can be checked."
    )
    commands = top.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="classify Fashion-MNIST images: parse, check, search, compile, compare")
    demo.add_argument("--json", action="store_true", help="print one JSON object instead of the tour")
    demo.add_argument("--data", metavar="DIR", help="directory with t10k-images-idx3-ubyte(.gz) and its labels")
    demo.add_argument("--trials", type=int, default=8, help="sampled schedules to try (default %(default)s)")
    demo.add_argument("--oracle-images", type=int, default=20, help="images for the oracle (default %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the search (default %(default)s)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when all is well, 1 when a check failed, 2 for bad input."""
    options = parser().parse_args(arguments)
    try:
        return run(Options(options.json, options.data, options.trials, options.oracle_images, options.seed))
    except MlcrefError as error:
        Console(stderr=True).print(f"mlcref: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        return 130
