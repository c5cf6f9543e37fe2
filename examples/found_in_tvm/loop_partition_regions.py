"""After loop_partition other primitives do not see what the parts read and write.

    python examples/found_in_tvm/loop_partition_regions.py

The blocks that loop_partition puts around the parts say ``T.reads()`` and ``T.writes()``, so that for every later
primitive the whole nest uses no memory. Here reverse_compute_at moves the block B, which it takes for one without
consumers, behind the only block that reads it.
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
    sch.loop_partition(sch.get_loops(sch.get_sblock("C"))[0], [2, None])
    sch.cache_write(sch.get_sblock("B"), 0, "global")


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
