"""Static proofs of programs with thread axes and matched regions: what is proved, refuted, and left open."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("islpy", reason="static proofs need islpy: pip install mlcref[prove]")

from mlcref.errors import OracleError
from mlcref.interp import findings
from mlcref.ir import PrimFunc
from mlcref.script import from_source
from mlcref.verify import check_equivalent
from mlcref.verify.prove import prove, prove_equivalent

EIGHT = "A: T.Buffer((8,), 'float32'), B: T.Buffer((8,), 'float32')"
SQUARE = "A: T.Buffer((4, 4), 'float32'), B: T.Buffer((4, 4), 'float32')"


def function(body: str, params: str = EIGHT, options: str = "") -> PrimFunc:
    lines = "\n".join("    " + line for line in body.strip("\n").splitlines())
    made: PrimFunc = from_source(f"@T.prim_func{options}\ndef f({params}):\n{lines}\n")
    return made


def stopped(func: PrimFunc) -> set[str]:
    """The rule that a run breaks, and the findings."""
    arrays = [np.ones([int(e) for e in buffer.shape], buffer.dtype) for buffer in func.buffers]
    try:
        return {report.rule or "" for report in findings(func, *arrays)}
    except OracleError as error:
        return {error.rule or ""}


SHARED = """
S = T.alloc_buffer((4,), "float32", scope="shared")
for b in T.thread_binding(2, thread="blockIdx.x"):
    for t in T.thread_binding(4, thread="threadIdx.x"):
        S[t] = A[b * 4 + t]
        B[b * 4 + t] = S[{read}]
"""
COPY = """
for b in T.thread_binding({blocks}, thread="{outer}"):
    for t in T.thread_binding(4, thread="{inner}"):
        B[{index}] = A[b * 4 + t]
"""
AXES = {"blocks": 2, "outer": "blockIdx.x", "inner": "threadIdx.x"}
PHASES = """
S = T.alloc_buffer((8,), "float32", scope="shared")
t = T.launch_thread("threadIdx.x", 8)
S[t] = A[t]
{between}
B[t] = S[7 - t]
{end}
"""
SYNC = 'T.tvm_storage_sync("shared")'
EXPLICIT = "(s_tir=False)"
AGAIN = """
for t in T.thread_binding(8, thread="threadIdx.x"):
    for u in T.thread_binding({extent}, thread="threadIdx.x"):
        B[u] = A[t]
"""
LOCAL = """
L = T.alloc_buffer((1,), "float32", scope="local")
for b in T.thread_binding(1, thread="blockIdx.x"):
    for t in T.thread_binding({count}, thread="threadIdx.x"):
        L[0] = A[t]
    for t in T.thread_binding(8, thread="threadIdx.x"):
        B[t] = L[0]
"""
TOTAL = """
for k in T.thread_binding(8, thread="threadIdx.x"):
    with T.block("B"):
        vk = T.axis.reduce(8, k)
        with T.init():
            B[0] = T.float32(0)
        B[0] = B[0] + A[vk]
"""
VTHREAD = "for v in T.thread_binding(7, thread='vthread.x'):\n    B[v + 1] = B[v]"
ROWS = """
for i in T.{kind}(4):
    with T.block("row"):
        vi = T.axis.spatial(4, i)
        T.reads(A[vi, 0:4])
        T.writes(B[{row}, 0:4])
        S = T.match_buffer(A[vi, 0:4], (4,), "float32")
        R = T.match_buffer(B[{row}, 0:4], ({extent},), "float32", strides=[{stride}], offset_factor=1)
        for j in range(4):
            R[{column}] = S[j]
