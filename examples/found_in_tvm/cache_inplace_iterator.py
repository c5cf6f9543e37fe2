"""cache_inplace uses an iterator outside of its block.

    python examples/found_in_tvm/cache_inplace_iterator.py

The copies around the block are bound to ``vi + ax0``, where ``vi`` is the iterator of the block between them:
outside of it, ``vi`` has no value.
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
    sch.cache_inplace(sch.get_sblock("C_update"), 0, "global")


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
