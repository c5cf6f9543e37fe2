"""Generated Cython as a reader sees it. ``python tests/golden/test_generated_code.py`` writes the texts anew."""

from pathlib import Path

import pytest

from mlcref.ir import PrimFunc, Target
from mlcref.runtime.cython_backend import generate
from mlcref.script import from_source

HERE = Path(__file__).parent
HEAD = "from mlcref.script import tir as T\n@T.prim_func\n"

PROGRAMS = {
    "vector_add": """
def vector_add(a: T.handle, b: T.handle, c: T.handle):
    n = T.int64()
    A = T.match_buffer(a, (n,), "float32")
    B = T.match_buffer(b, (n,), "float32")
    C = T.match_buffer(c, (n,), "float32")
    for i in range(n):
        with T.block("C"):
            vi = T.axis.spatial(n, i)
            C[vi] = A[vi] + B[vi]
""",
    "matmul": """
def matmul(A: T.Buffer((64, 64), "float32"), B: T.Buffer((64, 64), "float32"), C: T.Buffer((64, 64), "float32")):
    T.func_attr({"tir.noalias": True})
    for i_0 in T.parallel(32):
        for j_0, k in T.grid(2, 64):
            for i_1 in T.unroll(2):
                for j_1 in T.vectorized(32):
                    with T.block("C"):
                        vi = T.axis.spatial(64, i_0 * 2 + i_1)
                        vj = T.axis.spatial(64, j_0 * 32 + j_1)
                        vk = T.axis.reduce(64, k)
                        with T.init():
                            C[vi, vj] = T.float32(0)
                        C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
""",
    "row_normalise": """
def row_normalise(A: T.Buffer((16, 5000), "float32"), C: T.Buffer((16, 5000), "float32")):
    T.func_attr({"tir.noalias": True})
    for i in T.parallel(16):
        with T.block("row"):
            vi = T.axis.spatial(16, i)
            E = T.alloc_buffer((5000,), "float32")
            S = T.alloc_buffer((1,), "float32")
            for j in range(5000):
                with T.block("E"):
                    vj = T.axis.spatial(5000, j)
                    E[vj] = T.exp(A[vi, vj])
            for j in range(5000):
                with T.block("S"):
                    vj = T.axis.reduce(5000, j)
                    with T.init():
                        S[0] = T.float32(0)
                    S[0] = S[0] + E[vj]
            for j in range(5000):
                with T.block("C"):
                    vj = T.axis.spatial(5000, j)
                    C[vi, vj] = E[vj] / S[0]
""",
}


def text_of(name: str) -> str:
    func = from_source(HEAD + PROGRAMS[name])
    assert isinstance(func, PrimFunc)
    lines = generate({name: func}, Target("cython --num-cores=2")).text.splitlines()
    return (
        "\n".join(line for line in lines if not line.startswith("#")) + "\n"
    )  # without the script, which the printer owns


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_text_is_the_expected_one(name: str) -> None:
    expected = (HERE / f"{name}.pyx").read_text()
    assert text_of(name) == expected, "run `python tests/golden/test_generated_code.py` if the change is meant"


if __name__ == "__main__":
    for program in PROGRAMS:
        (HERE / f"{program}.pyx").write_text(text_of(program))
