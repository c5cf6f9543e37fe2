"""docs/semantics.md: every example runs, every rule exists, and the places it names are there."""

from __future__ import annotations

import ast
import importlib
import linecache
import re
from pathlib import Path
from typing import Any

import pytest

from mlcref.errors import CallError, OracleError
from mlcref.interp.rules import DEFINES, RULES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
RULE = re.compile(r"^### (\d+)\. `([a-z.]+)` · (\w+)$", re.MULTILINE)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SITE = re.compile(r"^Implemented in (.+)\.$", re.MULTILINE)


def sections() -> list[tuple[str, str, str]]:
    """Number and name, severity, text of each rule; the text before the first rule is rule "prelude"."""
    parts = RULE.split(TEXT)
    found = [("prelude", "", parts[0])]
    found += [
        (name, severity, text) for name, severity, text in zip(parts[2::4], parts[3::4], parts[4::4], strict=True)
    ]
    return found


def run(code: str, name: str, namespace: dict[str, Any]) -> None:
    """Run the top-level statements of an example; a ``# refused: rule`` behind one says that it must raise."""
    filename = f"<semantics.md {name}>"
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    for stmt in ast.parse(code).body:
        block = compile(ast.Module([stmt], []), filename, "exec")
        refused = re.search(r"# refused: (\S+)", code.splitlines()[(stmt.end_lineno or 1) - 1])
        if refused is None:
            exec(block, namespace)
            continue
        with pytest.raises((OracleError, CallError), match=re.escape(f"[{refused[1]}]")):
            exec(block, namespace)


def examples() -> dict[str, str]:
    return {name: "\n".join(FENCE.findall(text)) for name, _, text in sections()}


def test_examples_run_in_order() -> None:
    namespace: dict[str, Any] = {}
    for name, code in examples().items():
        run(code, name, namespace)
    assert namespace["check_equivalent"](namespace["f"], namespace["f"])


def test_every_rule_has_an_example() -> None:
    assert [name for name, code in examples().items() if not code] == []


def test_rules_that_refuse_show_a_refusal() -> None:
    shown = {name: set(re.findall(r"# refused: (\S+)", code)) for name, code in examples().items()}
    refusing = [name for name, severity, _ in sections() if severity == "meaningless"]
    assert [name for name in refusing if name not in shown[name]] == []


def test_page_and_table_name_the_same_rules() -> None:
    assert {name: severity for name, severity, _ in sections()[1:]} == RULES
    assert [int(number) for number, _, _ in RULE.findall(TEXT)] == list(range(1, len(RULES) + 1))


def test_code_cites_every_rule_that_refuses_and_no_other() -> None:
    files = [p for p in (ROOT / "mlcref" / "interp").glob("*.py") if p.name not in ("rules.py", "graph.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    cited = set(re.findall(r'"((?:value|memory|block|loop|thread|stmt|call)\.[a-z]+)"', code))
    assert cited == {name for name, severity in RULES.items() if severity != DEFINES}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, severity, text in sections() if severity])
def test_the_places_named_exist(name: str, text: str) -> None:
    match = SITE.search(text)
    assert match is not None, f"{name} does not say where it is implemented"
    for site in re.findall(r"`([^`]+)`", match[1]):
        module, *path = site.split(".")
        found: Any = importlib.import_module(f"mlcref.interp.{module}")
        for attribute in path:
            found = getattr(found, attribute)
