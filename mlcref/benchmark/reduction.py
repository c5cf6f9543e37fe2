"""Workloads so small that the oracle can run them, on machines so small that they get the schedule of the large ones.

A schedule's path is the list of its instructions' names, repetitions counted once. A reduction of a workload takes the
same path on its :class:`~mlcref.autoschedule.Machine` as the workload does on the machine that is measured; beside it
stands a ragged one, of extents that no tile divides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from itertools import islice, product
from math import log2, prod

from mlcref import dtype as dt
from mlcref.autoschedule import Machine, autoschedule
from mlcref.benchmark.operators import OPERATORS
from mlcref.benchmark.systems.mlcref_system import schedulable
from mlcref.benchmark.workload import Workload
from mlcref.ir import Target
from mlcref.schedule.trace import Trace

Path = tuple[str, ...]

_PARAMETERS = ("kernel", "stride", "padding", "axis")
"""What is no extent: it stays."""
_EXTENTS = (2, 4, 5, 8, 13, 16, 20, 24, 32, 35, 48)
_SMALL = 3
"""Extents that stay: rules tell them from larger ones."""
_STEPS = 40_000
"""Stores of all programs of a schedule that the oracle runs in a second or two."""
_MOST_STORES = 9_000
_MOST_TRIED = 400


@dataclass(frozen=True, slots=True)
class Reduced:
    """A small ``workload`` for a small ``machine``; ``likeness`` is 1 where its schedule takes the path of that of the
    workload that it stands for, else less.
    """

    workload: Workload
    machine: Machine
    likeness: float

    @property
    def extents(self) -> str:
        """The shape in short, without what is the same for all.

        >>> shape = (("size", 9), ("channels", 5), ("kernel", 3), ("stride", 1), ("padding", 1))
        >>> Reduced(Workload("depthwise", "float32", shape), Machine(), 1.0).extents
        'size=9,channels=5'
        """
        return ",".join(f"{key}={value}" for key, value in self.workload.shape if key not in _PARAMETERS)


def path_of(trace: Trace) -> Path:
    """The path of a schedule: what its instructions are called, with the number of loops where one is split.

    >>> from mlcref.benchmark.workload import workload_of
    >>> path_of(_schedule(workload_of("exp/float32/rows=3,columns=7"), Machine()))
    ('vectorize',)
    """
    path: list[str] = []
    for instruction in trace.insts:
        if instruction.is_pure:
            continue
        name = instruction.name
        path.append(f"{name} {len(instruction.outputs)}" if name == "split" else name)
        repeated = next((n for n in range(1, len(path) // 2 + 1) if path[-n:] == path[-2 * n : -n]), 0)
        del path[len(path) - repeated :]
    return tuple(path)


def _schedule(workload: Workload, machine: Machine) -> Trace:
    return autoschedule(schedulable(workload), machine=machine).trace


@cache
def _path(workload: Workload, machine: Machine) -> Path:
    return path_of(_schedule(workload, machine))


def reductions(workload: Workload, target: Target) -> tuple[Reduced, Reduced]:
    """What stands for ``workload`` on ``target``: the largest workload within the oracle's budget whose schedule takes
    the same path, or the one whose path is most like it; and the ragged one.

    >>> from mlcref.benchmark.workload import workload_of
    >>> one, other = reductions(workload_of("exp/float32/rows=1024,columns=1024"), Target("cython --num-cores=2"))
    >>> one.likeness, one.extents, other.extents
    (1.0, 'rows=48,columns=48', 'rows=47,columns=47')
    """
    machine = Machine.of(target)
    wanted = _path(workload, machine)
    if _stores(workload) * len(wanted) <= _STEPS:
        return Reduced(workload, machine, 1.0), Reduced(_ragged(workload), machine, 1.0)
    found = _alike(replace(workload, suite=""), wanted, target.num_cores)
    found = _common(found)
    small = _ragged(found.workload)
    return found, Reduced(small, found.machine, _likeness(_path(small, found.machine), wanted))


def _common(reduced: Reduced) -> Reduced:
    """The same where all work pays for threads, or none does, if that takes the same path: what many share is checked
    once.
    """
    path = _path(reduced.workload, reduced.machine)
    for work in (1, 1 << 40):
        machine = replace(reduced.machine, parallel_work=work)
        if _path(reduced.workload, machine) == path:
            return replace(reduced, machine=machine)
    return reduced


def _likeness(path: Path, wanted: Path) -> float:
    """From 0 to 1."""
    return 1.0 if path == wanted else min(SequenceMatcher(None, path, wanted, autojunk=False).ratio(), 0.99)


def _alike(workload: Workload, wanted: Path, threads: int) -> Reduced:
    """The first candidate that takes the path; where none does, the most alike."""
    budget, full = min(_STEPS // len(wanted or (1,)), _STEPS // 10), _stores(workload)
    shapes = sorted(_smaller(workload), key=lambda small: (round(abs(log2(_stores(small) / budget))), -_least(small)))
    machines = list(_machines(workload, threads))
    found: list[Reduced] = []
    for turn in (machines[:1], machines[1:]):
        for small, machine in islice(product(shapes, turn), _MOST_TRIED):
            work = machine.parallel_work * _stores(small) // full
            fitted = replace(machine, parallel_work=_rounded(work))
            found.append(Reduced(small, fitted, _likeness(_path(small, fitted), wanted)))
            if found[-1].likeness == 1:
                return found[-1]
        found.sort(key=lambda reduced: -reduced.likeness)
        shapes = list(dict.fromkeys(reduced.workload for reduced in found))
    return found[0]


def _least(workload: Workload) -> int:
    """The smallest extent: shapes where none is tiny come first."""
    return min(value for key, value in workload.shape if key not in _PARAMETERS and key != "groups")


def _rounded(number: int) -> int:
    """Its first three bits, so that many searches meet the same machines; at least 1."""
    rest = max(number.bit_length() - 3, 0)
    return max(number >> rest << rest, 1)


def _smaller(workload: Workload) -> Iterator[Workload]:
    for values in product(*(_choices(key, value) for key, value in workload.shape)):
        shape = tuple((key, value) for (key, _), value in zip(workload.shape, values, strict=True))
        small = replace(workload, shape=shape)
        if is_possible(small) and _stores(small) <= _MOST_STORES:
            yield small


def _choices(key: str, value: int) -> Sequence[int]:
    if key in _PARAMETERS or value <= _SMALL:
        return [value]
    return [2] if key == "groups" else sorted({min(value, extent) for extent in _EXTENTS})


def is_possible(workload: Workload) -> bool:
    """Do groups divide channels, and windows fit images?

    >>> shape = {"size": 4, "channels": 5, "filters": 4, "kernel": 3, "stride": 1, "padding": 0, "groups": 2}
    >>> is_possible(Workload("conv2d", "float32", tuple(shape.items()), "NHWC"))
    False
    """
    shape = dict(workload.shape)
    groups, kernel = shape.get("groups", 1), shape.get("kernel", 0)
    if shape.get("channels", 0) % groups or shape.get("filters", 0) % groups:
        return False
    return shape.get("size", kernel) + 2 * shape.get("padding", 0) >= kernel


def _stores(workload: Workload) -> int:
    """About how many stores the program executes."""
    found = OPERATORS[workload.operator].flops(workload) // 2
    return found or prod(value for key, value in workload.shape if key not in _PARAMETERS)


def _machines(workload: Workload, threads: int) -> Iterator[Machine]:
    """Vectors of four elements, few registers, a small cache; sums in short parts."""
    size = dt.numpy_dtype(OPERATORS[workload.operator].result_dtype(workload)).itemsize
    wide = 32 if workload.dtype == "float64" else 16
    choices = product(dict.fromkeys((wide, 4 * size)), (12, 16, 24), (1024, 256, 1 << 14))
    for vector, registers, cache_bytes in choices:
        yield Machine(vector, registers, cache_bytes, threads, 8)


def _ragged(workload: Workload) -> Workload:
    """The same with extents that are prime, also those of groups."""
    groups = dict(workload.shape).get("groups", 1)

    def odd(key: str, value: int) -> int:
        if key in _PARAMETERS or key == "groups" or value <= _SMALL:
            return value
        unit = groups if key in ("channels", "filters") else 1
        return unit * _prime(value // unit)

    return replace(workload, shape=tuple((key, odd(key, value)) for key, value in workload.shape))


def _prime(value: int) -> int:
    """The largest prime up to ``value``, which is 2 at least.

    >>> _prime(20), _prime(13), _prime(4)
    (19, 13, 3)
    """
    return next(n for n in range(max(value, 2), 1, -1) if all(n % d for d in range(2, n)))
