"""``python -m mlcref show FILE``: the program as mlcref understands it, in either dialect or as numpy code."""

from __future__ import annotations

import argparse
from typing import Any

from mlcref.cli.script_file import read_program, tensor_programs
from mlcref.errors import MlcrefError
from mlcref.interp import pygen
from mlcref.script import show


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser("show", help="print a program in a dialect, or as numpy")
    command.add_argument("file", help='a file of TVMScript, either dialect; "-" is standard input')
    command.add_argument("--dialect", choices=["tir", "tirx", "numpy"], default="tir", help="default %(default)s")
    command.add_argument("--size", metavar="n=8", action="append", default=[], help="for symbolic shapes in numpy")
    return command


def run(options: argparse.Namespace) -> int:
    """Print it."""
    program = read_program(options.file)
    if options.dialect != "numpy":
        show(program, dialect=options.dialect)
        return 0
    sizes = dict(_size(text) for text in options.size)
    for func in tensor_programs(program).values():
        needed = {var.name for var in func.shape_vars()}
        print(pygen.source(func, sizes={name: size for name, size in sizes.items() if name in needed}))
    return 0


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdigit():
        raise MlcrefError(f"--size takes a name and a number, as in n=8, not {text!r}", rule="cli.size")
    return name, int(number)
