"""Code of a vectorized loop around an allocation computes one element for all.

    python examples/found_in_tvm/vectorize_allocation.py

The schedule is right: with B computed under the loop of C, each iteration uses one element of B, and the oracle
accepts the result. But the buffer is narrowed to one element, which the lanes then share: each lane writes it, and
all read the value of the last. Only TVM's compiled code shows it, so the verdict of the oracle is TESTED and TVM's
numbers differ.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2,), "float32"), C: T.Buffer((2,), "float32")):
    T.func_attr({"tirx.noalias": True})
    B = T.sblock_alloc_buffer((2,))
    for i in range(2):
        with T.sblock("B"):
            vi = T.axis.spatial(2, i)
            T.reads(A[vi])
            T.writes(B[vi])
            B[vi] = A[vi] + T.float32(1)
    for i in range(2):
        with T.sblock("C"):
            vi = T.axis.spatial(2, i)
            T.reads(B[vi])
            T.writes(C[vi])
            C[vi] = B[vi] + T.float32(1)
"""


def steps(sch: Any) -> None:
    sch.compute_at(sch.get_sblock("B"), sch.get_loops(sch.get_sblock("C"))[0])
    sch.vectorize(sch.get_loops(sch.get_sblock("C"))[0])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
