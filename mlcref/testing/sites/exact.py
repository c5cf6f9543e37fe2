"""Values that wrap, read where arithmetic is exact: in conditions and indices of the block that consumes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcref.ir import Buffer, Expr, FloorMod, PrimFunc, Select, Stmt, Var, binary, call, cast, seq, store
from mlcref.testing.sites.parts import Axis, Pick, buffer, instance, nested, program

_EXTENT = 4


def consulted(pick: Pick) -> PrimFunc:
    """``B[i]`` is computed from ``A[i]`` in a narrow type; ``C[i]`` is chosen by it, or read at it."""
    dtype = pick(["int8", "int32", "uint8"])
    A, X, C = buffer("A", [_EXTENT], dtype), buffer("X", [_EXTENT], "float32"), buffer("C", [_EXTENT], "float32")
    B = buffer("B", [_EXTENT], dtype)

    def made(v: Sequence[Var]) -> tuple[Stmt | None, Stmt]:
        element: Expr = A[v[0]]
        return None, store(B, pick([element * 101, element * 77 + element, element]), v)

    def used(v: Sequence[Var]) -> tuple[Stmt | None, Stmt]:
        return None, store(C, pick(_uses(B[v[0]], v[0], X))(), v)

    axis, producer, consumer = [Axis(0, _EXTENT)], Var("i"), Var("j")
    body = seq(
        nested([(producer, _EXTENT)], instance("B", axis, [producer], made)),
        nested([(consumer, _EXTENT)], instance("C", axis, [consumer], used)),
    )
    return program((A, X, C), body, [B])


def _uses(value: Expr, v: Var, X: Buffer) -> list[Callable[[], Expr]]:
    """A condition that decides which branch is taken, an index, and two places where values wrap."""
    return [
        lambda: call("if_then_else", value < 5, X[v], 0.0),
        lambda: X[binary(FloorMod, cast("int32", value), _EXTENT)],
        lambda: Select(value < 5, X[v], cast("float32", 0)),
        lambda: cast("float32", value),
    ]


SITES = {"primitive:compute_inline": (consulted,), "primitive:reverse_compute_inline": (consulted,)}
