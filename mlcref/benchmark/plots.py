"""Plots as SVG text: a roofline, and ratios by workload. Nothing is needed to show them but a browser."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mlcref.benchmark.report import duration, speed
from mlcref.benchmark.systems import SYSTEMS

Row = Mapping[str, Any]

_COLOURS = (
    "#8c8c8c", "#e4572e", "#2e86ab", "#f2a541", "#7b4b94", "#59a14f", "#1b7837", "#b07aa1", "#d6002a", "#17a2b8",
)  # fmt: skip
WIDTH = 1100
_LETTER = 6.4
"""The width of a letter."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A logarithmic axis: values from ``low`` to ``high`` on pixels from ``start`` to ``end``.

    >>> Scale(1.0, 100.0, 0.0, 10.0)(10.0)
    5.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Powers of ten within the range, and their 2 and 5 folds where there are few."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if len(powers) < 5 else (1,)
        found = [step * 10.0**power for power in powers for step in steps]
        return [tick for tick in found if self.low <= tick <= self.high]


def colours(systems: Sequence[str]) -> dict[str, str]:
    """A colour for each system, the same whichever others are measured.

    >>> colours(["numpy", "mlcref"]) == {"numpy": "#8c8c8c", "mlcref": "#d6002a"}
    True
    """
    known = [*SYSTEMS, *(name for name in systems if name not in SYSTEMS)]
    return {name: _COLOURS[known.index(name) % len(_COLOURS)] for name in systems}


def _in_front(rows: Iterable[Row]) -> list[Row]:
    """In the order in which dots are drawn: the one that readers look for is not hidden."""
    return sorted(rows, key=lambda row: row["system"].startswith("mlcref"))


def _range(values: Iterable[float]) -> tuple[float, float]:
    """A little more than the values span."""
    found = list(values)
    return min(found) / 1.5, max(found) * 1.5


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _dot(x: float, y: float, colour: str, words: str) -> str:
    """A dot that says more when it is pointed at."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"><title>{escape(words)}</title></circle>'


def _svg(height: float, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{"".join(parts)}</svg>'


def roofline(rows: Sequence[Row], peaks: Mapping[str, float], systems: Sequence[str]) -> str:
    """Operations per second over operations per byte, under the roofs that were measured; workloads without
    operations are not in it. Empty where there is nothing to show.
    """
    shown = [row for row in rows if "median" in row and row["flops"]]
    if not shown:
        return ""
    roofs = {name: value for name, value in peaks.items() if name in ("flops float32", "flops float64")}
    slopes = {name: value for name, value in peaks.items() if name.startswith("bandwidth")}
    height, left, bottom = 460, 70, 420
    x = Scale(*_range(_intensity(row) for row in shown), left, WIDTH - 20)
    y = Scale(*_range([*(row["flops_per_second"] for row in shown), *roofs.values()]), bottom, 20)
    parts = [_line(x(tick), 20, x(tick), bottom, "grid") + _text(x(tick), bottom + 16, f"{tick:g}", "middle")
             for tick in x.ticks()]  # fmt: skip
    parts += [_line(left, y(tick), WIDTH - 20, y(tick), "grid") + _text(left - 6, y(tick) + 4, f"{tick / 1e9:g}", "end")
              for tick in y.ticks()]  # fmt: skip
    for name, roof in roofs.items():
        words = f"{name.removeprefix('flops ')} {roof / 1e9:.0f} Gop/s"
        parts += [_line(left, y(roof), WIDTH - 20, y(roof), "roof"), _text(WIDTH - 24, y(roof) - 5, words, "end")]
    parts += [_slope(x, y, name, slope, max(roofs.values(), default=y.high)) for name, slope in slopes.items()]
    paint = colours(systems)
    parts += [_dot(x(_intensity(row)), y(row["flops_per_second"]), paint[row["system"]], _words(row))
              for row in _in_front(shown)]  # fmt: skip
    parts.append(_text(WIDTH / 2, height - 6, "operations per byte", "middle"))
    parts.append(_text(4, 14, "Gop/s"))
    return _svg(height, parts)


def _intensity(row: Row) -> float:
    found: float = row["flops"] / row["moved_bytes"]
    return found


def _slope(x: Scale, y: Scale, name: str, slope: float, roof: float) -> str:
    """The part of a bandwidth's line that lies in the picture and under the roof."""
    first, last = max(x.low, y.low / slope), min(x.high, roof / slope)
    if first >= last:
        return ""
    ends = x(first), y(first * slope), x(last), y(last * slope)
    turn = math.degrees(math.atan2(ends[3] - ends[1], ends[2] - ends[0]))
    words = f"{name.removeprefix('bandwidth ')} {slope / 1e9:.0f} GB/s"
    place = f"translate({ends[0] + 6:.1f} {ends[1] - 8:.1f}) rotate({turn:.1f})"
    return f'{_line(*ends, "roof")}<g transform="{place}">{_text(0, 0, words)}</g>'


def _words(row: Row) -> str:
    return f"{row['workload']}\n{row['system']}: {duration(row['median'])}, {speed(row)}"


def ratios(rows: Sequence[Row], to: str, systems: Sequence[str]) -> str:
    """How many times as fast as the system ``to``, a line per workload. Empty where there is nothing to show."""
    key = f"times_{to}"
    shown = [row for row in rows if key in row]
    if not shown:
        return ""
    names = list(dict.fromkeys(row["workload"] for row in rows))
    left, top, step = 16 + _LETTER * max(map(len, names)), 10, 17
    height = top + step * len(names) + 30
    x = Scale(*_range([*(row[key] for row in shown), 1.0]), left, WIDTH - 20)
    place = {name: top + step * (number + 0.5) for number, name in enumerate(names)}
    parts = [_line(x(tick), top, x(tick), height - 30, "grid") + _text(x(tick), height - 14, f"{tick:g}", "middle")
             for tick in x.ticks()]  # fmt: skip
    parts.append(_line(x(1.0), top, x(1.0), height - 30, "roof"))
    parts += [_line(left, y, WIDTH - 20, y, "row") + _text(left - 8, y + 4, name, "end") for name, y in place.items()]
    paint = colours(systems)
    parts += [
        _dot(x(row[key]), place[row["workload"]], paint[row["system"]], f"{_words(row)}, {row[key]:.2f} × {to}")
        for row in _in_front(shown)
    ]
    return _svg(height, parts)
