"""Failures kept on disk: a program as script and the inputs on which a backend went wrong.

A failure is two files of one name: ``<name>.py``, the program under comment lines that say which test found it and what
went wrong, and ``<name>.npz``, the arguments in the order of the parameters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import MlcrefError
from mlcref.ir import Buffer, IRModule, PrimFunc
from mlcref.script import from_source, print_script

_TEST_LINE = re.compile(r"^# found by: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Failure:
    """A program and the arguments on which a backend disagreed with the oracle; ``test`` is the test that found it."""

    func: PrimFunc
    arguments: tuple[Any, ...]
    test: str = ""
    path: Path | None = None


def save_failure(folder: Path | str, failure: Failure, what: str = "") -> Path:
    """Write ``failure`` under a name made of its test and its content; returns the path of the script.

    The same failure gets the same name. ``what`` goes into the script as a comment.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = print_script(failure.func)
    stored = [_plain(argument) for argument in failure.arguments]
    digest = hashlib.sha256("\0".join([failure.test, text]).encode())
    for array in stored:
        digest.update(repr(array.shape).encode() + array.tobytes())
    short = re.sub(r"\W+", "_", failure.test.rpartition("::")[2] or failure.func.name)[:40]
    path = folder / f"failure-{digest.hexdigest()[:10]}-{short.strip('_')}.py"  # no name that pytest would collect
    comment = "\n".join(f"# {line}".rstrip() for line in what.splitlines())
    path.write_text(f"# found by: {failure.test}\n{comment}\n\n{text}", encoding="utf-8")
    np.savez_compressed(path.with_suffix(".npz"), **{f"arg{i}": array for i, array in enumerate(stored)})
    return path


def load_failure(path: Path | str) -> Failure:
    """Read what :func:`save_failure` wrote. Raises ``MlcrefError`` for files that do not fit each other."""
    path = Path(path).with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    func = from_source(text, filename=str(path))
    if isinstance(func, IRModule):
        func = next(iter(func.functions.values()))
    if not isinstance(func, PrimFunc):
        raise MlcrefError(f"{path} holds no tensor program", rule="corpus.program")
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = [stored[f"arg{i}"] for i in range(len(stored.files))]
    if len(arrays) != len(func.params):
        raise MlcrefError(f"{path} takes {len(func.params)} arguments, {len(arrays)} are stored", rule="corpus.count")
    arguments = tuple(_typed(param, array) for param, array in zip(func.params, arrays, strict=True))
    found = _TEST_LINE.search(text)
    return Failure(func, arguments, found[1] if found else "", path)


def failures_of(folder: Path | str, test: str) -> Sequence[Failure]:
    """The failures in ``folder`` that ``test`` found, by name."""
    line = f"# found by: {test}\n"
    return [
        load_failure(path)
        for path in sorted(Path(folder).glob("*.py"))
        if path.with_suffix(".npz").exists() and path.read_text(encoding="utf-8").startswith(line)
    ]


def _plain(argument: Any) -> Any:
    """As a numpy array of a type that .npz files know."""
    array = np.asarray(argument)
    return array if array.dtype.kind in "biuf" else array.view(f"uint{8 * array.dtype.itemsize}")


def _typed(param: Any, array: Any) -> Any:
    if not isinstance(param, Buffer):
        return array.item()
    wanted = dt.numpy_dtype(param.type)
    return array if array.dtype == wanted else array.view(wanted)
