"""Every precondition of blockize and tensorize, and of registering a tensor intrinsic, by a program that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlcref.errors import ScheduleError
from mlcref.ir import PrimFunc
from mlcref.ir.tensor_intrin import TensorIntrin
from mlcref.schedule import TABLE, Schedule
from mlcref.script import from_source


def read(parameters: str, body: str) -> PrimFunc:
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    return from_source(f"@T.prim_func\ndef main({parameters}):\n{lines}\n")


def floats(*names: str, shape: str = "(8, 8)", more: str = "") -> str:
    return ", ".join(f'{name}: T.Buffer({shape}, "float32"{more})' for name in names)


def copy(i: str = "i", j: str = "j", loops: str = "i, j in T.grid(8, 8)", where: str = "") -> str:
    condition = f"\n        T.where({where})" if where else ""
    return f"""
for {loops}:
    with T.block("B"):
        vi = T.axis.spatial(8, {i})
        vj = T.axis.spatial(8, {j}){condition}
        B[vi, vj] = A[vi, vj]
"""


def total(init: str = "T.float32(0)", kind: str = "reduce", inside: str = "", where: str = "") -> str:
    condition = f"\n        T.where({where})" if where else ""
    return f"""
for i, k in T.grid(8, 8):
    with T.block("B"):
        vi = T.axis.{kind if kind != "reduce" else "spatial"}(8, i)
        vk = T.axis.reduce(8, k){condition}{inside}
        with T.init():
            B[vi, 0] = {init}
        B[vi, 0] = B[vi, 0] + A[vi, vk]
