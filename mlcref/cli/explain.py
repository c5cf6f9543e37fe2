"""``python -m mlcref explain RULE``: what a rule says, an example, what to do about it."""

from __future__ import annotations

import argparse
import difflib
from typing import Any

from mlcref.cli.rules import RuleText, all_rules
from mlcref.errors import MlcrefError


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    explain: argparse.ArgumentParser = commands.add_parser(
        "explain", help="explain a rule that a report cites, such as memory.bounds or parallel.P3"
    )
    explain.add_argument("rule", nargs="?", help="the rule; a group such as block lists its rules; nothing lists all")
    return explain


def run(options: argparse.Namespace) -> int:
    """Print it. Raises ``MlcrefError`` for a rule that does not exist."""
    rules = all_rules()
    if options.rule in rules:
        print(_page(rules[options.rule]))
        return 0
    listed = [text for name, text in rules.items() if options.rule in (None, name.partition(".")[0])]
    if not listed:
        raise unknown(options.rule, rules)
    for text in listed:
        print(f"{text.name:<28} {text.title}")
    return 0


def unknown(name: str, rules: dict[str, RuleText]) -> MlcrefError:
    """The error for a name that is no rule, with the nearest ones."""
    lowered = {rule.lower(): rule for rule in rules}
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)
    group = [rule for rule in rules if rule.partition(".")[0] == name.partition(".")[0]]
    guesses = list(dict.fromkeys([*(lowered[rule] for rule in near), *group]))[:6]
    hint = f"did you mean {', '.join(guesses)}?" if guesses else "python -m mlcref explain lists all rules"
    return MlcrefError(f"there is no rule {name!r}", rule="cli.rule", hint=hint)


def _page(text: RuleText) -> str:
    example = "\n".join(f"    {line}".rstrip() for line in text.example.splitlines())
    parts = [f"{text.name} · {text.kind}", text.prose]
    if example:
        parts.append(f"example:\n{example}")
    if text.remedy:
        parts.append(f"remedy: {text.remedy}")
    return "\n\n".join(parts)
