"""Which register tile, and how much of a packed operand stays in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from mlcref.autoschedule.machine import Machine

_START_UP, _LOAD = 6, 0.25
"""What a step of a tile costs beside its accumulators, in accumulators: once, and for each load of an operand. Fitted
to measured tiles of 16 to 26 accumulators."""
_SPARE, _TIGHT = 3, 2
"""Registers that should be left over, and what a step costs where they are not, in accumulators."""
_WIDEST = 8
"""Vectors of one row of a tile, where it has few rows."""


@dataclass(frozen=True, slots=True)
class Tile:
    """``rows`` x ``columns`` elements of the output in registers."""

    rows: int
    columns: int


def rounded_up(size: int, unit: int) -> int:
    """The least multiple of ``unit`` that is no less than ``size``.

    >>> rounded_up(250, 64)
    256
    """
    return -(-size // unit) * unit


def register_tile(rows: int, columns: int, lanes: int, machine: Machine, exact: bool = False) -> Tile:
    """The tile for an output of ``rows`` x ``columns``: large, and leaving little over. With ``exact``, the last tile
    of a row has only the vectors that it needs.

    >>> register_tile(1024, 1024, 16, Machine())
    Tile(rows=6, columns=64)
    >>> register_tile(64, 10, 16, Machine())
    Tile(rows=22, columns=16)
    """
    best, least = Tile(1, lanes), float("inf")
    for wide, tall in product(range(_WIDEST, 0, -1), range(1, machine.registers)):
        spare = machine.registers - (tall * wide + wide + 1)
        if spare < (_SPARE if wide == 1 else 1) or (wide > 1 and (wide - 1) * lanes >= columns) or tall > rows:
            continue
        whole, rest = divmod(-(-columns // lanes), wide)
        if rest and not exact:
            whole, rest = whole + 1, 0
        tight = whole * _TIGHT if spare < _SPARE else 0
        steps = whole * _step(tall, wide) + (_step(tall, rest) if rest else 0) + tight
        taken = -(-rows // tall) * steps
        if taken < least:
            best, least = Tile(tall, wide * lanes), taken
    return best


def _step(tall: int, wide: int) -> float:
    """What a step of a tile of ``tall`` x ``wide`` vectors costs."""
    return tall * wide + _START_UP + _LOAD * (tall + wide)


def reduced_at_once(size: int, machine: Machine) -> int:
    """How many terms of a sum of ``size`` are taken before the next tile: all where few are too many, else a divisor,
    or a part after which little is left over.

    >>> reduced_at_once(1500, Machine()), reduced_at_once(2048, Machine()), reduced_at_once(2000, Machine())
    (1500, 1024, 1000)
    """
    if size <= 3 * machine.terms // 2:
        return size
    fewest = -(-size // machine.terms)
    return next((size // n for n in range(fewest, 2 * fewest) if size % n == 0), -(-size // fewest))


def panels_at_once(panels: int, panel_bytes: int, machine: Machine) -> int:
    """How many packed panels stay in the second cache: a divisor of ``panels``."""
    most = max(machine.l2_bytes // max(panel_bytes, 1), 1)
    return max(n for n in range(1, panels + 1) if panels % n == 0 and n <= most)
