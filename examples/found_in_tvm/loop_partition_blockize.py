"""blockize after loop_partition loses the loops above the partition.

    python examples/found_in_tvm/loop_partition_blockize.py

loop_partition puts blocks without iterators around the parts. blockize asks only for the loops up to that block,
finds none that bind ``vi``, and writes ``T.axis.spatial(1, 0)``: every iteration of ``i`` computes row 0, and the
other rows of that part are never written.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2, 2), "float32"), C: T.Buffer((2, 2), "float32")):
    T.func_attr({"tirx.noalias": True})
    for i, j in T.grid(2, 2):
        with T.sblock("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(A[vi, vj])
            T.writes(C[vi, vj])
            C[vi, vj] = A[vi, vj] + T.float32(1)
"""


def steps(sch: Any) -> None:
    sch.loop_partition(sch.get_loops(sch.get_sblock("C"))[1], [1, None])
    sch.blockize(sch.get_loops(sch.get_sblock("C_j0"))[0])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
