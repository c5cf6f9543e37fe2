"""pad_einsum pads a loop, but not the buffer that is read, when the region says 0 for the iterator.

    python examples/found_in_tvm/pad_einsum_region.py

pad_einsum looks only at the regions that a block declares. ``vi`` has extent 1, and ``T.reads(B[0, vj])`` is as
true as ``B[vi, vj]``; so the loop over ``vi`` is padded to 4 while the buffer that the body reads at ``[vi, vj]``
keeps one row: rows 1 to 3 are read out of bounds.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((1, 2), "float32"), C: T.Buffer((1, 2), "float32")):
    T.func_attr({"tirx.noalias": True})
    B = T.sblock_alloc_buffer((1, 2))
    D = T.sblock_alloc_buffer((1, 2))
    for i, j in T.grid(1, 2):
        with T.sblock("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(A[vi, vj])
            T.writes(B[vi, vj])
            B[vi, vj] = A[vi, vj] * T.float32(2)
    for i, j in T.grid(1, 2):
        with T.sblock("D"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(B[0, vj])
            T.writes(D[vi, vj])
            D[vi, vj] = B[vi, vj] + T.float32(1)
    for i, j in T.grid(1, 2):
        with T.sblock("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(D[vi, vj])
            T.writes(C[vi, vj])
            C[vi, vj] = D[vi, vj]
"""


def steps(sch: Any) -> None:
    sch.pad_einsum(sch.get_sblock("D"), [4, 4])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
