"""loop_partition of a reduction starts it anew in every part.

    python examples/found_in_tvm/loop_partition_reduction.py

Each part keeps the whole block with its ``T.init``, but over a domain of its own, ``T.axis.reduce((3, 6), k1)``:
the init runs at the first value of every part and forgets the sums of the parts before. The result is the sum of
the last part. The init belongs to the first part alone.
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
    sch.loop_partition(sch.get_loops(sch.get_sblock("C"))[1], [3, None])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
