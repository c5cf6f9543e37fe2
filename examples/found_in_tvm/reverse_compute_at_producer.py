"""reverse_compute_at moves a producer behind its consumer.

    python examples/found_in_tvm/reverse_compute_at_producer.py

B has no producers among the blocks, so the check that all producers of the moved block are under the loop holds of
nothing. That D, which is not under the loop, reads B is not checked: B ends up behind D, which reads memory that
nobody has written. A related report: https://github.com/apache/tvm/issues/15911 (wrong results with
reverse_compute_at).
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((4,), "float32"), C: T.Buffer((4,), "float32")):
    T.func_attr({"tirx.noalias": True})
    B = T.sblock_alloc_buffer((4,))
    D = T.sblock_alloc_buffer((4,))
    for i in range(4):
        with T.sblock("B"):
            vi = T.axis.spatial(4, i)
            T.reads(A[vi])
            T.writes(B[vi])
            B[vi] = A[vi] * T.float32(2)
    for i in range(4):
        with T.sblock("D"):
            vi = T.axis.spatial(4, i)
            T.reads(B[vi])
            T.writes(D[vi])
            D[vi] = B[vi] + T.float32(1)
    for i in range(4):
        with T.sblock("C"):
            vi = T.axis.spatial(4, i)
            T.reads(D[vi])
            T.writes(C[vi])
            C[vi] = D[vi] * T.float32(3)
"""


def steps(sch: Any) -> None:
    sch.reverse_compute_at(sch.get_sblock("B"), sch.get_loops(sch.get_sblock("C"))[0])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
