"""transform_block_layout replaces the loops but not the predicate.

    python examples/found_in_tvm/transform_block_layout_predicate.py

The loops of the block are made anew; the ``T.where`` of the split still names the fused loop that is gone, a
variable without a value.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2,), "float32"), C: T.Buffer((2,), "float32")):
    T.func_attr({"tirx.noalias": True})
    for i in range(2):
        with T.sblock("C"):
            vi = T.axis.spatial(2, i)
            T.reads(A[vi])
            T.writes(C[vi])
            C[vi] = A[vi] + T.float32(1)
"""


def steps(sch: Any) -> None:
    outer, inner = sch.split(sch.get_loops(sch.get_sblock("C"))[0], [None, 5])
    sch.fuse(outer, inner)
    sch.transform_block_layout(sch.get_sblock("C"), lambda i: (i // 2, i % 2))


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
