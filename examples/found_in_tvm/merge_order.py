"""merge puts a consumer before its producer.

    python examples/found_in_tvm/merge_order.py

merge takes the bodies in the order of its arguments, not in the order in which they stand, and checks no
dependence: with the consumer's loop first, C reads B before B is written in that iteration.
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
    sch.merge(sch.get_loops(sch.get_sblock("C"))[0], sch.get_loops(sch.get_sblock("B"))[0])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
