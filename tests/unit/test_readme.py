"""What README.md says is true: its example runs, its commands are two."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
text = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    path = tmp_path / "example.py"
    path.write_text(example, encoding="utf-8")
    runpy.run_path(str(path))
    out = capsys.readouterr().out
    assert out.startswith("TESTED")
    assert "mean" in out


def test_there_are_two_commands_of_one_line() -> None:
    commands = blocks("sh")
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)
    assert "mlcref demo" in commands[0]
    assert "pytest" in commands[1]


def test_its_links_lead_somewhere() -> None:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        assert (README.parent / target).exists(), target
