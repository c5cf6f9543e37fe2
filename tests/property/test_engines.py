"""The engines agree: generated code gives the machine's bits, or leaves the program to the machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcref.errors import OracleError, ScheduleError, UnsupportedError
from mlcref.interp import execute, interpret, pygen_vector
from mlcref.interp.memory import Undefined
from mlcref.interp.pygen import execute_generated
from mlcref.interp.pygen_code import NotGenerated
from mlcref.ir import (
    BlockRealize, BufferStore, Const, For, PrimFunc, Var, blocks_in, replace, replace_at, replace_buffers, rewrite,
)  # fmt: skip
from mlcref.ir.index import index
from mlcref.lower import lower
from mlcref.schedule import TABLE
from mlcref.verify.generate import program

FORMS = (True, False)
"""With numpy statements, and one number at a time."""


@pytest.fixture(autouse=True, scope="module")
def _small_nests_as_arrays() -> Any:
    """Nests of all sizes become numpy statements, since drawn programs are small."""
    least, pygen_vector._LEAST = pygen_vector._LEAST, 2
    yield
    pygen_vector._LEAST = least


def arguments(func: PrimFunc, seed: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    arrays = []
    for b in func.buffers:
        shape = [int(n) for n in b.shape]
        array = rng.integers(-3, 4, shape) if seed % 2 else rng.standard_normal(shape) * 3
        arrays.append(array.astype(b.type))
        if "float" in b.type and seed % 3 == 0:
            special = rng.choice([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38], shape)
            arrays[-1] = np.where(rng.random(shape) < 0.3, special, arrays[-1]).astype(b.type)
    return arrays


def bits(cell: Any) -> str:
    """A cell's bits as text; all NaNs are one, and all undefined values."""
    return "undefined" if type(cell) is Undefined else "nan" if cell != cell else repr(cell)


def outcome(run: Any) -> Any:
    """Every cell and every mark of a run, or the rule that it breaks."""
    try:
        binding = run()
    except OracleError as error:
        return error.rule
    if binding is None:
        return None
    storages = [slot.view.storage for slot in binding.slots]
    return [([bits(cell) for cell in storage.cells], bytes(storage.touched)) for storage in storages]


def agree(func: PrimFunc, seed: int) -> bool:
    """Do all forms of generated code that finish have the machine's bits? Did any finish, as all may whose values are
    defined?"""
    args, finished = arguments(func, seed), False
    for poison in ((), (func.buffers[-1].name,)):
        want = outcome(lambda poison=poison: execute(func, args, poison=poison, engine="machine"))
        for arrays in FORMS:
            try:
                got = outcome(lambda p=poison, a=arrays: execute_generated(func, args, p, arrays=a))
            except NotGenerated:
                continue
            finished = finished or got is not None or "undefined" in str(want)
            assert got is None or got == want, func.script()
    return finished


def drawn(data: st.DataObject) -> tuple[PrimFunc, Any]:
    def pick(options: Any, weights: Any = None) -> Any:
        return data.draw(st.sampled_from(list(options)))

    return program(pick, max_blocks=3), pick


def shapes(func: PrimFunc) -> set[str]:
    """The shapes of the buffers that blocks allocate, and of the function's own."""
    allocated = [buffer for block in blocks_in(func.body) for buffer in block.alloc_buffers]
    return {str(buffer.shape) for buffer in (*func.buffers, *allocated)}


def scheduled(func: PrimFunc, pick: Any, steps: int) -> PrimFunc:
    for _ in range(steps):
        primitive = TABLE[pick(sorted(TABLE))]
        try:
            chosen = primitive.arguments(pick, func)
            if chosen is not None:
                func, _ = primitive.build(func, primitive.plan(func, **chosen))
        except ScheduleError:
            continue
    return func


@given(data=st.data(), seed=st.integers(0, 99))
def test_scheduled_and_lowered_programs(data: st.DataObject, seed: int) -> None:
    func, pick = drawn(data)
    assert agree(func, seed), "a plain program was left to the machine"
    before = shapes(func)
    func = scheduled(func, pick, 3)
    padded = shapes(func) - before  # not all of these need be written, and a copy of all is left to the machine
    assert agree(func, seed) or padded, f"left to the machine:\n{func.script()}"
    try:
        lowered = lower(func)
    except UnsupportedError:
        return
    agree(lowered, seed)


