"""cache_read of a blockized stencil copies what the program never reads.

    python examples/found_in_tvm/cache_read_guarded.py

The read of ``A[vi - 1, vj]`` is guarded by ``T.if_then_else``. The region of the outer block is the whole range all
the same, from row -1 on, and the copy that cache_read makes reads every element of it without a guard.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((3, 2), "float32"), C: T.Buffer((3, 2), "float32")):
    T.func_attr({"tirx.noalias": True})
    for i, j in T.grid(3, 2):
        with T.sblock("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(A[vi - 1:vi + 1, vj])
            T.writes(C[vi, vj])
            C[vi, vj] = A[vi, vj] + T.if_then_else(vi > 0, A[vi - 1, vj], T.float32(0))
"""


def steps(sch: Any) -> None:
    sch.blockize(sch.get_loops(sch.get_sblock("C"))[0])
    sch.cache_read(sch.get_sblock("C"), 0, "global")


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
