"""Workspaces: the memory that a kernel takes for its private buffers, and how large it is.

A kernel takes one block for all its buffers and all threads. A module keeps the block of the call that ended last, so
that the next call finds its pages in place; a call that comes while another one runs takes a block of its own, and a
block that is too small is exchanged. A child that is forked meanwhile starts without a block.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlcref.codegen.c_expr import Expressions
from mlcref.codegen.c_types import item_size
from mlcref.codegen.prelude import HEADER_BYTES
from mlcref.codegen.storage import padded_count
from mlcref.errors import MlcrefError
from mlcref.ir import Buffer

@dataclass(frozen=True, slots=True)
class Share:
    """The part of a workspace that holds ``copies`` of ``buffer``."""

    buffer: Buffer
    copies: int

    def size(self, expressions: Expressions) -> str:
        """Its bytes as text, a multiple of a cache line."""
        count = padded_count(self.buffer, expressions)
        size = item_size(self.buffer.type)
        if count.isdigit():
            return str(self.copies * int(count) * size)
        return f"{self.copies * size} * ({count})"


def workspace_formula(shares: list[Share], expressions: Expressions) -> str:
    """The bytes that a call allocates, as text over the names of sizes; "0" when it allocates nothing."""
    return " + ".join([*(share.size(expressions) for share in shares), str(HEADER_BYTES)]) if shares else "0"


_OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "max_int64": max, "min_int64": min, "floordiv_int64": operator.floordiv, "floormod_int64": operator.mod,
}  # fmt: skip


def formula_value(formula: str, sizes: Mapping[str, int]) -> int:
    """The value of a formula of a kernel for ``sizes``; raises ``MlcrefError`` when a size is missing.

    >>> formula_value("2 * (n * 8 // 16 + 1) * 16 + 64", {"n": 3})
    128
    """
    return _value(ast.parse(formula, mode="eval").body, sizes)


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.Name(id=name):
            if name not in sizes:
                raise MlcrefError(f"the workspace depends on the size {name}", hint=f"pass {name}=...")
            return sizes[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, sizes), _value(right, sizes))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, sizes)
        case ast.Call(func=ast.Name(id=name), args=[left, right]):
            return _FUNCTIONS[name](_value(left, sizes), _value(right, sizes))
    raise MlcrefError(f"{ast.unparse(node)!r} is not part of a workspace's formula")