"""


TWO = """
C = T.alloc_buffer((8, 8), "float32")
for i in range(8):
    for j in range(8):
        with T.block("C"):
            vi = T.axis.spatial(8, {ci})
            vj = T.axis.spatial(8, j)
            C[vi, vj] = A[vi, vj]
    for j in range(8):
        with T.block("B"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = C[vi, vj] + C[{read}, vj]
"""
HALO = TWO.format(ci="i", read="7 - vi").replace('C = T.alloc_buffer((8, 8), "float32")\n', "")
IN_INIT = """
for i in range(8):
    with T.block("B"):
        vi = T.axis.spatial(8, i)
        with T.init():
            for j in range(8):
                with T.block("zero"):
                    vj = T.axis.spatial(8, j)
                    B[vi, vj] = T.float32(0)
        for j in range(8):
            with T.block("add"):
                vj = T.axis.spatial(8, j)
                B[vi, vj] = B[vi, vj] + A[vi, vj]
"""
PRIVATE = '\n        P = T.alloc_buffer((1,), "float32")'
ORDERED = """
for i in range(8):
    with T.block("B"):
        vi = T.axis.opaque(8, i)
        B[vi, 0] = A[vi, 0]
    with T.block("C"):
        vi = T.axis.opaque(8, i)
        B[vi, 1] = A[vi, 1]
"""


def loop(block: str, k: int) -> Callable[[Schedule], Any]:
    return lambda sch: sch.blockize(sch.get_loops(sch.get_block(block))[k])


def blocks(*names: str) -> Callable[[Schedule], Any]:
    return lambda sch: sch.blockize([sch.get_block(name) for name in names])


def bound(sch: Schedule) -> Any:
    i, j = sch.get_loops(sch.get_block("B"))
    sch.bind(j, "threadIdx.x")
    return sch.blockize(i)


AB = floats("A", "B")
BLOCKIZE: list[tuple[str, str, PrimFunc, Callable[[Schedule], Any]]] = [
    ("blockize.P1", "there are 2 blocks under loop i", read(AB, TWO.format(ci="i", read="vi")), loop("B", 0)),
    ("blockize.P1", "a list of one block", read(AB, copy()), blocks("B")),
    ("blockize.P2", "is in the init of block B", read(AB, IN_INIT), loop("zero", 0)),
    ("blockize.P2", "the blocks are in different scopes", read(AB, IN_INIT), blocks("B", "add")),
    ("blockize.P3", "each on its own", read(AB, copy(j="j * 3 % 8")), loop("B", 1)),
    ("blockize.P3", "each on its own", read(AB, copy("(i * 8 + j) // 8", "(i * 8 + j) % 8 // 4 * 4 + i % 4")),
     loop("B", 1)),
    ("blockize.P3", "a whole digit of iterator vj", read(AB, copy("i // 12", "i % 12 // 2", "i in range(96)")),
     loop("B", 0)),
    ("blockize.P3", "loop j is bound to a thread axis", read(AB, copy()), bound),
    ("blockize.P3", "a fixed 0 … n", read(AB, copy(j="j - 1", loops="i, j in T.grid(8, (1, 8))")), loop("B", 1)),
    ("blockize.P4", "about loops inside and outside", read(AB, copy(where="i + j < 9")), loop("B", 1)),
    ("blockize.P5", "uses a private buffer", read(AB, total("P[0]", inside=PRIVATE)), loop("B", 1)),
    ("blockize.P5", "is an opaque iterator", read(AB, total(kind="opaque")), loop("B", 1)),
    ("blockize.P6", "is no spatial one", read(AB, ORDERED), blocks("B", "C")),
    ("blockize.P6", "have different outer iterators", read(AB, TWO.format(ci="7 - i", read="vi")), blocks("C", "B")),
    ("blockize.P7", "use the same elements of C", read(floats("A", "B", "C"), HALO), blocks("C", "B")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "func", "act"), BLOCKIZE, ids=[f"{n}-{t[:20]}" for n, t, _, _ in BLOCKIZE])
def test_blockize(rule: str, text: str, func: PrimFunc, act: Callable[[Schedule], Any]) -> None:
    sch = Schedule(func)
    with pytest.raises(ScheduleError, match=text) as caught:
        act(sch)
    assert caught.value.rule == rule
    assert "blockize" not in str(sch.trace)


def test_every_precondition_has_a_test() -> None:
    assert {rule.partition(".")[2] for rule, *_ in BLOCKIZE} == set(TABLE["blockize"].preconditions)
    assert {rule.partition(".")[2] for rule, *_ in TENSORIZE} == set(TABLE["tensorize"].preconditions)


# ---- tensorize

TILE = floats("A", "B", shape="(4, 4)")
COPY = """
with T.block("root"):
    for i, j in T.grid(4, 4):
        with T.block("copy"):
            vi, vj = T.axis.remap("SS", [i, j])
            B[vi, vj] = A[vi, vj]
"""


def intrin(desc: str = COPY, impl: str = COPY, parameters: str = TILE, impl_parameters: str | None = None) -> None:
    described, done = read(parameters, desc), read(impl_parameters or parameters, impl)
    TensorIntrin.register("errors.tile", described, done, override=True)


def tiled(sch: Schedule) -> Any:
    i, j = sch.get_loops(sch.get_block("B"))
    i0, i1 = sch.split(i, [None, 4])
    j0, j1 = sch.split(j, [None, 4])
    sch.reorder(i0, j0, i1, j1)
    return i1


def tile(sch: Schedule) -> None:
    sch.tensorize(tiled(sch), "errors.tile")


STRIDED = floats("A", "B", shape="(4, 4)", more=", strides=(4, 1)")
ALIGNED = floats("A", "B", shape="(4, 4)", more=", offset_factor=64")
AT_START = floats("A", "B", shape="(4, 4)", more=", elem_offset=0")
UNUSED = floats("A", "B", "C", shape="(4, 4)")
HALF = COPY.replace("T.grid(4, 4)", "T.grid(4, 2)").replace(
    'vi, vj = T.axis.remap("SS", [i, j])', "vi = T.axis.spatial(4, i)\n            vj = T.axis.spatial(2, j)"
)
SHIFTED = COPY.replace("A[vi, vj]", "A[3 - vi, vj]")
SAME = read(floats("B"), copy().replace("A[vi, vj]", "B[vi, vj]"))

def half_tile(sch: Schedule) -> None:
    i, j = sch.get_loops(sch.get_block("B"))
    i0, i1 = sch.split(i, [None, 4])
    j0, j1 = sch.split(j, [None, 2])
    sch.reorder(i0, j0, i1, j1)
    sch.tensorize(i1, "errors.tile")


def matched_twice(sch: Schedule) -> None:
    tile(sch)
    sch.tensorize(sch.get_block("B_o"), "errors.tile")


def first_loop(sch: Schedule) -> None:
    sch.tensorize(sch.get_loops(sch.get_block("B"))[1], "errors.tile")


TENSORIZE: list[tuple[str, str, PrimFunc, dict[str, str], Callable[[Schedule], Any]]] = [
    ("tensorize.P1", "no tensor intrinsic is called 'errors.none'", read(AB, copy()), {},
     lambda sch: sch.tensorize(tiled(sch), "errors.none")),
    ("tensorize.P2", "each on its own", read(AB, copy(j="j * 3 % 8")), {}, first_loop),
    ("tensorize.P2", "gives a buffer a second name", read(AB, copy()), {}, matched_twice),
    ("tensorize.P2", "the root block is not tensorized", read(AB, copy()), {},
     lambda sch: sch.tensorize(sch.get_block("root"), "errors.tile")),
    ("tensorize.P3", "another element", read(AB, copy()), {"desc": SHIFTED, "impl": SHIFTED}, tile),
    ("tensorize.P3", "8 iterations for 4", read(AB, copy()), {},
     lambda sch: sch.tensorize(sch.get_loops("B")[0], "errors.tile")),
    ("tensorize.P3", "float32 in 'global' for float64", read(AB, copy()),
     {"parameters": TILE.replace("float32", "float64")}, tile),
    ("tensorize.P3", "BufferLoad of float32 for", read(AB, copy()),
     {"desc": COPY.replace("= A[vi, vj]", "= A[vi, vj] + T.float32(1)")}, tile),
    ("tensorize.P4", "does not use its parameter C", read(AB, copy()), {"parameters": UNUSED}, tile),
    ("tensorize.P4", "B would be both A and B", SAME, {}, tile),
    ("tensorize.P5", "may leave A along dimension 1", read(AB, copy()), {"desc": HALF}, half_tile),
    ("tensorize.P6", "has the stride 4", read(AB, copy()), {"impl_parameters": STRIDED}, tile),
    ("tensorize.P6", "begins at element 0", read(AB, copy()), {"impl_parameters": AT_START}, tile),
    ("tensorize.P6", "a multiple of 64 elements", read(AB, copy()), {"impl_parameters": ALIGNED}, tile),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "func", "intrinsic", "act"), TENSORIZE,
                         ids=[f"{n}-{t[:20]}" for n, t, *_ in TENSORIZE])  # fmt: skip
def test_tensorize(
    rule: str, text: str, func: PrimFunc, intrinsic: dict[str, str], act: Callable[[Schedule], Any]
) -> None:
    intrin(**intrinsic)
    sch = Schedule(func)
    with pytest.raises(ScheduleError, match=text) as caught:
        act(sch)
    assert caught.value.rule == rule


def test_a_mismatch_shows_both_programs_and_the_place() -> None:
    intrin(COPY.replace("= A[vi, vj]", "= A[vi, vj] * T.float32(2)"))
    with pytest.raises(ScheduleError, match=r"is not what errors\.tile describes") as caught:
        tile(Schedule(read(AB, copy())))
    text = str(caught.value)
    assert "B[vi_o * 4 + vi_i, vj_o * 4 + vj_i] = A[" in text
    assert "B[vi, vj] = A[vi, vj] * T.float32(2.0)" in text
    assert "^ " in text
    assert "errors.tile has here: A[vi, vj] * T.float32(2.0)" in text


# ---- registering

BACK = COPY.replace("B[vi, vj] = A[vi, vj]", "A[vi, vj] = B[vi, vj]")
ALLOCATES = """
with T.block("root"):
    C = T.alloc_buffer((4, 4), "float32")
    C[0, 0] = A[0, 0]
    B[0, 0] = C[0, 0]
"""


@pytest.mark.parametrize(
    ("desc", "impl", "parameters", "impl_parameters", "text"),
    [
        (COPY, COPY, TILE, UNUSED, "the desc has 2 parameters, the impl 3"),
        (COPY, COPY, TILE, TILE.replace("(4, 4)", "(4, 8)"), "has the shape"),
        (COPY, COPY, TILE, floats("A", "B", shape="(4, 4)", more=', scope="shared"'), "has the scope"),
        (COPY, COPY, TILE + ", n: T.int32", None, "parameters that are no buffers"),
        (COPY, BACK, TILE, None, "the impl writes parameter 0"),
        (ALLOCATES, COPY, TILE, None, "allocates"),
    ],
    ids=["count", "shape", "scope", "scalar", "writes", "allocates"],
)  # fmt: skip
def test_what_is_no_intrinsic(desc: str, impl: str, parameters: str, impl_parameters: str | None, text: str) -> None:
    with pytest.raises(ScheduleError, match=rf"{text}[^\0]*tensor_intrin\.P3"):
        intrin(desc, impl, parameters, impl_parameters)


def test_names_are_taken_once_unless_overridden() -> None:
    intrin()
    made = TensorIntrin.get("errors.tile")
    assert made is not None
    with pytest.raises(ScheduleError, match=r"called 'errors.tile' already.*tensor_intrin\.P1"):
        TensorIntrin.register("errors.tile", made.desc, made.impl)
    assert TensorIntrin.register("errors.tile", made.desc, made.impl, override=True) is TensorIntrin.get("errors.tile")
    assert TensorIntrin.get("errors.missing", allow_missing=True) is None
    with pytest.raises(ScheduleError, match=r"no tensor intrinsic is called 'errors.missing'.*tensor_intrin\.P2"):
        TensorIntrin.get("errors.missing")