"""
RIGHT = {"kind": "parallel", "row": "vi", "extent": 4, "stride": 1, "column": "j"}

CASES: list[tuple[str, PrimFunc, str]] = [
    ("thread.race", function(COPY.format(index="b * 4 + t", **AXES)), "PROVED"),
    ("thread.race", function(COPY.format(index="t", **AXES)), "UNKNOWN"),  # two blocks write, perhaps the same bits
    ("thread.race", function(COPY.format(index="t", **AXES).replace("A[b * 4 + t]", "A[t]")), "PROVED"),
    ("thread.race", function(COPY.format(index="b * 4 + t", **AXES).replace("A[b", "B[4 - b")), "REFUTED"),
    ("thread.race", function(SHARED.format(read="3 - t")), "PROVED"),
    ("thread.race", function(SHARED.format(read="3 - t").replace("S[t] =", "S[0] =")), "UNKNOWN"),
    ("thread.race", function(PHASES.format(between=SYNC, end=""), options=EXPLICIT), "PROVED"),
    ("thread.race", function(PHASES.format(between="", end=SYNC), options=EXPLICIT), "REFUTED"),
    ("thread.sync", function(PHASES.format(between=SYNC, end=""), options=EXPLICIT), "PROVED"),
    ("thread.sync", function(PHASES.format(between=f"if t < 4:\n    {SYNC}", end=""), options=EXPLICIT), "UNKNOWN"),
    ("thread.extent", function(AGAIN.format(extent=8)), "PROVED"),
    ("thread.extent", function(AGAIN.format(extent=4)), "REFUTED"),
    ("memory.output", function(LOCAL.format(count=8)), "PROVED"),
    ("thread.race", function(LOCAL.format(count=8)), "PROVED"),
    ("memory.output", function(LOCAL.format(count=4)), "REFUTED"),
    ("thread.race", function(TOTAL), "PROVED"),
    ("block.init", function(TOTAL), "PROVED"),
    ("thread.race", function(VTHREAD), "PROVED"),
    ("memory.alias", function(ROWS.format(**RIGHT), SQUARE), "PROVED"),
    ("memory.alias", function(ROWS.format(**{**RIGHT, "extent": 3}), SQUARE), "REFUTED"),
    ("memory.alias", function(ROWS.format(**{**RIGHT, "stride": 2}), SQUARE), "REFUTED"),
    ("memory.bounds", function(ROWS.format(**RIGHT), SQUARE), "PROVED"),
    ("memory.bounds", function(ROWS.format(**{**RIGHT, "column": "j + 1"}), SQUARE), "REFUTED"),
    ("memory.bounds", function(ROWS.format(**{**RIGHT, "row": "vi + 1", "kind": "serial"}), SQUARE), "REFUTED"),
    ("loop.race", function(ROWS.format(**RIGHT), SQUARE), "PROVED"),
    ("loop.race", function(ROWS.format(**{**RIGHT, "row": "vi // 2"}), SQUARE), "REFUTED"),
    ("block.regions", function(ROWS.format(**RIGHT), SQUARE), "PROVED"),
    ("block.coverage", function(ROWS.format(**{**RIGHT, "column": "0"}), SQUARE), "REFUTED"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)))
def test_rules(case: int) -> None:
    rule, func, expected = CASES[case]
    found = prove(func, [rule])[rule]
    assert found.status == expected, str(found)
    if expected == "REFUTED":
        assert rule in stopped(func)
    if expected == "PROVED":
        assert rule not in stopped(func)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("for t in T.thread_binding(8, thread='threadIdx.x'):\n    for i in T.parallel(1):\n        A[t] = A[t]\n"
         "        B[t] = A[t]", "a parallel loop around a barrier of threads"),
        ("for t in T.thread_binding(8, thread='threadIdx.x'):\n    if t < 4:\n        A[t] = A[t]\n"
         "        B[t] = A[t + 4]", "whether the threads part ways around a barrier is not known"),
    ],
)  # fmt: skip
def test_what_is_left_open_says_why(body: str, reason: str) -> None:
    found = prove(function(body), ["block.init"])["block.init"]
    assert found.status == "UNKNOWN" and reason in found.detail


def test_a_phase_that_may_be_one_is_proved_where_threads_do_not_conflict() -> None:
    guarded = "for t in T.thread_binding(8, thread='threadIdx.x'):\n    if t < {end}:\n        {one}\n        {two}"
    apart = function(guarded.format(end=4, one="A[t] = A[t + 4]", two="B[t] = A[t]"))
    assert all(prove(apart, ["thread.race", "memory.output", "value.undefined"]).values())
    crossed = function(guarded.format(end=4, one="A[t] = A[t + 4]", two="B[t] = A[3 - t]"))
    assert {proof.status for proof in prove(crossed, ["thread.race", "memory.output"]).values()} == {"UNKNOWN"}
    assert stopped(crossed) == {"thread.race"}


def test_a_refuted_race_names_both_threads() -> None:
    found = prove(function("for t in T.thread_binding(8, thread='threadIdx.x'):\n    B[t] = B[7 - t]"), ["thread.race"])
    race = found["thread.race"]
    assert race.status == "REFUTED" and race.instance["t"] + race.other["t"] == 7


def matmul(n: int, body: str) -> PrimFunc:
    return function(body, ", ".join(f"{x}: T.Buffer(({n}, {n}), 'float32')" for x in "ABC"))


PLAIN = """
for i, j, k in T.grid({n}, {n}, {n}):
    with T.block("C"):
        vi, vj, vk = T.axis.remap("SSR", [i, j, k])
        with T.init():
            C[vi, vj] = T.float32(0)
        C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
