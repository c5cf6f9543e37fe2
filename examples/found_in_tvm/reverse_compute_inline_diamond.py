"""reverse_compute_inline deletes a buffer that another block still reads.

    python examples/found_in_tvm/reverse_compute_inline_diamond.py

D is inlined into its producer B, and the buffer B is gone; but C reads B, too. TVM checks that B is the only
producer of D, not that D is the only consumer of B. The result reads a buffer that nobody allocates.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2,), "float32"), C: T.Buffer((2,), "float32")):
    T.func_attr({"tirx.noalias": True})
    B = T.sblock_alloc_buffer((2,))
    D = T.sblock_alloc_buffer((2,))
    for i in range(2):
        with T.sblock("B"):
            vi = T.axis.spatial(2, i)
            T.reads(A[vi])
            T.writes(B[vi])
            B[vi] = A[vi] + T.float32(1)
    for i in range(2):
        with T.sblock("D"):
            vi = T.axis.spatial(2, i)
            T.reads(B[vi])
            T.writes(D[vi])
            D[vi] = B[vi] * T.float32(2)
    for i in range(2):
        with T.sblock("C"):
            vi = T.axis.spatial(2, i)
            T.reads(D[vi], B[vi])
            T.writes(C[vi])
            C[vi] = D[vi] + B[vi]
"""


def steps(sch: Any) -> None:
    sch.reverse_compute_inline(sch.get_sblock("D"))


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