def stretched(func: PrimFunc, pick: Any) -> PrimFunc:
    """A loop one iteration longer or shorter."""
    loop = pick([s for s in index(func).order if isinstance(s, For)])
    extent = int(loop.extent) + pick([-1, 1])
    return replace_at(func, {loop: replace(loop, extent=Const(max(extent, 0), loop.extent.type))})


def without_order(func: PrimFunc, pick: Any) -> PrimFunc:
    """A loop whose iterations come in no order."""
    loop = pick([s for s in index(func).order if isinstance(s, For)])
    kind = pick(["parallel", "vectorized"])
    return replace_at(func, {loop: replace(loop, kind=kind)}) if loop.kind == "serial" else func


def without_init(func: PrimFunc, pick: Any) -> PrimFunc:
    """A reduction that does not start."""
    blocks = [s for s in index(func).order if isinstance(s, BlockRealize) and s.block.init is not None]
    if not blocks:
        return func
    block = pick(blocks)
    return replace_at(func, {block: replace(block, block=replace(block.block, init=None))})


def bound_otherwise(func: PrimFunc, pick: Any) -> PrimFunc:
    """An iterator that runs backwards, twice, or one further."""
    block = pick([s for s in index(func).order if isinstance(s, BlockRealize) and s.iter_values])
    i = pick(range(len(block.iter_values)))
    value, last = block.iter_values[i], block.block.iter_vars[i].dom.extent - 1
    value = pick([last - value, value // 2, value + 1])
    values = (*block.iter_values[:i], value, *block.iter_values[i + 1 :])
    return replace_at(func, {block: replace(block, iter_values=values)})


def stored_elsewhere(func: PrimFunc, pick: Any) -> PrimFunc:
    """Indices of a store swapped, or one further."""
    store = pick([s for s in index(func).order if isinstance(s, BufferStore) and s.indices])
    moved = pick([store.indices[::-1], (store.indices[0] + pick([-1, 1]), *store.indices[1:])])
    return replace_at(func, {store: replace(store, indices=moved)})


def repeated(func: PrimFunc, pick: Any) -> PrimFunc:
    """A loop that runs a nest again: no mistake where the nest computes the same again."""
    loop = pick([s for s in index(func).order if isinstance(s, For)])
    again = Var("again", loop.loop_var.type)
    around = For(again, Const(0, again.type), Const(pick([2, 5]), again.type), "serial", loop)
    return replace_at(func, {loop: around})


def on_threads(func: PrimFunc, pick: Any) -> PrimFunc:
    """Nested loops on thread axes, and memory that threads have of their own or share: no mistake where it fits."""
    loops = [s for s in index(func).order if isinstance(s, For)]
    outer = pick(loops)
    inner = [s for s in loops if outer in index(func).above(s) or s is outer]
    tags = pick([["threadIdx.x"], ["blockIdx.x", "threadIdx.x"], ["threadIdx.y", "threadIdx.x"], ["blockIdx.x"]])
    changed = {loop.loop_var: tag for loop, tag in zip(inner, tags, strict=False)}
    local = [b for s in index(func).order if isinstance(s, BlockRealize) for b in s.block.alloc_buffers]
    scopes = {b: replace(b, scope=pick(["global", "shared", "local"])) for b in local}

    def bind(node: Any) -> Any:
        if isinstance(node, For) and node.loop_var in changed:
            return replace(node, kind="thread_binding", thread=changed[node.loop_var])
        return None

    return replace_buffers(rewrite(bind, func), scopes)


MISTAKES = (stretched, without_order, without_init, bound_otherwise, stored_elsewhere, repeated, on_threads)


@pytest.mark.parametrize("mistake", MISTAKES)
@given(data=st.data(), seed=st.integers(0, 99))
def test_wrong_programs(mistake: Any, data: st.DataObject, seed: int) -> None:
    func, pick = drawn(data)
    agree(mistake(scheduled(func, pick, pick([0, 1])), pick), seed)


@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 99))
def test_interpret_gives_the_same_arrays_and_reports(data: st.DataObject, seed: int) -> None:
    func, pick = drawn(data)
    func = pick(MISTAKES)(func, pick) if pick([False, True]) else func
    results = []
    for engine in ("machine", "auto", "pygen"):
        args = arguments(func, seed)
        try:
            interpret(func, *args, engine=engine)
            results.append([array.tobytes() if seed % 3 else np.isnan(array).tobytes() for array in args])
        except OracleError as error:
            results.append([str(error), *(array.tobytes() for array in args)])
    assert results[0] == results[1] == results[2]
