"""Hypothesis strategies for tensor programs, schedules of them and their inputs, all valid by construction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import note
from hypothesis import strategies as st

from mlcref import dtype as dt
from mlcref.errors import ScheduleError
from mlcref.ir import Buffer, IRModule, PrimFunc, Token, Var, index
from mlcref.schedule import TABLE, Primitive, Schedule
from mlcref.schedule.find import loops_above
from mlcref.testing.contents import awkward, index_limits, shapes
from mlcref.verify.generate import ALL_DTYPES, ALL_STAGES, program
from mlcref.verify.inputs import size_variables
from mlcref.verify.program_builder import Stage

KINDS_OF_BLOCKS = tuple(stage.name for stage in ALL_STAGES)
"""The kinds of blocks that :func:`programs` makes."""

Draw = Callable[[st.SearchStrategy[Any]], Any]


def programs(
    max_blocks: int = 4,
    *,
    dtypes: Sequence[str] = ALL_DTYPES,
    blocks: Sequence[str] = KINDS_OF_BLOCKS,
    extents: Sequence[int] = (1, 2, 3, 4, 5, 6, 8),
) -> st.SearchStrategy[PrimFunc]:
    """Programs of one to ``max_blocks`` blocks, each computed from the one before, the output the last parameter.

    ``blocks`` are the kinds of blocks (``KINDS_OF_BLOCKS``), ``dtypes`` those of the first input, ``extents`` the sizes
    to choose from, simple ones first. Every program has a meaning on all inputs. Shrinks to fewer blocks, simpler
    kinds, earlier dtypes and extents.

    >>> from hypothesis import find
    >>> f = find(programs(blocks=["transpose"], dtypes=["int8"]), lambda f: len(f.params[0].shape) == 2)
    >>> f.params[0].type
    'int8'
    """
    known: Mapping[str, Stage] = {stage.name: stage for stage in ALL_STAGES}
    unknown = sorted(set(blocks) - set(known))
    if unknown:
        raise ValueError(f"there are no blocks of the kind {unknown[0]!r}; the kinds are {', '.join(known)}")
    stages = tuple(known[name] for name in blocks)

    def build(draw: Draw) -> PrimFunc:
        return program(_picker(draw), max_blocks, dtypes=dtypes, stages=stages, extents=extents)

    return st.composite(build)()


def schedules(
    func: PrimFunc | IRModule, *, max_steps: int = 4, primitives: Sequence[str] | None = None
) -> st.SearchStrategy[Schedule]:
    """Schedules of ``func`` with at most ``max_steps`` primitives applied, all of them accepted.

    ``primitives`` are the names to choose from (default: all of them). ``sch.mod`` is the result, ``sch.trace`` how it
    came about; the trace is noted in the report of a failing test. Shrinks to fewer and earlier primitives.
    """
    names = list(TABLE if primitives is None else primitives)
    unknown = sorted(set(names) - set(TABLE))
    if unknown:
        raise ValueError(f"there is no primitive {unknown[0]!r}; there are {', '.join(TABLE)}")
    return st.composite(_schedule)(func, names, max_steps)


def inputs(func: PrimFunc, *, max_size: int = 8) -> st.SearchStrategy[tuple[Any, ...]]:
    """Argument lists of ``func``: arrays for its buffers, outputs too, and numbers for its scalars.

    Integers that the program indexes with stay in bounds. Symbolic extents are drawn from 0 to ``max_size``. Elements
    are small integers or awkward values (zeros of both signs, subnormals, large numbers, ends of integer types), all
    finite. Shrinks towards zeros.
    """
    return st.composite(_inputs)(func, max_size)


def _picker(draw: Draw) -> Callable[..., Any]:
    def pick(options: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
        choices = list(options)
        return choices[draw(st.integers(0, len(choices) - 1))]

    return pick


def _schedule(draw: Draw, func: PrimFunc | IRModule, names: Sequence[str], max_steps: int) -> Schedule:
    sch, pick = Schedule(func, seed=0), _picker(draw)
    for _ in range(max_steps):
        if not pick([False, True, True, True]):
            break
        sch = _step(sch, TABLE[pick(names)], pick)
    if sch.trace.insts:
        note(f"schedule:\n{sch.trace}")
    return sch


def _step(sch: Schedule, primitive: Primitive, pick: Callable[..., Any]) -> Schedule:
    """``sch`` with ``primitive`` applied at a place that it finds for itself; as it was when it refuses."""
    name, func = next(iter(sch.mod.prim_funcs().items()))
    arguments = primitive.arguments(pick, func)
    if arguments is None:
        return sch
    trial: Schedule = sch.copy()
    try:
        handles = {key: _handle(trial, name, func, value) for key, value in arguments.items()}
        trial.replay_instruction(primitive.name, handles, None)
    except ScheduleError:
        return sch
    return trial


def _handle(sch: Schedule, name: str, func: PrimFunc, value: Any) -> Any:
    """An argument as the methods of a schedule take it: handles for tokens and loop variables."""
    where = index(func)
    if isinstance(value, list | tuple):
        return [_handle(sch, name, func, item) for item in value]
    if isinstance(value, Token):
        return sch.get_block(where.blocks[value].block.name, name)
    if isinstance(value, Var) and value in where.loops:
        for realize in where.blocks.values():
            at = [i for i, loop in enumerate(loops_above(func, realize)) if loop.loop_var is value]
            if at:
                return sch.get_loops(sch.get_block(realize.block.name, name))[at[0]]
    return value


def _inputs(draw: Draw, func: PrimFunc, max_size: int) -> tuple[Any, ...]:
    sizes = {var: draw(st.integers(0, max_size)) for var in size_variables(func)}
    known, limits = shapes(func, sizes), index_limits(func)
    made: list[Any] = []
    for param in func.params:
        if isinstance(param, Buffer):
            made.append(draw(_arrays(param.type, known[param], limits.get(param))))
        else:
            made.append(sizes[param] if param in sizes else draw(_elements(param.type)).item())
    return tuple(made)


def _elements(dtype: str, limit: int | None = None) -> st.SearchStrategy[Any]:
    """Elements of ``dtype``, simple ones first."""
    numpy_type = dt.numpy_dtype(dtype)
    if dt.is_bool(dtype):
        return st.booleans().map(numpy_type.type)
    if limit is not None:
        return st.integers(0, max(limit, 1) - 1).map(numpy_type.type)
    unsigned = dt.parse(dtype).code == "uint"
    small = st.integers(0 if unsigned else -3, 3).map(numpy_type.type)
    return st.one_of(small, small, st.sampled_from(list(awkward(dtype))))


@st.composite
def _arrays(draw: Draw, dtype: str, shape: tuple[int, ...], limit: int | None) -> Any:
    """One element for all, then others at a few places: that shrinks well, and finds as much as independent ones."""
    elements = _elements(dtype, limit)
    array = np.full(shape, draw(elements), dt.numpy_dtype(dtype))
    if array.size:
        places = st.integers(0, array.size - 1)
        for place, value in draw(st.lists(st.tuples(places, elements), max_size=min(array.size, 8))):
            array.reshape(-1)[place] = value
    return array
