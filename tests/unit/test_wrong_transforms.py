"""Wrong transforms that were seen in other compilers: the oracle refutes each, and its report says what went wrong.

Each pair is a program and what a wrong primitive made of it, both written by hand.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from mlcref.script import from_source
from mlcref.verify import Verdict, check_equivalent, replay, verify


class Wrong(NamedTuple):
    """A pair of programs. ``rule`` is the rule that the second breaks ("" when only its results are wrong), ``says`` a
    part of the report."""

    before: str
    after: str
    rule: str
    says: str


def program(params: str, body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    return f"@T.prim_func\ndef main({params}):\n{lines}\n"


SCALE_SHIFT = 'A: T.Buffer((8,), "float32"), C: T.Buffer((8,), "float32")'
REVERSE_COMPUTE_AT = Wrong(
    program(
        SCALE_SHIFT,
        """
B = T.alloc_buffer((8,), "float32")
for i in range(8):
    with T.block("B"):
        vi = T.axis.spatial(8, i)
        B[vi] = A[vi] * T.float32(2)
for i in range(8):
    with T.block("C"):
        vi = T.axis.spatial(8, i)
        C[vi] = B[vi] + T.float32(1)
""",
    ),
    program(
        SCALE_SHIFT,
        """
B = T.alloc_buffer((8,), "float32")
for i in range(8):
    with T.block("C"):
        vi = T.axis.spatial(8, i)
        C[vi] = B[vi] + T.float32(1)
    with T.block("B"):
        vi = T.axis.spatial(8, i)
        B[vi] = A[vi] * T.float32(2)
""",
    ),
    "",
    "C[0]: expected 1.0, got 'undefined'",
)

CACHED = 'A: T.Buffer((10,), "float32"), C: T.Buffer((10,), "float32")'
DROPPED_PREDICATE = Wrong(
    program(
        CACHED,
        """
for i0, i1 in T.grid(3, 4):
    with T.block("C"):
        vi = T.axis.spatial(10, i0 * 4 + i1)
        T.where(i0 * 4 + i1 < 10)
        C[vi] = A[vi] * A[vi]
""",
    ),
    program(  # every element of C is right; only the cache is written past its end
        CACHED,
        """
W = T.alloc_buffer((10,), "float32")
for i0 in range(3):
    for i1 in range(4):
        with T.block("W"):
            vi = T.axis.spatial(12, i0 * 4 + i1)
            W[vi] = T.if_then_else(vi < 10, A[T.min(vi, 9)] * A[T.min(vi, 9)], T.float32(0))
    for i1 in range(4):
        with T.block("C"):
            vi = T.axis.spatial(10, i0 * 4 + i1)
            T.where(i0 * 4 + i1 < 10)
            C[vi] = W[vi]
""",
    ),
    "memory.bounds",
    "W[10] is out of bounds: index 10 of dimension 0, whose extent is 10,",
)

ROWS = 'A: T.Buffer((5, 6), "float32"), C: T.Buffer((5,), "float32")'
ROW_SUM = program(
    ROWS,
    """
for i0, i1, k in T.grid(3, 2, 6):
    with T.block("C"):
        vi = T.axis.spatial(5, i0 * 2 + i1)
        vk = T.axis.reduce(6, k)
        T.where(i0 * 2 + i1 < 5)
        with T.init():
            C[vi] = T.float32(0)
        C[vi] = C[vi] + A[vi, vk]
""",
)
RFACTORED = """
R = T.alloc_buffer((5, 2), "float32")
for i0, i1, k0, k1 in T.grid(3, 2, 3, 2):
    with T.block("R"):
        vk1 = T.axis.spatial(2, k1)
        vi = T.axis.spatial(5, i0 * 2 + i1)
        vk0 = T.axis.reduce(3, k0)
        T.where(i0 * 2 + i1 < 5)
        {reads}
        with T.init():
            R[vi, vk1] = T.float32(0)
        R[vi, vk1] = R[vi, vk1] + A[vi, vk0 * 2 + vk1]
for i0, i1, k1 in T.grid(3, 2, 2):
    with T.block("C"):
        vi = T.axis.spatial(5, i0 * 2 + i1)
        vk1 = T.axis.reduce(2, k1)
        {where}
        with T.init():
            C[vi] = T.float32(0)
        C[vi] = C[vi] + R[vi, vk1]
