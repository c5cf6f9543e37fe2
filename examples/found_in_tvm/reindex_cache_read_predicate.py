"""reindex_cache_read after a split that does not divide drops the predicate.

    python examples/found_in_tvm/reindex_cache_read_predicate.py

The split guards the block by ``T.where``. The copy that reindex_cache_read makes takes over the loops and bindings
but not the guard: its iterators leave their domains, and it reads behind the end of A and writes behind the end of
the cache. reindex_cache_write does the same. With a factor of 2^24 the damage is visible: wrong numbers, or the end
of the process.
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


def steps(sch: Any, factor: int = 3) -> None:
    sch.split(sch.get_loops(sch.get_sblock("C"))[0], [factor, None])
    sch.reindex_cache_read(sch.get_sblock("C"), 0, "global", lambda i, j: (i, j))


if __name__ == "__main__":
    show(PROGRAM, steps, __doc__ or "", lambda sch: steps(sch, 1 << 24))
