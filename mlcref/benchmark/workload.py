"""The workloads: what ``workloads.toml`` lists, one for each shape, dtype and layout."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from itertools import product
from typing import Any

from mlcref.errors import MlcrefError

SUITES = ("tiny", "small", "full", "all")
_CONTAINS = {"tiny": ("tiny",), "small": ("small",), "full": ("small", "full"), "all": ("tiny", "small", "full")}


@dataclass(frozen=True, slots=True)
class Workload:
    """An operator at one dtype, layout and shape. ``workload["m"]`` is an extent.

    >>> Workload("matmul", "float32", (("m", 1), ("k", 784), ("n", 128))).name
    'matmul/float32/m=1,k=784,n=128'
    """

    operator: str
    dtype: str
    shape: tuple[tuple[str, int], ...]
    layout: str = ""
    suite: str = "full"

    @property
    def name(self) -> str:
        """What results are filed under."""
        extents = ",".join(f"{key}={value}" for key, value in self.shape)
        return "/".join(part for part in (self.operator, self.dtype, self.layout, extents) if part)

    def __getitem__(self, key: str) -> int:
        return dict(self.shape)[key]

    @property
    def seed(self) -> int:
        """Of its inputs: the same everywhere, another for each workload."""
        return int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=4).digest())


def _text() -> str:
    return resources.files("mlcref.benchmark").joinpath("workloads.toml").read_text(encoding="utf-8")


def digest() -> str:
    """Of the file of workloads: results are compared only where it is the same."""
    return hashlib.blake2b(_text().encode(), digest_size=8).hexdigest()


@cache
def workloads() -> tuple[Workload, ...]:
    """All of them, in the order of the file.

    >>> len({workload.name for workload in workloads()}) == len(workloads()) > 100
    True
    """
    found = []
    for operator, entries in tomllib.loads(_text()).items():
        for entry in entries:
            found += _expanded(operator, entry)
    return tuple(found)


def _expanded(operator: str, entry: Mapping[str, Any]) -> list[Workload]:
    choices = product(entry["shapes"], entry["dtypes"], entry.get("layouts", [""]))
    return [
        Workload(operator, dtype, tuple(shape.items()), layout, entry["suite"]) for shape, dtype, layout in choices
    ]


def select(suite: str, patterns: Sequence[str] = ()) -> list[Workload]:
    """The workloads of a suite whose names match a pattern (``"matmul*"``, ``"*/NHWC/*"``), all of them without one.

    Raises ``MlcrefError`` (rule ``bench.suite``) where there is none.

    >>> [workload.name for workload in select("small", ["gelu*"])]
    ['gelu/float32/rows=128,columns=3072']
    """
    if suite not in _CONTAINS:
        raise MlcrefError(f"there is no suite {suite!r}", rule="bench.suite", hint=f"suites: {', '.join(SUITES)}")
    chosen = [workload for workload in workloads() if workload.suite in _CONTAINS[suite]]
    if patterns:
        chosen = [workload for workload in chosen if any(fnmatchcase(workload.name, pattern) for pattern in patterns)]
    if not chosen:
        what = f"no workload of the suite {suite!r} matches {', '.join(patterns)}"
        raise MlcrefError(what, rule="bench.suite", hint="python -m mlcref bench --list shows the names")
    return chosen


def workload_of(name: str) -> Workload:
    """The workload called ``name``; raises ``MlcrefError`` where there is none.

    >>> workload_of("gelu/float32/rows=128,columns=3072")["columns"]
    3072
    """
    for workload in workloads():
        if workload.name == name:
            return workload
    raise MlcrefError(f"there is no workload {name!r}", rule="bench.suite")
