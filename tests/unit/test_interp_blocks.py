"""Blocks in the oracle: predicates, domains, inits and epochs, and what blocks declare about themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref.errors import OracleError
from mlcref.interp import findings, interpret
from mlcref.script import from_source
from mlcref.script import tir as T


def floats(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


def rules(found: list[OracleError]) -> list[str | None]:
    return [finding.rule for finding in found]


def test_where_skips_before_the_domain_check_and_before_bounds() -> None:
    @T.prim_func
    def f(A: T.Buffer((5,), "float32")):
        for i in range(8):
            with T.block("A"):
                T.where(i < 5)
                vi = T.axis.spatial(5, i)
                A[vi] = T.float32(1)

    a = floats(5)
    interpret(f, a)
    assert (a == 1).all()


def test_init_runs_at_the_minimum_of_every_reduce_iterator() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 3), "float32"), B: T.Buffer((1,), "float32"), N: T.Buffer((1,), "int32")):
        for i, j in T.grid(2, 3):
            with T.block("B"):
                v0 = T.axis.reduce((1, 3), i + 1)
                v1 = T.axis.reduce((2, 5), j + 2)
                with T.init():
                    B[0] = T.float32(0)
                    N[0] = N[0] + 1
                B[0] = B[0] + A[v0 - 1, v1 - 2]

    b, n = np.zeros(1, "float32"), np.zeros(1, "int32")
    interpret(f, floats(2, 3), b, n)
    assert (b[0], n[0]) == (15, 1)


def test_init_without_reduce_iterators_runs_in_every_instance() -> None:
    @T.prim_func
    def f(B: T.Buffer((3,), "float32")):
        for i in range(3):
            with T.block("B"):
                vi = T.axis.spatial(3, i)
                with T.init():
                    B[vi] = T.float32(1)
                B[vi] = B[vi] + T.float32(1)

    b = floats(3)
    interpret(f, b, poison=("B",))
    assert (b == 2).all()


def test_a_where_that_cuts_off_the_first_point_leaves_updates_without_init() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((1,), "float32")):
        for k in range(4):
            with T.block("B"):
                vk = T.axis.reduce(4, k)
                T.where(k > 0)
                with T.init():
                    B[0] = T.float32(0)
                B[0] = B[0] + A[vk]

    with pytest.raises(OracleError, match="block B updates before its init"):
        interpret(f, floats(4), floats(1))


def test_epochs_are_kept_per_key_and_per_parent_instance() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 4), "float32"), B: T.Buffer((2,), "float32")):
        for k, i in T.grid(4, 2):
            with T.block("B"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    B[vi] = T.float32(0)
                B[vi] = B[vi] + A[vi, vk]

    b = floats(2)
    interpret(f, floats(2, 4), b)
    assert list(b) == [6, 22]
    assert findings(f, floats(2, 4), b) == []


def test_nested_blocks_reduce_within_their_parent() -> None:
    @T.prim_func
    def f(A: T.Buffer((2, 2), "float32"), B: T.Buffer((2,), "float32")):
        for i in range(2):
            with T.block("outer"):
                vo = T.axis.spatial(2, i)
                for k in range(2):
                    with T.block("inner"):
                        vk = T.axis.reduce(2, k)
                        with T.init():
                            B[vo] = T.float32(0)
                        B[vo] = B[vo] + A[vo, vk]

    b = floats(2)
    interpret(f, floats(2, 2), b)
    assert list(b) == [1, 5]
    assert findings(f, floats(2, 2), b) == []


def test_updates_in_any_order_after_the_init_are_legal() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((1,), "float32")):
        for k in range(4):
            with T.block("B"):
                vk = T.axis.reduce(4, (4 - k) % 4)
                with T.init():
                    B[0] = T.float32(0)
                B[0] = B[0] + A[vk]

    b = floats(1)
    interpret(f, floats(4), b)
    assert b[0] == 6


def test_an_init_in_the_middle_is_a_finding() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((1,), "float32")):
        for r, k in T.grid(2, 4):
            with T.block("B"):
                vk = T.axis.reduce(4, k)
                T.where(r * 4 + k != 3)
                with T.init():
                    B[0] = T.float32(0)
                B[0] = B[0] + A[vk]

    found = findings(f, floats(4), floats(1))
    assert rules(found) == ["block.epoch"]
    assert "3 of 4 updates" in found[0].what


def test_spatial_instances_that_share_an_element_are_a_finding() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((1,), "float32")):
        B[0] = T.float32(0)
        for i in range(4):
            with T.block("B"):
                vi = T.axis.spatial(4, i)
                B[0] = B[0] + A[vi]

    found = findings(f, floats(4), floats(1))
    assert rules(found) == ["block.spatial"]
    assert "the spatial points [0] and [1] conflict on B[0]" in found[0].what


def test_a_spatial_point_that_runs_twice_and_accumulates_is_a_finding() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((2,), "float32"), B: T.Buffer((2,), "float32")):
    for i in range(4):
        with T.block("B"):
            vi = T.axis.spatial(2, i // 2)
            B[vi] = {value} + A[vi]
"""
    honest = from_source(text.format(value="A[vi]"))
    assert findings(honest, floats(2), floats(2)) == []
    found = findings(from_source(text.format(value="B[vi]")), floats(2), floats(2))
    assert rules(found) == ["block.spatial"]
    assert "runs the point [0] again" in found[0].what


