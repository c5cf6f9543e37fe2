"""Results as a file of JSON lines that grows while the suite runs, and that an interrupted run is continued from.

The first line says what is measured, on what and with what; a run with the same first line goes on where the file ends.
Then a line for the peaks of each number of threads, one for each workload and number of threads (a group), and a last
one when all is done. A file of another run, or of one that is done, is set aside under the name with ``.previous``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]


@dataclass
class Results:
    """What is known so far, in memory and, unless ``path`` is None, in a file."""

    header: dict[str, Any]
    path: Path | None = None
    peaks: dict[int, dict[str, float]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False

    @staticmethod
    def started(header: dict[str, Any], path: Path | None) -> Results:
        """Results to add to: those of ``path`` where they belong to an interrupted run of the same kind."""
        found = Results(header, path)
        if path is None:
            return found
        if path.exists():
            kept = Results.read(path)
            if kept is not None and kept.header == header and not kept.complete:
                path.write_text("".join([f"{json.dumps(line)}\n" for line in _lines(path)]), encoding="utf-8")
                return kept
            path.replace(path.with_name(f"{path.name}.previous"))
        found._append({"kind": "header", **header})
        return found

    @staticmethod
    def read(path: Path) -> Results | None:
        """The results of a file, None where it holds none. A line that was cut off at the end is not read."""
        lines = list(_lines(path))
        if not lines or lines[0].get("kind") != "header":
            return None
        found = Results({key: value for key, value in lines[0].items() if key != "kind"}, path)
        for line in lines[1:]:
            found._take(line)
        return found

    def add_peaks(self, threads: int, peaks: Mapping[str, float]) -> None:
        """What the machine does at most with so many threads."""
        self._add({"kind": "peaks", "threads": threads, "peaks": dict(peaks)})

    def add_group(self, group: Line) -> None:
        """The rows of a workload with so many threads."""
        self._add({"kind": "group", **group})

    def finish(self) -> None:
        """All is measured."""
        self._add({"kind": "end"})

    def has(self, workload: str, threads: int) -> bool:
        """Is this workload done?"""
        return any((group["workload"], group["threads"]) == (workload, threads) for group in self.groups)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row with what it shares with its group."""
        for group in self.groups:
            shared = {key: value for key, value in group.items() if key != "rows"}
            for row in group["rows"]:
                yield {**shared, **row}

    def as_json(self) -> dict[str, Any]:
        """All of it as one object."""
        peaks = {str(threads): found for threads, found in self.peaks.items()}
        return {"plan": self.header, "complete": self.complete, "peaks": peaks, "rows": list(self.rows())}

    def _add(self, line: dict[str, Any]) -> None:
        self._take(line)
        self._append(line)

    def _take(self, line: Line) -> None:
        kind = line["kind"]
        if kind == "peaks":
            self.peaks[int(line["threads"])] = dict(line["peaks"])
        elif kind == "group":
            self.groups.append({key: value for key, value in line.items() if key != "kind"})
        elif kind == "end":
            self.complete = True

    def _append(self, line: Line) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            return
        if not isinstance(line, dict):
            return
        yield line
