"""pad_einsum widens a loop that other blocks share.

    python examples/found_in_tvm/pad_einsum_shared_loop.py

The padded block stands under a loop that also holds its consumer (compute_at put it there). The extent of the
shared loop is rounded up for both: the consumer runs with ``vi`` out of its domain and writes behind the end of its
buffer.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2, 2), "float32"), C: T.Buffer((2, 2), "float32")):
    T.func_attr({"tirx.noalias": True})
    for i, j in T.grid(2, 2):
        with T.sblock("C"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(A[vi, vj])
            T.writes(C[vi, vj])
            C[vi, vj] = A[vi, vj] + T.float32(1)
"""


def steps(sch: Any) -> None:
    copy = sch.cache_read(sch.get_sblock("C"), 0, "global")
    sch.compute_at(copy, sch.get_loops(sch.get_sblock("C"))[0])
    sch.pad_einsum(copy, [4, 2])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
