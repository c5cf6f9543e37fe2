"""Mutants on disk: read, written, applied to the text of a file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DIFFS = HERE / "diffs"
GRAPHS = HERE / "graphs"
"""Those of passes over graphs."""


@dataclass(frozen=True)
class Mutant:
    """One wrong edit of one file: ``hunks`` are pairs of the lines before and after."""

    name: str
    target: str
    why: str
    origin: str
    equivalent: str
    file: str
    hunks: tuple[tuple[str, str], ...]

    def applied(self, text: str) -> str:
        """``text`` with the edit. Raises ``ValueError`` unless each hunk fits in exactly one place."""
        for old, new in self.hunks:
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: the diff fits {self.file} in {text.count(old)} places")
            text = text.replace(old, new)
        return text


def load(path: Path) -> Mutant:
    """The mutant in a file."""
    header: dict[str, str] = {}
    file, hunks, key = "", [], ""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("# ") and not file:
            name, colon, value = line[2:].partition(": ")
            if colon and name in ("target", "why", "origin", "equivalent"):
                key = name
                header[key] = value.strip()
            else:
                header[key] += " " + line[2:].strip()
        elif line.startswith("+++ "):
            file = line[4:].strip().removeprefix("b/")
        elif line.startswith("@@"):
            hunks.append(("", ""))
        elif hunks:
            old, new = hunks[-1]
            hunks[-1] = (old + line[1:] * (line[0] in " -"), new + line[1:] * (line[0] in " +"))
    return Mutant(
        path.stem, header["target"], header["why"], header["origin"], header.get("equivalent", ""), file, tuple(hunks)
    )


def mutants(folder: Path = DIFFS) -> list[Mutant]:
    """Every mutant of a folder, by name."""
    return [load(path) for path in sorted(folder.glob("*.diff"))]


def write_diff(
    name: str, *, target: str, why: str, origin: str, file: str, old: str, new: str, folder: Path = DIFFS
) -> Path:
    """Write the mutant that replaces ``old`` (which occurs once) by ``new`` in ``file``, a path from the root.

    Raises ``ValueError`` when ``old`` does not occur exactly once, and when the result is no Python.
    """
    text = (ROOT / file).read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise ValueError(f"{name}: the text occurs {text.count(old)} times in {file}")
    changed = text.replace(old, new)
    compile(changed, file, "exec")
    before, after = text.splitlines(keepends=True), changed.splitlines(keepends=True)
    for context in (1, 2, 3, 5, 8):
        diff = difflib.unified_diff(before, after, f"a/{file}", f"b/{file}", n=context)
        header = f"# target: {target}\n# why: {why}\n# origin: {origin}\n"
        path = folder / f"{name}.diff"
        path.write_text(header + "".join(diff), encoding="utf-8")
        try:
            if load(path).applied(text) == changed:
                return path
        except ValueError:
            path.unlink()
    raise ValueError(f"{name}: no context tells the place in {file} from others")
