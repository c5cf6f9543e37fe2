"""Functions whose body is one block without iterators: for TVM it is the root, and TVM reads our print as we do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcref import ir
from mlcref.script import from_source, print_script

tvm = pytest.importorskip(
    "tvm", reason="TVM is not installed; it is what these tests compare with", exc_type=ImportError
)
tvm_ffi = pytest.importorskip("tvm_ffi")


def searchsorted() -> Any:
    """One block that allocates; TVM calls it root when it prints it."""
    rows, keys = tvm.te.placeholder((3,), "float32", "rows"), tvm.te.placeholder((4,), "float32", "keys")
    return tvm.te.create_prim_func([rows, keys, tvm.topi.searchsorted(rows, keys)])


def sort() -> Any:
    """One block that calls a function; the root, in TVM, under its own name."""
    a = tvm.te.placeholder((3, 4), "float32", "a")
    return tvm.te.create_prim_func([a, tvm.topi.sort(a)])


def stated() -> Any:
    """One block that states its regions; the root, in TVM, under its own name."""
    return tvm.script.from_source("""# from tvm.script import tirx as T

@T.prim_func(s_tir=True)
def main(A: T.Buffer((4,), "float32")):
    with T.sblock("only"):
        T.reads(A[0])
        T.writes(A[1])
        C = T.sblock_alloc_buffer((1,), scope="local")
        C[0] = A[0]
        A[1] = C[0]
""")


@pytest.mark.parametrize("make", [searchsorted, sort, stated])
def test_tvm_reads_them_back_as_they_are(make: Callable[[], Any]) -> None:
    theirs = make()
    ours = from_source(theirs.script())
    again = tvm.script.from_source(print_script(ours, dialect="tirx"))
    assert ir.first_difference(ours, from_source(again.script())) is None, again.script()
    if make is not searchsorted:  # its memory stands at the statement that uses it, in TVM
        assert tvm_ffi.structural_equal(theirs, again)
    names = [block.name for block in ir.blocks_in(from_source(again.script()).body)]
    assert names == [block.name for block in ir.blocks_in(ours.body)]
