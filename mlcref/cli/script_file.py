"""Program files as commands read them."""

from __future__ import annotations

import sys
from pathlib import Path

from mlcref.errors import ScriptError, UnsupportedError
from mlcref.ir import IRModule, PrimFunc
from mlcref.script import from_source


def read_program(path: str) -> PrimFunc | IRModule:
    """The program in a file of TVMScript, or on standard input for "-"; the text is read, never executed."""
    if path == "-":
        text, name = sys.stdin.read(), "<stdin>"
    else:
        text, name = Path(path).read_text(encoding="utf-8"), path
    try:
        program: PrimFunc | IRModule = from_source(text, filename=name)
    except RecursionError:
        what = "the text is nested too deeply"
        raise ScriptError(what, filename=name, line=1, column=1, rule="script.depth") from None
    return program


def tensor_programs(program: PrimFunc | IRModule) -> dict[str, PrimFunc]:
    """The tensor programs by name. Raises ``UnsupportedError`` when there are none."""
    if isinstance(program, PrimFunc):
        return {program.name: program}
    found = dict(program.prim_funcs())
    if not found:
        raise UnsupportedError("the module has no tensor program", hint="graph functions are not checked by themselves")
    return found
