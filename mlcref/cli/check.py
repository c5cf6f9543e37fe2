"""``python -m mlcref check FILE``: parse, verify, report."""

from __future__ import annotations

import argparse
import json
from math import prod
from typing import Any

from mlcref.cli.script_file import read_program, tensor_programs
from mlcref.errors import UnsupportedError
from mlcref.ir import Const, PrimFunc, buffers_used
from mlcref.verify import Verdict, verify

MOST_ELEMENTS = 2**25


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    check: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="parse a program and run it in the oracle: does it mean something, is what it declares true?",
        description="Exit code 0: nothing found. 1: findings. 2: the file cannot be read, or nothing could be decided.",
    )
    check.add_argument("file", help='a file of TVMScript, either dialect; "-" is standard input')
    check.add_argument("--rules", metavar="RULE,…", help='rules, groups ("block") or severities ("signature")')
    check.add_argument("--trials", type=int, help="inputs to try of each program")
    check.add_argument("--seed", type=int, default=0, help="seed of the inputs (default %(default)s)")
    check.add_argument("--max-statements", type=int, default=2_000_000, help="longest run (default %(default)s)")
    check.add_argument("--timeout", type=float, default=60.0, help="seconds for each program (default %(default)s)")
    check.add_argument("--prove", action="store_true", help="try static proofs first, for all inputs and sizes (islpy)")
    check.add_argument("--json", action="store_true", help="print the verdicts as JSON, by function")
    return check


def run(options: argparse.Namespace) -> int:
    """Check every tensor program of the file."""
    programs = tensor_programs(read_program(options.file))
    for func in programs.values():
        if not options.prove:
            _refuse_large(func)
    rules = options.rules.split(",") if options.rules else None
    verdicts: dict[str, Verdict] = {}
    for name, func in programs.items():
        verdicts[name] = verify(
            func, rules=rules, trials=options.trials, seed=options.seed,
            max_statements=options.max_statements, timeout=options.timeout, prove=options.prove,
        )  # fmt: skip
    if options.json:
        print(json.dumps({name: verdict.as_json() for name, verdict in verdicts.items()}, indent=2))
    else:
        for name, verdict in verdicts.items():
            print(f"{name}: {verdict}")
            _point_at_rules(verdict)
    codes = [verdict.exit_code for verdict in verdicts.values()]
    return 1 if 1 in codes else max(codes)


def _refuse_large(func: PrimFunc) -> None:
    """The oracle keeps an object per element: refuse what would fill the memory."""
    for buffer in buffers_used(func.body) | dict.fromkeys(func.buffers):
        elements = prod(int(extent.value) for extent in buffer.shape if isinstance(extent, Const))
        if elements > MOST_ELEMENTS:
            raise UnsupportedError(
                f"{func.name}: buffer {buffer.name} of {elements} elements is too large for the oracle",
                hint="check the program at a smaller size",
            )


def _point_at_rules(verdict: Verdict) -> None:
    for rule in dict.fromkeys(finding.rule for finding in verdict.findings):
        print(f"more: python -m mlcref explain {rule}")
