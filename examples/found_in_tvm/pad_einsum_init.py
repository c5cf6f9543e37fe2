"""pad_einsum of a decomposed init separates it from the updates.

    python examples/found_in_tvm/pad_einsum_init.py

After decompose_reduction two blocks write B. pad_einsum of one of them, the init, gives it a padded buffer of its
own and copies that to B behind the whole nest, over the sums (compare reindex_init.py).
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2, 2), "float32"), C: T.Buffer((2,), "float32")):
    T.func_attr({"tirx.noalias": True})
    B = T.sblock_alloc_buffer((2,))
    for i, k in T.grid(2, 2):
        with T.sblock("B"):
            vi, vk = T.axis.remap("SR", [i, k])
            T.reads(A[vi, vk])
            T.writes(B[vi])
            with T.init():
                B[vi] = T.float32(0)
            B[vi] = B[vi] + A[vi, vk]
    for i in range(2):
        with T.sblock("C"):
            vi = T.axis.spatial(2, i)
            T.reads(B[vi])
            T.writes(C[vi])
            C[vi] = B[vi]
"""


def steps(sch: Any) -> None:
    sch.decompose_reduction(sch.get_sblock("B"), sch.get_loops(sch.get_sblock("B"))[1])
    sch.pad_einsum(sch.get_sblock("B_init"), [4])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
