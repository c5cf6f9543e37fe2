"""reindex of a decomposed init overwrites the reduction.

    python examples/found_in_tvm/reindex_init.py

After decompose_reduction two blocks write C. reindex of one of them, the init, gives it a buffer of its own and
copies that to C in the end, over the sums. cache_write refuses a buffer with two writers; reindex does not look.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2, 6), "float32"), C: T.Buffer((2,), "float32")):
    T.func_attr({"tirx.noalias": True})
    for i, k in T.grid(2, 6):
        with T.sblock("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            T.reads(A[vi, vk])
            T.writes(C[vi])
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + A[vi, vk]
"""


def steps(sch: Any) -> None:
    sch.decompose_reduction(sch.get_sblock("C"), sch.get_loops(sch.get_sblock("C"))[1])
    sch.reindex(sch.get_sblock("C_init"), ("write", 0))


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
