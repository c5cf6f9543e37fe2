"""cache_write inside of a blockized reduction separates the init from the updates.

    python examples/found_in_tvm/blockize_cache_write.py

blockize hoists the init to the outer block. cache_write of the inner block gives the updates a cache of their own,
while the init still writes C: the sums start from memory that nobody wrote.
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
    sch.blockize(sch.get_loops(sch.get_sblock("C"))[2])
    sch.cache_write(sch.get_sblock("C"), 0, "global")


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
