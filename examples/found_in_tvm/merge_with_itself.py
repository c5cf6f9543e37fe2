"""merge of a loop with itself, or of loops under each other, ends the process.

    python examples/found_in_tvm/merge_with_itself.py

The two chains of loops up to their common parent are empty, and their elements are read all the same. A schedule
error was due. (Other crashes of this kind are known, such as https://github.com/apache/tvm/issues/18424.)
"""

from __future__ import annotations

import subprocess
import sys

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


def crash() -> int:
    """The exit status of a process that merges a loop with itself; negative: the signal that ended it."""
    text = f"""
import tvm
sch = tvm.s_tir.Schedule(tvm.script.from_source({PROGRAM!r}))
loop, = sch.get_loops(sch.get_sblock("C"))
sch.merge(loop, loop)
"""
    return subprocess.run([sys.executable, "-c", text], capture_output=True, check=False).returncode


if __name__ == "__main__":
    print(PROGRAM, f"sch.merge(loop, loop): exit status {crash()}", __doc__, sep="\n")
