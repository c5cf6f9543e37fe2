"""pad_einsum pads a maximum with zeros.

    python examples/found_in_tvm/pad_einsum_max.py

Inputs are padded with 0, whatever the reduction is. That is right for sums of products; for a maximum, 0 is larger
than the result wherever all values are negative.
"""

from __future__ import annotations

from typing import Any

from show import show

PROGRAM = """
@T.prim_func(s_tir=True)
def main(A: T.Buffer((2, 2), "float32"), C: T.Buffer((2,), "float32")):
    T.func_attr({"tirx.noalias": True})
    for i, k in T.grid(2, 2):
        with T.sblock("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            T.reads(A[vi, vk])
            T.writes(C[vi])
            with T.init():
                C[vi] = T.float32(-1000)
            C[vi] = T.max(C[vi], A[vi, vk])
"""


def steps(sch: Any) -> None:
    sch.pad_einsum(sch.get_sblock("C"), [1, 4])


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "")
