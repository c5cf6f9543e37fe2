"""reorder runs updates of a fused reduction before its init.

    python examples/found_in_tvm/reorder_fused_reduction.py

Spatial ``j`` and reduce ``k`` are fused, and the fused loop is split by a factor that does not divide it. The order
of the two new loops decides whether ``vk == 0`` comes first: after reorder, ``vk == 1`` of some elements comes
before ``vk == 0``, so that their update adds to old memory, and the init then forgets it.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2, 2), "float32"), B: T.Buffer((2, 2), "float32"), C: T.Buffer((2, 2), "float32")):
    T.func_attr({"tirx.noalias": True})
    for i, j, k in T.grid(2, 2, 2):
        with T.sblock("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            T.reads(A[vi, vk], B[vk, vj])
            T.writes(C[vi, vj])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
"""


def steps(sch: Any) -> None:
    sch.fuse(sch.get_loops(sch.get_sblock("C"))[1], sch.get_loops(sch.get_sblock("C"))[2])
    sch.split(sch.get_loops(sch.get_sblock("C"))[1], [None, 3])
    sch.reorder(sch.get_loops(sch.get_sblock("C"))[2], sch.get_loops(sch.get_sblock("C"))[1])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