"""
TILED = """
SA = T.alloc_buffer(({t}, {t}), "float32", scope="shared")
SB = T.alloc_buffer(({t}, {t}), "float32", scope="shared")
L = T.alloc_buffer((1,), "float32", scope="local")
for bi in T.thread_binding({b}, thread="blockIdx.y"):
    for bj in T.thread_binding({b}, thread="blockIdx.x"):
        for i in T.thread_binding({t}, thread="threadIdx.y"):
            for j in T.thread_binding({t}, thread="threadIdx.x"):
                L[0] = T.float32(0)
                for k in range({b}):
                    SA[i, j] = A[bi * {t} + i, k * {t} + j]
                    SB[i, j] = B[k * {t} + i, bj * {t} + j]
                    for r in range({t}):
                        L[0] = L[0] + SA[i, r] * SB[{row}, j]
                C[bi * {t} + i, bj * {t} + j] = L[0]
"""


def test_a_tiled_kernel_of_a_million_threads_is_equivalent() -> None:
    plain = matmul(1024, PLAIN.format(n=1024))
    tiled = matmul(1024, TILED.format(t=16, b=64, row="r"))
    assert prove_equivalent(plain, tiled, poison=("C",)).status == "PROVED"
    wrong = matmul(1024, TILED.format(t=16, b=64, row="15 - r"))
    assert prove_equivalent(plain, wrong, poison=("C",)).status == "UNKNOWN"
    small = matmul(4, PLAIN.format(n=4))
    assert check_equivalent(small, matmul(4, TILED.format(t=2, b=2, row="1 - r"))).status == "REFUTED"
    assert check_equivalent(small, matmul(4, TILED.format(t=2, b=2, row="r")), prove=True).status == "PROVED"


def test_matched_regions_are_equivalent_to_what_they_name() -> None:
    plain = function("for i, j in T.grid(4, 4):\n    B[i, j] = A[i, j]", SQUARE)
    assert prove_equivalent(plain, function(ROWS.format(**RIGHT), SQUARE), poison=("B",)).status == "PROVED"
    swapped = function(ROWS.format(**{**RIGHT, "row": "3 - vi"}), SQUARE)
    assert prove_equivalent(plain, swapped, poison=("B",)).status == "UNKNOWN"


def test_regions_of_regions() -> None:
    body = """
for i in range(4):
    with T.block("row"):
        vi = T.axis.spatial(4, i)
        T.reads(A[vi, 0:4])
        T.writes(B[vi, 0:4])
        R = T.match_buffer(B[vi, 0:4], (4,), "float32", offset_factor=1)
        for j in range(2):
            with T.block("half"):
                vj = T.axis.spatial(2, j)
                T.reads(A[vi, vj * 2:vj * 2 + 2])
                T.writes(R[vj * 2:vj * 2 + 2])
                H = T.match_buffer(R[vj * 2:vj * 2 + 2], (2,), "float32", offset_factor=1)
                for k in range(2):
                    H[{index}] = A[vi, vj * 2 + k]
"""
    right = function(body.format(index="k"), SQUARE)
    assert all(prove(right, ["memory.bounds", "memory.alias", "block.regions", "block.spatial"]).values())
    plain = function("for i, j in T.grid(4, 4):\n    B[i, j] = A[i, j]", SQUARE)
    assert prove_equivalent(plain, right, poison=("B",)).status == "PROVED"
    far = function(body.format(index="k + 1"), SQUARE)
    assert prove(far, ["memory.bounds"])["memory.bounds"].status == "REFUTED"
    assert stopped(far) == {"memory.bounds"}


def test_equalities_that_isl_does_not_see_lose_no_load() -> None:
    """isl's dataflow analysis lost the elements that nothing writes, where stores had hidden equalities."""
    func = function("""
for b in range(2):
    for t in range(4):
        B[0] = T.float32(1)
        B[t * 2 % 8] = T.float32(1)
for b in range(2):
    for t, r in T.grid(4, 2):
        B[r % 8] = T.float32(1)
""")
    assert prove(func, ["block.coverage"])["block.coverage"].status == "REFUTED"
