"""A new layout for a buffer: transform_layout.

A layout is a one-to-one map of indices. What it leaves free in the new shape is padding: no access of the program
touches it, so that its contents matter to the caller alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mlcref.arith import IndexMap
from mlcref.arith.index_map import LARGEST_TABLE
from mlcref.errors import MlcrefError
from mlcref.ir import (
    BlockRealize, Buffer, BufferLoad, BufferStore, Const, Expr, For, PrimFunc,
    Stmt, Token, Var, any_node, constant, index, replace, substitute, variables, walk,
)  # fmt: skip
from mlcref.ir.index import stmt_children
from mlcref.schedule.dataflow import check_races
from mlcref.schedule.find import block_of, scope_of, starts_at_zero
from mlcref.schedule.map_json import Access
from mlcref.schedule.maps import as_index_map, draw_map, find_access, index_type, other_use, pad_map
from mlcref.schedule.relayout import LayoutFacts, Padding, build_transform_layout, over_new_layout
from mlcref.schedule.table import Handle, Pick, Primitive, refusal, refuse, register
from mlcref.schedule.thread_scopes import scope_conflict


def plan_transform_layout(
    func: PrimFunc,
    block: Token,
    buffer: Any,
    index_map: Any,
    pad_value: Any = None,
    assume_injective_transform: bool = False,
) -> LayoutFacts:
    """Store a buffer in another layout: element ``[i, j]`` moves to ``index_map(i, j)`` in every access of the program.

    ``buffer`` is one that the block uses: ("read" or "write", position), a name, or the buffer. Where the new shape has
    more elements than the old one, ``pad_value`` (a number, or a function of the new indices) says what they hold:
    written by the block that computes the buffer or by a block of its own; of a parameter that is only read, assumed.
    ``assume_injective_transform`` leaves such elements as they are. In both cases the map is checked.

    The layout of a parameter is part of how the function is called: see :func:`mlcref.verify.in_old_layout`.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import from_source
    >>> sch = Schedule(from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((16,), "float32"), C: T.Buffer((16,), "float32")):
    ...     B = T.alloc_buffer((16,))
    ...     for i in range(16):
    ...         with T.block("B"):
    ...             vi = T.axis.spatial(16, i)
    ...             B[vi] = A[vi] + T.float32(1)
    ...     for i in range(16):
    ...         with T.block("C"):
    ...             vi = T.axis.spatial(16, i)
    ...             C[vi] = B[vi]
    ... '''))
    >>> sch.transform_layout("B", "B", lambda i: (i // 4, i % 4))
    >>> sch.get(sch.get_block("C")).body
    C[vi] = B[vi // 4, vi % 4]

    Raises ``ScheduleError`` when the map is not one to one, or leaves elements without a value.

    Source: TVM ``transform_layout``.
    """
    name = "transform_layout"
    realize = block_of(func, block)
    old = find_access(func, f"{name}.P1", realize, buffer)[2]
    marks = [(realize, f"uses {old.name}")]
    mapped = as_index_map(func, f"{name}.P2", index_map, old.ndim, index_type(old.shape), marks)
    _check_plain(func, old, marks)
    shape = _new_shape(func, old, mapped, marks)
    if mapped.injective(old.shape) is not True:
        what = f"{mapped!r} is not known to be one to one on the shape of {old.name}"
        hint = f"digits of the indices, each once; on shapes of at most {LARGEST_TABLE} elements any map that is"
        refuse(func, f"{name}.P4", what, marks, hint)
    facts = LayoutFacts(old, replace(old, shape=shape), mapped)
    if mapped.fills(old.shape) is True:
        _check_pad_value(func, pad_value, facts, marks)
        return facts
    if pad_value is None:
        if not assume_injective_transform:
            what = f"the new shape {_listed(shape)} of {old.name} has more elements than the old one"
            raise refusal(func, f"{name}.P5", what, marks, "give a pad_value")
        return facts
    return _with_padding(func, facts, _check_pad_value(func, pad_value, facts, marks), marks)


def _listed(shape: Sequence[Expr]) -> str:
    return f"({', '.join(repr(n) for n in shape)})"


def _new_shape(func: PrimFunc, old: Buffer, mapped: IndexMap, marks: Sequence[Any]) -> tuple[Expr, ...]:
    try:
        return tuple(mapped.map_shape(old.shape))
    except MlcrefError as error:
        raise refusal(func, "transform_layout.P2", error.what, marks) from error


def _check_plain(func: PrimFunc, buffer: Buffer, marks: Sequence[Any]) -> None:
    """The buffer is dense memory under one name, used by scalar loads and stores alone (P3)."""
    if buffer.strides or buffer.elem_offset is not None or buffer.data is not None:
        raise refusal(func, "transform_layout.P3", f"{buffer.name} declares strides, an offset or its memory", marks)
    for node in walk(func.body):
        what = other_use(node, buffer)
        if what:
            spot = [(node, "here")] if isinstance(node, Stmt) else []
            raise refusal(func, "transform_layout.P3", f"{buffer.name} {what}", [*spot, *marks])
    owned = buffer in func.params or any(buffer in r.block.alloc_buffers for r in index(func).blocks.values())
    if not owned:
        raise refusal(func, "transform_layout.P3", f"{buffer.name} is a second name of another buffer", marks)


def _check_pad_value(func: PrimFunc, pad_value: Any, facts: LayoutFacts, marks: Sequence[Any]) -> IndexMap | None:
    """The pad value as a function of the new indices (P6)."""
    if pad_value is None:
        return None
    rule, rank, kind = "transform_layout.P6", len(facts.new.shape), facts.new.type
    try:
        pads = pad_map(pad_value, rank, kind, index_type(facts.new.shape))
    except (MlcrefError, TypeError) as error:
        raise refusal(func, rule, f"the pad value is no function of {rank} indices: {error}", marks) from error
    if len(pads.initial_indices) != rank or len(pads.final_indices) != 1:
        raise refusal(func, rule, f"the pad value is one expression of {rank} indices", marks)
    value = pads.final_indices[0]
    if value.dtype != kind:
        raise refusal(func, rule, f"the pad value is {value.dtype}, but {facts.old.name} is {kind}", marks)
    if any_node(value, BufferLoad) or not variables(value) <= set(pads.initial_indices):
        raise refusal(func, rule, "the pad value depends on more than the new indices", marks)
    return pads


def _with_padding(func: PrimFunc, facts: LayoutFacts, pads: IndexMap | None, marks: Sequence[Any]) -> LayoutFacts:
    """The facts with the padding, and where it gets its value."""
    assert pads is not None
    dtype = index_type(facts.new.shape)
    axes = tuple([Var(axis, dtype) for axis in facts.index_map.axis_names()])
    found = facts.index_map.inverted(facts.old.shape, axes)
    if found is None or found.padding is None:
        what = f"no condition is known for the padding of {facts.index_map!r}"
        raise refusal(func, "transform_layout.P6", what, marks, "a map of sums of digits, i // 4 and i % 4, has one")
    value = substitute(pads.final_indices[0], dict(zip(pads.initial_indices, axes, strict=True)))
    padding = Padding(axes, found.variables, found.padding, value)
    writers = [b for b in index(func).blocks.values() if _stores(b, facts.old)]
    if not writers:
        return _assumed(func, dataclasses.replace(facts, padding=padding), marks)
    inside = _inside(func, facts, padding, writers)
    made = None if inside is None else over_new_layout(func, inside)
    if inside is not None and made is not None:
        return dataclasses.replace(inside, made=made)
    last = max(writers, key=lambda b: index(func).order[b])
    after = dataclasses.replace(facts, padding=padding, where="after", writer=last.block.token)
    new = build_transform_layout(func, after)[0]
    conflict = scope_conflict(new)
    if conflict is not None:
        raise refusal(func, "transform_layout.P7", conflict.text, [*marks, *conflict.marks], "before bind")
    check_races(func, "transform_layout.P7", new, marks)
    return dataclasses.replace(after, made=new)


def _stores(realize: BlockRealize, buffer: Buffer) -> bool:
    """Does the block itself, not one inside it, store to the buffer?"""
    parts: list[Any] = [p for p in (realize.block.init, realize.block.body) if p is not None]
    while parts:
        node = parts.pop()
        if isinstance(node, BufferStore) and node.buffer is buffer:
            return True
        if isinstance(node, Stmt) and not isinstance(node, BlockRealize):
            parts += stmt_children(node)
    return False


def _assumed(func: PrimFunc, facts: LayoutFacts, marks: Sequence[Any]) -> LayoutFacts:
    """Padding of a buffer that the function does not write: the caller's, if it is a parameter."""
    assert facts.padding is not None
    if facts.old not in func.params:
        return facts
    if isinstance(facts.padding.value, Const) and facts.padding.value.value != facts.padding.value.value:
        raise refusal(func, "transform_layout.P7", "no input equals NaN, which cannot be assumed of padding", marks)
    return dataclasses.replace(facts, where="assume")


def _inside(
    func: PrimFunc, facts: LayoutFacts, padding: Padding, writers: Sequence[BlockRealize]
) -> LayoutFacts | None:
    """The facts for a single writer whose loops run over the old layout row by row: they can run over the new one."""
    if len(writers) != 1:
        return None
    (writer,) = writers
    block = writer.block
    store = block.body
    if not isinstance(store, BufferStore) or not all(isinstance(i, Var) for i in store.indices):
        return None
    places = [next((n for n, item in enumerate(block.iter_vars) if item.var is i), None) for i in store.indices]
    chosen = [n for n in places if n is not None]
    if len(set(chosen)) != len(places) or any(block.iter_vars[n].iter_type != "spatial" for n in chosen):
        return None
    if not _same_store(block.init, store):
        return None
    scope = scope_of(func, writer)
    if scope is not func.body and facts.old not in scope.block.alloc_buffers:
        return None  # blocks in between declare that they write what they wrote before
    loops = _row_major(func, facts.old, writer, chosen)
    if loops is None:
        return None
    return dataclasses.replace(facts, padding=padding, where="inside", writer=block.token, loops=tuple(loops))


def _same_store(init: Stmt | None, store: BufferStore) -> bool:
    """Is an init, where there is one, a store to the same element?"""
    if init is None:
        return True
    return (
        isinstance(init, BufferStore)
        and init.buffer is store.buffer
        and all(a is b for a, b in zip(init.indices, store.indices, strict=True))
    )


def _row_major(func: PrimFunc, buffer: Buffer, writer: BlockRealize, places: Sequence[int]) -> list[For] | None:
    """The loops of the iterators at ``places``, when they are neighbours around nothing but the block, run over the
    buffer, and are used in these bindings alone."""
    where = index(func)
    values = [writer.iter_values[n] for n in places]
    if places != list(range(places[0], places[0] + len(places))) or not all(isinstance(v, Var) for v in values):
        return None
    loops = [where.loops[v] for v in values if isinstance(v, Var) and v in where.loops]
    if len(loops) != len(values) or any(outer.body is not inner for outer, inner in pairwise(loops)):
        return None
    inner: Stmt = loops[-1].body
    while isinstance(inner, For):
        inner = inner.body
    used = {v for n, e in enumerate(writer.iter_values) if n not in places for v in variables(e)}
    used |= {v for c in writer.predicate for v in variables(c)}
    if inner is not writer or used & {loop.loop_var for loop in loops}:
        return None
    for loop, extent, n in zip(loops, buffer.shape, places, strict=True):
        domain = writer.block.iter_vars[n].dom
        sizes = {constant(loop.extent), constant(extent), constant(domain.extent)}
        if loop.kind != "serial" or loop.annotations or not starts_at_zero(loop) or len(sizes) != 1 or None in sizes:
            return None
        if constant(domain.min) != 0:
            return None
    return loops


def consume_transform_layout(func: PrimFunc, **arguments: Any) -> set[Handle]:
    """The loops that run over the new layout instead."""
    return {loop.loop_var for loop in plan_transform_layout(func, **arguments).loops}


def recorded_layout(func: PrimFunc, block: Token, **arguments: Any) -> dict[str, Any]:
    """The arguments as traces keep them: the access by its position, functions as index maps."""
    rule = "transform_layout.P1"
    result: dict[str, Any] = {}
    realize = block_of(func, block)
    kind, position, buffer = find_access(func, rule, realize, arguments["buffer"])
    dtype = index_type(buffer.shape)
    result["buffer"] = Access(kind, position)
    result["index_map"] = mapped = as_index_map(func, rule, arguments["index_map"], buffer.ndim, dtype, ())
    if arguments.get("pad_value") is not None:
        result["pad_value"] = pad_map(arguments["pad_value"], len(mapped.final_indices), buffer.type, dtype)
    return result


def draw_transform_layout(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """An allocated buffer (the interface stays), a map and sometimes a value for padding."""
    sites: list[tuple[Token, tuple[str, int], Buffer]] = []
    for token, realize in index(func).blocks.items():
        for kind, regions in (("read", realize.block.reads), ("write", realize.block.writes)):
            sites += [(token, (kind, n), r.buffer) for n, r in enumerate(regions) if r.buffer not in func.params]
    if not sites:
        return None
    token, access, buffer = pick(sites)
    extents = [constant(n) for n in buffer.shape] if pick([False, True, True, True]) else []
    arguments = {"block": token, "buffer": access, "index_map": draw_map(pick, buffer.ndim, extents, exact=False)}
    pad_value, assumed = pick([(None, False), (0, False), (1, False), (None, True), (5, False)])
    return {**arguments, "pad_value": pad_value, "assume_injective_transform": assumed}


TRANSFORM_LAYOUT = register(
    Primitive(
        "transform_layout",
        {
            "P1": "the block has the access",
            "P2": "the map takes as many indices as the buffer, and gives indices with known bounds from 0 on",
            "P3": "the buffer is dense, has one name, and is used by scalar loads and stores alone",
            "P4": "the map is one to one on the shape",
            "P5": "the new shape has no more elements than the old one, unless a pad value is given",
            "P6": "the pad value is of the buffer's type and depends on the new indices alone; the map has an inverse",
            "P7": "the padding can be written, or assumed, where it is not computed",
        },
        plan_transform_layout,
        build_transform_layout,
        draw_transform_layout,
        consume_transform_layout,
        attributes=("buffer", "pad_value", "assume_injective_transform"),
        forceable=frozenset({"P4"}),
        recorded=recorded_layout,
    )
)
