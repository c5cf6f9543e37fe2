"""cache_write after two splits that do not divide copies more than the buffer has.

    python examples/found_in_tvm/cache_write_past_the_end.py

The block is guarded by ``T.where``. cache_write finds the region that the block writes from its bindings, and the
guard of two nested splits is too much for the estimate: the copy back covers more elements than the buffer has, and
is not guarded itself. It writes behind the end of the output, which is the caller's memory. With a factor of 2^24
the process dies.
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
            C[vi] = A[vi]
"""


def steps(sch: Any, factor: int = 2) -> None:
    outer, middle, _ = sch.split(sch.get_loops(sch.get_sblock("C"))[0], [2, factor, None])
    sch.split(sch.fuse(outer, middle), [2, 3 * factor // 2, None])
    sch.cache_write(sch.get_sblock("C"), 0, "global")


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "", lambda sch: steps(sch, 1 << 24))
