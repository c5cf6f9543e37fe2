"""Mechanical wrong edits: ``python -m tests.mutants.mutate FILE FUNCTION … --target primitive:split``.

Draws from all places in the named functions at which a comparison, an arithmetic operator, a constant, a condition, a
statement or the order of two arguments can be another one, and writes the diffs.
"""

from __future__ import annotations

import argparse
import ast
import random
from collections.abc import Iterator

from tests.mutants.store import ROOT, write_diff

_COMPARISONS = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
                ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"}  # fmt: skip
_ARITHMETIC = {ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.FloorDiv: "%", ast.Mod: "//", ast.BitOr: "&",
               ast.BitAnd: "|"}  # fmt: skip
Edit = tuple[ast.AST, str, str]
"""A node, the text in its place, and what that is."""


def edits(function: ast.AST, source: str) -> Iterator[Edit]:
    """Every edit of a function."""

    def text(node: ast.AST) -> str:
        return ast.get_source_segment(source, node) or ""

    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
            symbol = _COMPARISONS[type(node.ops[0])]
            yield node, f"{text(node.left)} {symbol} {text(node.comparators[0])}", "another comparison"
        elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC and "\n" not in text(node):
            yield node, f"({text(node.left)}) {_ARITHMETIC[type(node.op)]} ({text(node.right)})", "another operator"
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            yield node, str(node.value + 1), "a constant off by one"
        elif isinstance(node, ast.Constant) and type(node.value) is bool:
            yield node, str(not node.value), "the other truth value"
        elif isinstance(node, ast.If) and "\n" not in text(node.test):
            yield node.test, f"not ({text(node.test)})", "a negated condition"
        elif isinstance(node, ast.BoolOp) and len(node.values) > 1 and "\n" not in text(node):
            yield node, text(node.values[0]), "one condition of several only"
        elif isinstance(node, ast.Raise | ast.AugAssign) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        ):
            yield node, "pass", "a statement left out"
        elif isinstance(node, ast.Call) and len(node.args) >= 2 and "\n" not in text(node):
            first, second = text(node.args[0]), text(node.args[1])
            swapped = text(node).replace(f"{first}, {second}", f"{second}, {first}", 1)
            if swapped != text(node) and not first.startswith("*") and not second.startswith("*"):
                yield node, swapped, "two arguments swapped"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.mutate", description=__doc__)
    parser.add_argument("file")
    parser.add_argument("functions", nargs="+")
    parser.add_argument("--target", required=True)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    source = (ROOT / options.file).read_text(encoding="utf-8")
    functions = {n.name: n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}
    every = [(name, edit) for name in options.functions for edit in edits(functions[name], source)]
    lines = source.splitlines(keepends=True)
    for name, (node, new, what) in random.Random(options.seed).sample(every, min(options.count, len(every))):
        start, end = _offset(lines, node.lineno, node.col_offset), _offset(lines, node.end_lineno, node.end_col_offset)
        changed = source[:start] + new + source[end:]
        begin = source.rindex("\n", 0, start) + 1
        stop = source.index("\n", end)
        old, after = source[begin:stop], changed[begin : stop + len(changed) - len(source)]
        while source.count(old) != 1:  # a longer text, until there is one place for it
            begin = source.rindex("\n", 0, begin - 1) + 1
            old, after = source[begin:stop], changed[begin : stop + len(changed) - len(source)]
        kind, _, short = options.target.partition(":")
        label = f"{short or kind}__ast_{name.strip('_')}_{node.lineno}_{what.split()[-1]}"
        origin = f"AST mutator, seed {options.seed}"
        print(write_diff(label, target=options.target, why=f"in {name}: {what}: {new.strip()[:70]}", origin=origin,
                         file=options.file, old=old, new=after))  # fmt: skip


def _offset(lines: list[str], line: int, column: int) -> int:
    """The position in the text of a place that ``ast`` gives in UTF-8 bytes of its line."""
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())


if __name__ == "__main__":
    main()