"""
GUARD = "T.where(i0 * 2 + i1 < 5)"
UNGUARDED_WRITE_BACK = Wrong(
    ROW_SUM,
    program(ROWS, RFACTORED.format(reads="pass", where="pass")),
    "block.domain",
    "block C: vi=5 is outside of its domain [0, 5)",
)
STALE_REGIONS = Wrong(  # the block still says that it reads the element of the block it was made from
    ROW_SUM,
    program(
        ROWS, RFACTORED.format(reads="T.reads(A[vi, vk0])\n        T.writes(R[vi, vk1])", where=GUARD)
    ),
    "block.regions",
    "block R reads A[0, 1], which its T.reads does not cover",
)

PAIR = 'A: T.Buffer((2,), "float32"), C: T.Buffer((1,), "float32")'
UNINITIALISED_SLOT = Wrong(
    program(
        PAIR,
        """
for k in range(2):
    with T.block("C"):
        vk = T.axis.reduce(2, k)
        with T.init():
            C[0] = T.float32(0)
        C[0] = C[0] + A[vk]
""",
    ),
    program(  # split(k, [None, 3]) of two elements, then rfactor: the third slot of R gets no init
        PAIR,
        """
R = T.alloc_buffer((3,), "float32")
for k0, k1 in T.grid(1, 3):
    with T.block("R"):
        vk1 = T.axis.spatial(3, k1)
        vk0 = T.axis.reduce(1, k0)
        T.where(k0 * 3 + k1 < 2)
        with T.init():
            R[vk1] = T.float32(0)
        R[vk1] = R[vk1] + A[vk0 * 3 + vk1]
for k1 in range(3):
    with T.block("C"):
        vk1 = T.axis.reduce(3, k1)
        with T.init():
            C[0] = T.float32(0)
        C[0] = C[0] + R[vk1]
""",
    ),
    "",
    "C[0]: expected 0.0, got 'undefined'",
)

GRID = 'A: T.Buffer((4, 4), "float32")'
FUSED_PARALLEL = Wrong(
    program(
        GRID,
        """
for i in T.parallel(4):
    for j in range(3):
        A[i, j + 1] = A[i, j + 1] + A[i, j]
""",
    ),
    program(
        GRID,
        """
