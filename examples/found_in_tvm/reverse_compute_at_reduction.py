"""reverse_compute_at repeats a reduction that it moves under a reduction loop.

    python examples/found_in_tvm/reverse_compute_at_reduction.py

C goes under the reduce loop ``k`` of its producer B. It runs once per ``k``, before B is complete, and as its own
init runs only at ``vj == 0``, the sums of every later ``j`` are added once per ``k``: partial sums are added to the
result.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2, 3, 2), "float32"), C: T.Buffer((2,), "float32")):
    T.func_attr({"tirx.noalias": True})
    B = T.sblock_alloc_buffer((2, 3))
    for i, j, k in T.grid(2, 3, 2):
        with T.sblock("B"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            T.reads(A[vi, vj, vk])
            T.writes(B[vi, vj])
            with T.init():
                B[vi, vj] = T.float32(0)
            B[vi, vj] = B[vi, vj] + A[vi, vj, vk]
    for i, j in T.grid(2, 3):
        with T.sblock("C"):
            vi, vj = T.axis.remap("SR", [i, j])
            T.reads(B[vi, vj])
            T.writes(C[vi])
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + B[vi, vj]
"""


def steps(sch: Any) -> None:
    sch.reverse_compute_at(sch.get_sblock("C"), sch.get_loops(sch.get_sblock("B"))[2])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
