"""From Apache TVM's tensor programs to mlcref's and back, by TVMScript: both print what the other reads."""

from __future__ import annotations

import importlib
from typing import Any

from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.ir import IRModule, PrimFunc
from mlcref.script import from_source, print_script


def from_tvm(obj: Any) -> PrimFunc | IRModule:
    """The program that an ``IRModule`` or ``PrimFunc`` of TVM holds, read from TVM's own print of it.

    Raises ``UnsupportedError`` for objects without ``script()`` and ``ScriptError`` for programs that cannot be read.
    """
    if isinstance(obj, PrimFunc | IRModule):
        return obj
    if not hasattr(obj, "script"):
        what = f"from_tvm reads modules and functions of TVM, not {type(obj).__name__}"
        raise UnsupportedError(what, rule="tvm.type")
    program: PrimFunc | IRModule = from_source(obj.script(), filename="<script() of TVM>")
    return program


def to_tvm(program: PrimFunc | IRModule, *, dialect: str = "") -> Any:
    """``program`` as an object of the TVM that is installed.

    ``dialect`` is "tir" or "tirx"; by default the one that this TVM prints. Raises ``UnsupportedError`` when TVM is not
    installed, ``MlcrefError`` when it does not read the text.
    """
    tvm = import_tvm()
    text = print_script(program, dialect=dialect or dialect_of(tvm))
    try:
        return tvm.script.from_source(text)
    except Exception as error:
        raise MlcrefError(f"TVM does not read this program: {error}\n{text}", rule="tvm.read") from error


def import_tvm() -> Any:
    """The module ``tvm``; raises ``UnsupportedError`` where it is not installed."""
    try:
        tvm = importlib.import_module("tvm")
        importlib.import_module("tvm.script")
    except ImportError as error:
        raise UnsupportedError(
            f"Apache TVM cannot be imported: {error}", rule="peer.absent", hint="pip install apache-tvm"
        ) from error
    return tvm


def dialect_of(tvm: Any) -> str:
    """Which names does this TVM use? The newer ones come with the module ``tvm.tirx``."""
    return "tirx" if hasattr(tvm, "tirx") else "tir"
