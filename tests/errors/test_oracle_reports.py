"""What the oracle's reports look like: the place on the script, the iteration, the rule, the way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref.errors import CallError, OracleError
from mlcref.interp import interpret
from mlcref.interp.rules import RULES
from mlcref.script import from_source


def floats(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


REPORTS = {
    "memory.bounds": (
        """
@T.prim_func
def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    for i in range(4):
        with T.block("B"):
            vi = T.axis.spatial(4, i)
            B[vi] = A[vi + 1]
""",
        "A[4] is out of bounds: index 4 of dimension 0, whose extent is 4, at i=3, vi=3  [memory.bounds]",
        "            B[vi] = A[vi + 1]\n                      ^^^^^^^^^  index 4 is not in [0, 4)",
        "hint: guard the access with T.where or T.if_then_else, or correct the extent",
    ),
    "loop.race": (
        """
@T.prim_func
def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    for i in T.parallel(4):
        B[0] = A[i]
""",
        "race on B[0]: written by parallel iteration i=0, written by i=1 at i=1  [loop.race]",
        "          B[0] = A[i]\n          ^^^^^^^^^^^  B[0] written at i=0, written at i=1",
        "hint: make i serial, or give each iteration its own element",
    ),
    "block.init": (
        """
@T.prim_func
def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    for k in range(4):
        with T.block("B"):
            vk = T.axis.reduce(4, 3 - k)
            with T.init():
                B[0] = T.float32(0)
            B[0] = B[0] + A[vk]
""",
        "block B updates before its init at k=0, vk=3  [block.init]",
        '  with T.block("B"):\n          ^^^^^^^^^^^^^^^^^^  no instance with every reduce iterator at its minimum',
        "hint: init runs when every reduce iterator is at the minimum of its domain; run that point first",
    ),
    "memory.output": (
        """
@T.prim_func
def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    C = T.alloc_buffer((4,), "float32")
    for i in range(4):
        B[i] = C[i] + A[i]
""",
        "B[0] is undefined in the end: it comes from C[0], loaded at i=0 before it was ever written  [memory.output]",
        "          B[i] = C[i] + A[i]\n                 ^^^^  C[0] has no value yet",
        "hint: write C[0] first, or give the block that computes it an init",
    ),
}


@pytest.mark.parametrize("rule", REPORTS)
def test_report(rule: str) -> None:
    text, head, drawing, hint = REPORTS[rule]
    with pytest.raises(OracleError, match=rule) as raised:
        interpret(from_source(text), floats(4), floats(4))
    lines = str(raised.value)
    assert lines.splitlines()[0] == head
    assert drawing in lines
    assert lines.splitlines()[-1] == hint
    assert raised.value.rule == rule


def test_a_race_between_two_statements_marks_both() -> None:
    f = from_source("""
@T.prim_func
def main(A: T.Buffer((8,), "float32"), B: T.Buffer((4,), "float32")):
    for i in T.parallel(4):
        A[i] = B[i]
        B[i] = A[i + 1]
""")
    with pytest.raises(OracleError, match="race on A") as raised:
        interpret(f, floats(8), floats(4))
    text = str(raised.value)
    assert "A[1] read at i=0" in text
    assert "A[1] written at i=1" in text


def test_an_error_in_an_expression_marks_the_operation() -> None:
    f = from_source("""
@T.prim_func
def main(A: T.Buffer((4,), "int32"), B: T.Buffer((4,), "int32")):
    for i in range(4):
        B[i] = 1 + 12 // A[i]
""")
    with pytest.raises(OracleError, match="12 is divided by zero at i=2") as raised:
        interpret(f, np.array([1, 2, 0, 1], "int32"), np.zeros(4, "int32"))
    assert "        B[i] = 1 + 12 // A[i]\n                     ^^^^^^^^^^  computed here" in str(raised.value)


def test_reports_before_the_run_say_what_to_pass() -> None:
    f = from_source("""
@T.prim_func
def main(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    B[0] = A[0]
""")
    with pytest.raises(CallError, match="main: B must be float32, got float64") as raised:
        interpret(f, floats(4), np.zeros(4))
    assert raised.value.hint == 'B.astype("float32") makes a converted copy'


def test_failures_cite_known_rules() -> None:
    assert set(REPORTS) <= set(RULES)