for ij in T.parallel(12):
    A[ij // 3, ij % 3 + 1] = A[ij // 3, ij % 3 + 1] + A[ij // 3, ij % 3]
""",
    ),
    "loop.race",
    "ij=0",
)

MAXIMUM = """
for i, k in T.grid(5, 6):
    with T.block("C"):
        vi, vk = T.axis.remap("SR", [i, k])
        with T.init():
            C[vi] = {identity}
        C[vi] = T.max(C[vi], A[vi, vk])
"""
MAX_IDENTITY = Wrong(
    program(ROWS, MAXIMUM.format(identity='T.min_value("float32")')),
    program(ROWS, MAXIMUM.format(identity="T.float32(0)")),
    "",
    "expected -1.0, got 0.0",
)

STENCIL = 'A: T.Buffer((10,), "float32"), C: T.Buffer((8,), "float32")'
SHORT_HALO = Wrong(
    program(
        STENCIL,
        """
B = T.alloc_buffer((10,), "float32")
for i in range(10):
    with T.block("B"):
        vi = T.axis.spatial(10, i)
        B[vi] = A[vi] * T.float32(2)
for i in range(8):
    with T.block("C"):
        vi = T.axis.spatial(8, i)
        C[vi] = B[vi] + B[vi + 1] + B[vi + 2]
""",
    ),
    program(
        STENCIL,
        """
B = T.alloc_buffer((10,), "float32")
for i0 in range(2):
    for i1 in range(5):
        with T.block("B"):
            vi = T.axis.spatial(10, i0 * 4 + i1)
            B[vi] = A[vi] * T.float32(2)
    for i1 in range(4):
        with T.block("C"):
            vi = T.axis.spatial(8, i0 * 4 + i1)
            C[vi] = B[vi] + B[vi + 1] + B[vi + 2]
""",
    ),
    "",
    "C[3]: expected 0.0, got 'undefined'",
)

COLUMNS = 'A: T.Buffer((4, 6), "float32"), C: T.Buffer((6,), "float32")'
COLUMN_SUM = """
for i in {loop}(4):
    for j in range(6):
        with T.block("C"):
            vj = T.axis.spatial(6, j)
            vi = T.axis.reduce(4, i)
            with T.init():
                C[vj] = T.float32(0)
            C[vj] = C[vj] + A[vi, vj]
"""
RACE_IN_SERIAL_LOOP = Wrong(
    program(COLUMNS, COLUMN_SUM.format(loop="T.serial")),
    program(COLUMNS, COLUMN_SUM.format(loop="T.parallel")),
    "loop.race",
    "C[0]",
)

SUMS = """
for i in range(5):
    for k in {loop}(6):
        with T.block("C"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                C[vi] = T.float32(0)
            C[vi] = C[vi] + A[vi, vk]
"""
VECTORIZED_REDUCTION = Wrong(
    program(ROWS, SUMS.format(loop="T.serial")),
    program(ROWS, SUMS.format(loop="T.vectorized")),
    "loop.race",
    "k=0",
)

WRONG = {
    "reverse_compute_at moves a producer behind its consumer": REVERSE_COMPUTE_AT,
    "cache_write and reverse_compute_at drop the predicate": DROPPED_PREDICATE,
    "rfactor leaves the write-back unguarded": UNGUARDED_WRITE_BACK,
    "rfactor leaves a slot without init": UNINITIALISED_SLOT,
    "fuse of a parallel with a serial loop": FUSED_PARALLEL,
    "max starts from 0": MAX_IDENTITY,
    "the halo is one too small": SHORT_HALO,
    "the race check does not look into serial loops": RACE_IN_SERIAL_LOOP,
    "a reduction is vectorized": VECTORIZED_REDUCTION,
}


def refuted(wrong: Wrong) -> Verdict:
    return check_equivalent(from_source(wrong.before), from_source(wrong.after))


@pytest.mark.parametrize("name", WRONG)
def test_it_is_refuted_with_a_report(name: str) -> None:
    wrong = WRONG[name]
    verdict = refuted(wrong)
    assert verdict.status == "REFUTED"
    assert wrong.says in str(verdict)
    example: Any = verdict.counterexample
    assert (example.report.rule if example.report else "") == wrong.rule
    assert example.replay in str(verdict)


@pytest.mark.parametrize("name", WRONG)
def test_its_report_replays_from_json(name: str) -> None:
    verdict = refuted(WRONG[name])
    again = replay(verdict.as_json())
    assert again.status == "REFUTED"
    assert str(again.counterexample).splitlines()[0] == str(verdict.counterexample).splitlines()[0]


@pytest.mark.parametrize("name", [*WRONG, "stale regions"])
def test_the_program_before_is_in_order(name: str) -> None:
    wrong = WRONG.get(name, STALE_REGIONS)
    func = from_source(wrong.before)
    assert verify(func)
    assert check_equivalent(func, func)


def test_stale_regions_after_rfactor_are_a_finding() -> None:
    before, after = from_source(STALE_REGIONS.before), from_source(STALE_REGIONS.after)
    assert check_equivalent(before, after), "it computes the right thing"
    verdict = verify(after, rules=["block.regions"])
    assert verdict.status == "REFUTED"
    assert [(finding.rule, finding.severity) for finding in verdict.findings] == [("block.regions", "signature")]
    assert STALE_REGIONS.says in str(verdict)


def test_the_right_rfactor_is_accepted() -> None:
    right = from_source(program(ROWS, RFACTORED.format(reads="pass", where=GUARD)))
    verdict = check_equivalent(from_source(ROW_SUM), right)
    assert verdict.status == "TESTED"
    assert verdict.p_miss is not None
    assert verdict.p_miss < 1e-16
    assert verify(right)


def test_a_dropped_predicate_is_seen_by_memory_checks_only() -> None:
    """Without the stores past the end the results are those of the program before."""
    inside = DROPPED_PREDICATE.after.replace('W = T.alloc_buffer((10,)', 'W = T.alloc_buffer((12,)')
    assert check_equivalent(from_source(DROPPED_PREDICATE.before), from_source(inside))
