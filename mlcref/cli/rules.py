"""The texts of all rules: those of the semantics from its page, those of the schedule from its table, and the others
from the tables in :mod:`mlcref.cli.other_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from mlcref.cli.other_rules import HANDLE, PRECONDITION_REMEDIES, REMEDIES, SCRIPT, WELLFORMED
from mlcref.schedule import TABLE

_HEADING = re.compile(r"^### \d+\. `([a-z.]+)` · (\w+)$", re.MULTILINE)
_FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class RuleText:
    """A rule: ``kind`` is a severity or the family, ``prose`` what it says, ``remedy`` what to do when it is broken."""

    name: str
    kind: str
    prose: str
    example: str = ""
    remedy: str = ""

    @property
    def title(self) -> str:
        """The first sentence of the prose."""
        line = " ".join(self.prose.split())
        return line.partition(". ")[0].rstrip(".")


def all_rules() -> dict[str, RuleText]:
    """Every rule by name."""
    found = [*_semantics(), *_preconditions(), *_listed("script", SCRIPT), *_listed("IR invariant", WELLFORMED)]
    found += _listed("schedule handle", HANDLE)
    return {text.name: text for text in found}


def _semantics() -> Iterator[RuleText]:
    page = (files("mlcref.cli") / "semantics.md").read_text(encoding="utf-8")
    parts = _HEADING.split(page)
    for name, severity, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        body = text.partition("\n## ")[0]
        prose = _FENCE.sub("", body).strip()
        yield RuleText(name, severity, prose, "\n".join(_FENCE.findall(body)), REMEDIES.get(name, ""))


def _preconditions() -> Iterator[RuleText]:
    for name, primitive in sorted(TABLE.items()):
        for number, statement in primitive.preconditions.items():
            prose = f"{name} applies where {statement}. Otherwise it refuses, and the schedule stays as it was."
            remedy = PRECONDITION_REMEDIES.get(
                statement, f"apply it elsewhere, or transform the program first so that this holds: {statement}"
            )
            yield RuleText(f"{name}.{number}", f"precondition of the primitive {name}", prose, primitive.doc, remedy)


def _listed(kind: str, table: dict[str, tuple[str, str, str]]) -> Iterator[RuleText]:
    for name, (prose, example, remedy) in table.items():
        yield RuleText(name, kind, prose, example, remedy)