@pytest.mark.parametrize(
    ("reads", "writes", "expected"),
    [
        ("A[vi], A[vi + 1]", "B[vi]", []),
        ("A[0:5]", "B[vi]", []),
        ("A[vi]", "B[vi]", ["block.regions"]),
        ("A[vi], A[vi + 1]", "B[0]", ["block.regions"]),
        ("", "B[vi]", ["block.regions"]),
    ],
)
def test_regions(reads: str, writes: str, expected: list[str]) -> None:
    f = from_source(f"""
@T.prim_func
def f(A: T.Buffer((5,), "float32"), B: T.Buffer((4,), "float32")):
    for i in range(4):
        with T.block("B"):
            vi = T.axis.spatial(4, i)
            T.reads({reads})
            T.writes({writes})
            B[vi] = A[vi] + A[vi + 1]
""")
    assert rules(findings(f, floats(5), floats(4))) == expected


def test_regions_of_enclosing_blocks_see_through_matched_buffers_but_not_into_allocations() -> None:
    text = """
@T.prim_func
def f(A: T.Buffer((4, 4), "float32")):
    for i in range(4):
        with T.block("outer"):
            vo = T.axis.spatial(4, i)
            T.reads()
            T.writes({writes})
            R = T.match_buffer(A[vo, 0:4], (4,), "float32")
            C = T.alloc_buffer((1,), "float32")
            C[0] = T.float32(2)
            for j in range(4):
                with T.block("inner"):
                    vj = T.axis.spatial(4, j)
                    T.reads(C[0])
                    T.writes(R[vj])
                    R[vj] = C[0]
"""
    assert findings(from_source(text.format(writes="A[vo, 0:4]")), floats(4, 4)) == []
    found = findings(from_source(text.format(writes="A[vo, 0:3]")), floats(4, 4))
    assert rules(found) == ["block.regions"]
    assert "block outer writes A[0, 3]" in found[0].what


def test_a_finding_comes_once_and_can_be_an_error() -> None:
    @T.prim_func
    def f(A: T.Buffer((8,), "float32")):
        for i in range(8):
            with T.block("A"):
                vi = T.axis.spatial(8, i)
                T.reads()
                T.writes(A[0])
                A[vi] = T.float32(1)

    a = floats(8)
    assert rules(findings(f, a)) == ["block.regions"]
    with pytest.raises(OracleError, match=r"block A writes A\[1\], which its T.writes does not cover"):
        interpret(f, a, checks="signature")
    assert (a == floats(8)).all()


def test_opaque_iterators_are_ordered_not_spatial() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32")):
        for i in range(3):
            with T.block("A"):
                vi = T.axis.opaque(3, i)
                A[vi + 1] = A[vi + 1] + A[vi]

    a = floats(4)
    assert findings(f, a) == []
    interpret(f, a)
    assert list(a) == [0, 1, 3, 6]


def test_domains_may_depend_on_outer_iterators() -> None:
    @T.prim_func
    def f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
        for i in range(4):
            with T.block("outer"):
                vo = T.axis.spatial(4, i)
                for k in range(vo + 1):
                    with T.block("inner"):
                        vk = T.axis.reduce(vo + 1, k)
                        with T.init():
                            B[vo] = T.float32(0)
                        B[vo] = B[vo] + A[vk]

    b = floats(4)
    interpret(f, floats(4), b)
    assert list(b) == [0, 1, 3, 6]
