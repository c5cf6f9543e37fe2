"""The root block is written where its one child would be taken for it: TVM forgets the name of a block that is all of
the body and states nothing."""

from __future__ import annotations

import pytest

from mlcref import ir
from mlcref.script import from_source, print_script

HEAD = '@T.prim_func\ndef f(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):\n'
ALONE = {
    "allocates": """
    with T.block("only"):
        T.reads()
        T.writes()
        C = T.alloc_buffer((1,), "float32", scope="local")
        for i in range(4):
            C[0] = A[i]
            B[i] = C[0]
""",
    "holds a block": """
    with T.block("only"):
        T.reads()
        T.writes()
        for i in range(4):
            with T.block("B"):
                vi = T.axis.spatial(4, i)
                T.reads(A[vi])
                T.writes(B[vi])
                B[vi] = A[vi]
""",
    "is called root": """
    with T.block("root"):
        T.reads()
        T.writes()
        with T.block("root"):
            T.reads()
            T.writes()
            T.call_extern("int32", "g", A.data)
""",
}
PLAIN = {
    "states regions": """
    with T.block("only"):
        T.reads(A[0])
        T.writes(B[0])
        C = T.alloc_buffer((1,), "float32", scope="local")
        C[0] = A[0]
        B[0] = C[0]
""",
    "has a condition": """
    with T.block("only"):
        T.where(A[0] > T.float32(0))
        T.reads()
        T.writes()
        T.call_extern("int32", "g", A.data)
""",
    "calls a function": """
    with T.block("only"):
        T.reads()
        T.writes()
        T.call_extern("int32", "g", A.data)
""",
    "has an iterator": """
    with T.block("only"):
        vi = T.axis.spatial(1, 0)
        T.reads(A[vi])
        T.writes(B[vi])
        B[vi] = A[vi]
""",
    "has memory beside it": """
    C = T.alloc_buffer((1,), "float32", scope="local")
    with T.block("only"):
        T.reads(A[0])
        T.writes(C[0])
        C[0] = A[0]
""",
}


@pytest.mark.parametrize("dialect", ["tir", "tirx"])
@pytest.mark.parametrize("name", [*ALONE, *PLAIN])
def test_root_is_written_where_its_child_would_be_taken_for_it(name: str, dialect: str) -> None:
    func = from_source(HEAD + {**ALONE, **PLAIN}[name])
    text = print_script(func, dialect=dialect)
    written = [line.strip() for line in text.splitlines()].count(f'with T.{"s" * (dialect == "tirx")}block("root"):')
    assert written == {"is called root": 2}.get(name, int(name in ALONE)), text
    assert ir.first_difference(func, from_source(text)) is None
