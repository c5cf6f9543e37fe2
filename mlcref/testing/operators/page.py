"""docs/topi.md, written from the operators: ``python -m mlcref.testing.operators.page docs/topi.md``."""

from __future__ import annotations

import inspect
import operator
import re
import sys
from pathlib import Path

from mlcref import topi
from mlcref.testing.operators import OPERATORS

_HEAD = """# Operators

`mlcref.topi` holds {count} operators under the names of Apache TVM's library, `tvm.topi`: functions of tensors that
make ordinary computes of `mlcref.te`. `te.create_prim_func` turns them into blocks that the schedules know.

Each is tested on at least 50 random cases a run, of any shapes, types and parameters (`tests/property/test_topi.py`).
The oracle's result must be numpy's, bit by bit for integers, truth values and all that no run rounds, such as sums and
products of small integers in floats; elsewhere within the a-priori bound of `mlcref.testing.tolerance`. Where TVM is
installed, its parameters are compared, and cases are built by TVM, too (`tests/compat/test_topi_compat.py`). "Same" are
the name and the parameters; [differences.md](differences.md) says where results are not.

This page is written by `python -m mlcref.testing.operators.page docs/topi.md` from the table of operators.
"""
_TVM = re.compile(r"As\s+``tvm\.topi\.[\w.]+``(?:, (.*?))?[.;](?:\s|$)", re.DOTALL)


def page() -> str:
    """The text of the page."""
    lines = [_HEAD.format(count=len(OPERATORS)), "| operator | what it computes | TVM |", "|---|---|---|"]
    for name in sorted(OPERATORS, key=lambda name: (name.count("."), name)):
        function = operator.attrgetter(name)(topi)
        lines.append(f"| `{name}{_parameters(function)}` | {_what(function)} | {_tvm(function)} |")
    return "\n".join(lines) + "\n"


def _parameters(function: object) -> str:
    assert callable(function)
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        given = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        shown.append(f"{star}{parameter.name}{given}")
    return f"({', '.join(shown)})"


def _what(function: object) -> str:
    """The first sentence of the docstring."""
    text = " ".join((inspect.getdoc(function) or "").partition(">>>")[0].split())
    sentence = re.split(r"(?<=[.:])\s(?=[A-Z]|``[a-z])", text)[0]
    return re.sub(r":func:`(?:mlcref\.)?(?:topi\.)?([\w.]+)`", r"`\1`", sentence).replace("``", "`").rstrip(".:")


def _tvm(function: object) -> str:
    """The same, what differs, or that TVM has no such operator."""
    found = _TVM.search(inspect.getdoc(function) or "")
    if found is None:
        return "no operator of topi"
    return " ".join((found[1] or "same").replace("``", "`").split())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
