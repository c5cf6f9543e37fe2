"""Nothing is timed before its result is checked; and the reference that it is checked against, by the oracle."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import numpy as np

from mlcref.benchmark.bounds import Approximate
from mlcref.benchmark.operators import Case, case_of
from mlcref.benchmark.workload import Workload, workloads
from mlcref.errors import MlcrefError
from mlcref.interp import interpret
from mlcref.interp.graph import interpret_graph
from mlcref.ir import PrimFunc

Array = np.ndarray[Any, Any]
Result = TypeVar("Result")

_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.+~-]+)+[/\\](?=[\w.+~-])")
_LONGEST = 240


class WrongResult(MlcrefError):
    """A system that does not compute the workload."""


class ForeignFailure(MlcrefError):
    """Whatever a library raised, as one line without paths."""


def one_line(text: object) -> str:
    """The first line of a message, without the folders in it: results name no places of the machine.

    >>> one_line("cannot open /home/me/lib/x.so: no such file\\nmore")
    'cannot open x.so: no such file'
    """
    lines = str(text).strip().splitlines() or [""]
    line = _PATH.sub("", lines[0])
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"


def foreign(function: Callable[[], Result]) -> Result:
    """What ``function`` returns; raises ``ForeignFailure`` for any exception that is not mlcref's own.

    >>> foreign(lambda: 1 // 0)
    Traceback (most recent call last):
    mlcref.benchmark.check.ForeignFailure: ZeroDivisionError: integer division or modulo by zero
    """
    try:
        return function()
    except MlcrefError:
        raise
    except Exception as error:
        raise ForeignFailure(f"{type(error).__name__}: {one_line(error)}") from error


def check_result(result: Array, want: Approximate, dtype: Any) -> None:
    """Raise ``WrongResult`` unless ``result`` has the shape and type and every element is within its bound."""
    if result.shape != want.value.shape or result.dtype != dtype:
        found, wanted = f"{result.dtype}{list(result.shape)}", f"{dtype}{list(want.value.shape)}"
        raise WrongResult(f"the result is {found}, not {wanted}", rule="bench.shape")
    good = want.covers(result)
    if good.all():
        return
    at = tuple(int(i) for i in np.argwhere(~good)[0])
    bound = np.broadcast_to(want.error, want.value.shape)[at]
    raise WrongResult(
        f"{int((~good).sum())} of {good.size} elements are wrong, the first at {list(at)}: {result[at]}, "
        f"expected {want.value[at]:.9g}, rounding explains {bound:.3g}",
        rule="bench.result",
    )


def fingerprint(case: Case) -> int:
    """Of the inputs: no system may change them, since all of them read the same memory."""
    found = 0
    for array in case.inputs:
        found = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, found)
    return found


@cache
def check_meaning(operator: str, dtype: str, layout: str) -> int:
    """Does the oracle, on the tiny shapes of the operator, compute what the reference says? Returns their number.

    Raises ``WrongResult`` when it does not: then the reference is not that of the program.

    >>> check_meaning("matmul", "int8", "")
    1
    """
    chosen = [w for w in workloads() if (w.operator, w.layout, w.suite) == (operator, layout, "tiny")]
    for tiny in chosen:
        case = case_of(replace(tiny, dtype=dtype))
        check_result(oracle_result(case), case.reference(), case.empty().dtype)
    return len(chosen)


def oracle_result(case: Case) -> Array:
    """What the program of the workload means on its inputs."""
    program = case.operator.program(case.workload)
    if not isinstance(program, PrimFunc):
        return np.asarray(interpret_graph(program, *case.inputs))
    out = case.empty()
    interpret(program, *case.inputs, out)
    return out


def reduced(workload: Workload) -> Workload | None:
    """A tiny workload of the same operator, layout and type, if there is one."""
    for tiny in workloads():
        if (tiny.operator, tiny.layout, tiny.suite) == (workload.operator, workload.layout, "tiny"):
            return replace(tiny, dtype=workload.dtype)
    return None
