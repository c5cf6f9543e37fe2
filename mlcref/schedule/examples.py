"""Small programs for the examples in docstrings, and a short way to show them."""

from __future__ import annotations

from textwrap import dedent

from mlcref.ir import PrimFunc
from mlcref.schedule.schedule import Schedule
from mlcref.script import from_source

__all__ = ["Schedule", "doubled", "row_sums", "shown", "table", "two_stages"]


def _program(text: str) -> PrimFunc:
    func = from_source(text)
    assert isinstance(func, PrimFunc)
    return func


doubled = _program("""
@T.prim_func
def doubled(A: T.Buffer((10,), "float32"), B: T.Buffer((10,), "float32")):
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2)
""")
table = _program("""
@T.prim_func
def table(A: T.Buffer((4, 8), "float32"), B: T.Buffer((4, 8), "float32")):
    for i, j in T.grid(4, 8):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj] * T.float32(2)
""")
two_stages = _program("""
@T.prim_func
def two_stages(A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")):
    B = T.alloc_buffer((8,))
    for i in range(8):
        with T.block("B"):
            vi = T.axis.spatial(8, i)
            B[vi] = A[vi] * T.float32(2)
    for j in range(8):
        with T.block("C"):
            vj = T.axis.spatial(8, j)
            C[vj] = B[vj] + T.float32(1)
""")
row_sums = _program("""
@T.prim_func
def row_sums(A: T.Buffer((4, 8), "float32"), B: T.Buffer((4,), "float32")):
    for i, k in T.grid(4, 8):
        with T.block("B"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                B[vi] = T.float32(0)
            B[vi] = B[vi] + A[vi, vk]
""")


def shown(sch: Schedule) -> str:
    """The loops and blocks of the function ``main`` as TVMScript, without what blocks declare to read and write.

    >>> print(shown(Schedule(doubled)))
    for i in range(10):
        with T.block("B"):
            vi = T.axis.spatial(10, i)
            B[vi] = A[vi] * T.float32(2.0)
    """
    body = sch.mod["main"].script(header=False).partition('# with T.block("root"):\n')[2]
    lines = [line for line in body.splitlines() if not line.strip().startswith(("T.reads(", "T.writes("))]
    return dedent("\n".join(lines))
