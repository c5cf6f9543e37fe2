"""The command line: ``python -m mlcref COMMAND``. One module per command, with ``add`` (its arguments) and ``run``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from rich.console import Console

from mlcref.cli import bench, check, demo, explain, show
from mlcref.errors import MlcrefError

COMMANDS = (check, show, explain, demo, bench)


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    top = argparse.ArgumentParser(
        prog="mlcref", description="A machine-learning compiler whose every step can be checked."
    )
    commands = top.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add(commands).set_defaults(run=command.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when all is well, 1 when a check failed, 2 for bad input and for what could not be decided."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except BrokenPipeError:  # the reader of the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MlcrefError, OSError, UnicodeDecodeError) as error:
        Console(stderr=True).print(f"mlcref: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        return 130
