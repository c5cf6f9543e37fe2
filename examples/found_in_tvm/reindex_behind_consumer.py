"""reindex puts its copy behind blocks that need it.

    python examples/found_in_tvm/reindex_behind_consumer.py

B was moved into the nest of C. reindex writes B's result to a new buffer and copies that to B after the whole nest,
where it is too late for C: C reads B before anything was written to it.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((4,), "float32"), C: T.Buffer((4,), "float32")):
    T.func_attr({"tirx.noalias": True})
    B = T.sblock_alloc_buffer((4,))
    for i in range(4):
        with T.sblock("B"):
            vi = T.axis.spatial(4, i)
            T.reads(A[vi])
            T.writes(B[vi])
            B[vi] = A[vi] * T.float32(2)
    for i in range(4):
        with T.sblock("C"):
            vi = T.axis.spatial(4, i)
            T.reads(B[vi])
            T.writes(C[vi])
            C[vi] = B[vi] + T.float32(1)
"""


def steps(sch: Any) -> None:
    sch.compute_at(sch.get_sblock("B"), sch.get_loops(sch.get_sblock("C"))[0])
    sch.reindex(sch.get_sblock("B"), ("write", 0))


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
