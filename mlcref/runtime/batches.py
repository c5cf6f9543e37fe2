"""Which functions share a module, so that all cores have something to do until all modules are built."""

from __future__ import annotations

from collections.abc import Mapping

from mlcref.ir import For, PrimFunc, Stmt, children, constant

TOGETHER = 21
"""Functions of one module: what a module costs by itself is small by then, and there is enough to share out."""
_FIRST = 0.5
"""The first module beside the others: the other cores wait for it."""
_FRAME = 45
"""A kernel's parameters, packing and launch, in statements."""


def batches(funcs: Mapping[str, PrimFunc], vector_bytes: int) -> list[dict[str, PrimFunc]]:
    """``funcs`` in order, in modules of about ``TOGETHER``, of about as much text each; the first has half as much.

    ``vector_bytes`` is the width of the target's vectors. What is in a module depends on ``funcs`` alone, so that it is
    found in the cache again.

    >>> [sorted(part) for part in batches({}, 16)]
    [[]]
    """
    count = max(round(len(funcs) / TOGETHER), 1)
    lengths = [_FRAME + statements(func.body, vector_bytes) for func in funcs.values()]
    each = sum(lengths) / (count - 1 + _FIRST)
    parts: list[dict[str, PrimFunc]] = [{}]
    done = 0.0
    for (name, func), length in zip(funcs.items(), lengths, strict=True):
        if parts[-1] and done + length / 2 > each * (len(parts) - 1 + _FIRST) and len(parts) < count:
            parts.append({})
        parts[-1][name] = func
        done += length
    return parts


def statements(stmt: Stmt, vector_bytes: int) -> int:
    """About how many statements ``stmt`` becomes: those of unrolled loops and of vectors that fill several registers
    are written again and again.
    """
    inside = sum([statements(child, vector_bytes) for child in children(stmt) if isinstance(child, Stmt)]) or 1
    if not isinstance(stmt, For) or stmt.kind not in ("unrolled", "vectorized"):
        return inside + 1
    extent = constant(stmt.extent) or 1
    return inside * (extent if stmt.kind == "unrolled" else max(extent * 4 // vector_bytes, 1))
