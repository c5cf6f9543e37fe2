"""What passes promise beside meaning: the harness sees where one is broken."""

from __future__ import annotations

from mlcref.ir import PrimFunc
from mlcref.lower.pointers import declare_pointed
from mlcref.script import from_source
from mlcref.testing.promises import broken_by_pass

POINTER = """
@T.prim_func(s_tir=False)
def main(A: T.Buffer((4,), "float32")):
    for i in LOOP:
        T.call_extern("int32", "f", T.address_of(A[i]))
"""


def program(loop: str) -> PrimFunc:
    func = from_source(POINTER.replace("LOOP", loop))
    assert isinstance(func, PrimFunc)
    return func


def test_a_pointer_speaks_of_a_second_name() -> None:
    func = program("range(4)")
    assert broken_by_pass("declare_pointed", func) == "a pointer goes to A, not to a second name of it"
    assert broken_by_pass("declare_pointed", declare_pointed(func)) is None


def test_threads_have_no_pointers() -> None:
    named = declare_pointed(program("range(4)"))
    text = named.script().replace("range(4)", 'T.thread_binding(4, thread="threadIdx.x")')
    func = from_source(text)
    assert isinstance(func, PrimFunc)
    assert broken_by_pass("declare_pointed", func) == "there are pointers in a program with thread axes"


def test_other_passes_promise_nothing_here() -> None:
    assert broken_by_pass("simplify", program("range(4)")) is None
