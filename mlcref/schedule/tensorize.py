"""tensorize: a block that computes what a tensor intrinsic describes is done by the intrinsic."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlcref.arith import Linear, Simplifier, linear, simplify
from mlcref.errors import ScheduleError
from mlcref.ir import (
    Block, BlockRealize, Buffer, BufferLoad, BufferRegion, BufferStore, Call, Const, Expr, For, MatchBufferRegion,
    Node, PrimFunc, Range, Stmt, Token, Var, buffers_used, call, const, fresh, index, make_block, replace,
    replace_at, replace_buffers, rewrite, substitute, variables, walk,
)  # fmt: skip
from mlcref.ir.index import stmt_children
from mlcref.ir.tensor_intrin import TensorIntrin
from mlcref.schedule.blockize import build_blockize, plan_blockize
from mlcref.schedule.draws import wild
from mlcref.schedule.find import block_of, loop_of
from mlcref.schedule.nest import Ranges, iterator_ranges, ranges_at
from mlcref.schedule.table import Handle, Pick, Primitive, Result, refusal, register
from mlcref.schedule.tensor_match import Difference, Match

DRAWN = "mlcref.drawn"
"""The name of the intrinsic that :func:`draw_tensorize` describes and registers anew each time."""


@dataclass(frozen=True, slots=True)
class TensorizeFacts:
    """The function (blockized, for a loop), the block, the intrinsic, and the regions that its parameters stand for."""

    func: PrimFunc
    token: Token
    impl: PrimFunc
    regions: tuple[BufferRegion, ...]


def plan_tensorize(
    func: PrimFunc, block_or_loop: Handle, tensor_intrin: str, preserve_unit_iters: bool = True
) -> TensorizeFacts:
    """Let the implementation of a tensor intrinsic do what a block does. A loop is made a block first.

    The body of the block must be the body of the intrinsic's description: the same loops, blocks, iterators, bindings
    and operations, up to names; each buffer of the description stands for a region of a buffer of the same type and
    scope. An init of the block itself stays. The implementation's buffers become names for those regions
    (``T.match_buffer``) and variables in their strides take the strides there.

    >>> from mlcref.schedule import Schedule
    >>> from mlcref.script import tir as T
    >>> @T.prim_func
    ... def desc(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    ...     with T.block("root"):
    ...         for i in range(4):
    ...             with T.block("double"):
    ...                 vi = T.axis.spatial(4, i)
    ...                 B[vi] = A[vi] * T.float32(2)
    >>> @T.prim_func
    ... def impl(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    ...     with T.block("root"):
    ...         T.reads(A[0:4])
    ...         T.writes(B[0:4])
    ...         T.call_extern("int32", "double4", A.access_ptr("r"), B.access_ptr("w"))
    >>> _ = TensorIntrin.register("doc.double4", desc, impl, override=True)
    >>> @T.prim_func
    ... def double(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
    ...     for i, j in T.grid(2, 4):
    ...         with T.block("B"):
    ...             vi = T.axis.spatial(8, i * 4 + j)
    ...             B[vi] = A[vi] * T.float32(2)
    >>> sch = Schedule(double)
    >>> sch.tensorize(sch.get_loops(sch.get_block("B"))[1], "doc.double4")
    >>> (block,) = sch.get(sch.get_block("B_o")).match_buffers[:1]
    >>> print(block.source)
    A[vi_o * 4:vi_o * 4 + 4]

    Raises ``ScheduleError`` with the first difference where the block is not what the description says.

    Source: TVM ``tensorize``.
    """
    name = "tensorize"
    found = TensorIntrin.get(tensor_intrin, allow_missing=True)
    if found is None:
        known = f"there are: {', '.join(sorted(TensorIntrin.registered)) or 'none'}"
        raise refusal(func, f"{name}.P1", f"no tensor intrinsic is called {tensor_intrin!r}", hint=known)
    token = block_or_loop
    if isinstance(token, Var):
        try:
            func, (made,) = build_blockize(func, plan_blockize(func, token, preserve_unit_iters))
        except ScheduleError as error:
            if (error.rule or "").startswith("handle."):
                raise
            what = error.what.removeprefix("blockize: ")
            raise refusal(func, f"{name}.P2", what, error.marks, error.hint) from error
        assert isinstance(made, Token)
        token = made
    realize = block_of(func, token)
    marks = [(realize, f"to be done by {tensor_intrin}")]
    if realize is func.body or realize.block.match_buffers:
        what = "the root block is not tensorized" if realize is func.body else "the block gives a buffer a second name"
        raise refusal(func, f"{name}.P2", what, marks)
    match = Match({**ranges_at(func, realize), **iterator_ranges(realize.block.iter_vars)}, found.desc)
    difference = match.statement(realize.block.body, found.desc.root.body)
    if difference is not None:
        raise _mismatch(func, realize, tensor_intrin, found.desc, difference)
    regions = _regions(func, realize, found, match, marks)
    return TensorizeFacts(func, token, found.impl, regions)


def _mismatch(
    func: PrimFunc, realize: BlockRealize, name: str, desc: PrimFunc, difference: Difference
) -> ScheduleError:
    def text() -> str:
        both = f"program:\n{_indented(realize.block.body)}\n{name}:\n{_indented(desc.root.body)}"
        return f"block {realize.block.name} is not what {name} describes: {difference.what}\n{both}\nfirst difference:"

    marks: list[tuple[Any, str]] = []
    if difference.program is not None:
        wanted = "nothing" if difference.desc is None else repr(difference.desc).strip().splitlines()[0]
        marks.append((difference.program, f"{name} has here: {wanted}"))
    return refusal(func, "tensorize.P3", text, marks or [(realize, "this block")],
                   "blockize and decompose_reduction until the block is the description")  # fmt: skip


def _indented(node: Node) -> str:
    return "\n".join(f"    {line}" for line in repr(node).splitlines())


# ---- the regions


def _regions(
    func: PrimFunc, realize: BlockRealize, intrin: TensorIntrin, match: Match, marks: list[tuple[Any, str]]
) -> tuple[BufferRegion, ...]:
    """The region that each parameter stands for. They are inside their buffers (P5), those written lie apart from the
    others (P4), and their layout is what the implementation asks for (P6)."""
    stored = {node.buffer for node in walk(intrin.desc.body) if isinstance(node, BufferStore)}
    found: list[BufferRegion] = []
    strides: dict[Var, Expr] = {}
    for param, wanted in zip(intrin.desc.buffers, intrin.impl.buffers, strict=True):
        if param not in match.buffers:
            raise refusal(func, "tensorize.P4", f"the description does not use its parameter {param.name}", marks)
        buffer, start = match.buffers[param], match.starts[param]
        for other, theirs in match.buffers.items():
            if theirs is buffer and other is not param and (param in stored or other in stored):
                what = f"{buffer.name} would be both {param.name} and {other.name}, and one of them is written"
                raise refusal(func, "tensorize.P4", what, marks)
        _check_inside(func, buffer, param, start, match.ranges, marks)
        _check_layout(func, buffer, wanted, start, match.ranges, strides, marks)
        found.append(_region(buffer, param, start))
    return tuple(found)


def _region(buffer: Buffer, param: Buffer, start: Sequence[Linear]) -> BufferRegion:
    extra = len(buffer.shape) - len(param.shape)
    extents = [*([const(1, "int32")] * extra), *param.shape]
    ranges = [Range(form.cast(full.dtype).expr(), const(int(extent), full.dtype))  # type: ignore[call-overload]
              for form, extent, full in zip(start, extents, buffer.shape, strict=True)]  # fmt: skip
    return BufferRegion(buffer, tuple(ranges))


def _check_inside(
    func: PrimFunc, buffer: Buffer, param: Buffer, start: Sequence[Linear], ranges: Ranges, marks: list[tuple[Any, str]]
) -> None:
    arith = Simplifier(ranges)
    extents = [*([1] * (len(buffer.shape) - len(param.shape))), *(int(e) for e in param.shape)]  # type: ignore[call-overload]
    for d, (form, extent, full) in enumerate(zip(start, extents, buffer.shape, strict=True)):
        low, room = arith.bounds(form).lo, arith.bounds(arith.linear(full) - form.shift(extent)).lo
        if low is None or low < 0 or room is None or room < 0:
            what = f"the region {_region(buffer, param, start)!r} may leave {buffer.name} along dimension {d}"
            raise refusal(func, "tensorize.P5", what, marks)


def _check_layout(
    func: PrimFunc, buffer: Buffer, wanted: Buffer, start: Sequence[Linear], ranges: Ranges, values: dict[Var, Expr],
    marks: list[tuple[Any, str]],
) -> None:  # fmt: skip
    """Strides, offset and alignment of the implementation's buffer (P6)."""
    own = row_major_strides(buffer)
    extra = len(own) - len(wanted.shape)
    for declared, actual in zip(wanted.strides, own[extra:], strict=False):
        known = values.setdefault(declared, actual) if isinstance(declared, Var) else declared
        if linear(known, ranges).key != linear(actual, ranges).key:
            what = f"{wanted.name} of the implementation has the stride {declared!r}, {buffer.name} {actual!r}"
            raise refusal(func, "tensorize.P6", what, marks, "make the stride a variable")
    offset = _offset(start, own, ranges)
    declared_offset = wanted.elem_offset
    if isinstance(declared_offset, Const) and (offset is None or offset.number() != int(declared_offset)):
        what = f"{wanted.name} of the implementation begins at element {declared_offset!r} of its memory"
        raise refusal(func, "tensorize.P6", what, marks, "make the offset a variable")
    factor = wanted.offset_factor
    if factor > 1 and (offset is None or any(k % factor for k in (offset.constant, *offset.terms.values()))):
        what = f"the region of {buffer.name} is not known to begin at a multiple of {factor} elements"
        raise refusal(func, "tensorize.P6", what, marks, "pad the buffer, or leave offset_factor out")


def _offset(start: Sequence[Linear], strides: Sequence[Expr], ranges: Ranges) -> Linear | None:
    """Elements before the region; None when the strides are no numbers."""
    total = Linear()
    for form, stride in zip(start, strides, strict=True):
        step = linear(stride, ranges).number()
        if step is None:
            return None
        total = total + form.scale(step)
    return total


def row_major_strides(buffer: Buffer) -> tuple[Expr, ...]:
    """Elements between neighbours along each dimension."""
    if buffer.strides:
        return buffer.strides
    strides: list[Expr] = [const(1, "int32")] * len(buffer.shape)
    for axis in reversed(range(len(buffer.shape) - 1)):
        strides[axis] = buffer.shape[axis + 1] * strides[axis + 1]
    return tuple(strides)


# ---- the implementation in the block's place


def build_tensorize(func: PrimFunc, facts: TensorizeFacts) -> Result:
    """The block with the implementation as its body."""
    impl = _copy(facts.impl)
    matches = tuple([MatchBufferRegion(buffer, region) for buffer, region in
                     zip(impl.buffers, facts.regions, strict=True)])  # fmt: skip
    realize = block_of(facts.func, facts.token)
    old, root = realize.block, impl.root
    body = _inlined(root.body, {buffer for buffer in impl.buffers if buffer.elem_offset is None})
    used = {region.buffer for region in facts.regions}
    used |= set(buffers_used(old.init)) if old.init is not None else set()
    kept = tuple([buffer for buffer in old.alloc_buffers if buffer in used])
    block: Block = replace(
        old, body=body, match_buffers=matches, alloc_buffers=(*kept, *root.alloc_buffers),
        annotations=old.annotations.updated(dict(root.annotations)),
    )  # fmt: skip
    return replace_at(facts.func, {realize: replace(realize, block=block)}), ()


def _copy(impl: PrimFunc) -> PrimFunc:
    """The implementation with variables and buffers of its own."""
    own = {var: Var(var.name, var.type) for var in impl.shape_vars()}
    return fresh(substitute(impl, own))


def _inlined(body: Stmt, begin_anywhere: set[Buffer]) -> Stmt:
    """``body`` where pointers of buffers that were parameters count from where the regions begin."""

    def exchange(node: Node) -> Node | None:
        if isinstance(node, Call) and node.op == "tvm_access_ptr":
            origin = _origin(node.args[1], begin_anywhere)
            if origin is not None:
                first = call("buffer_offset", origin)
                start = node.args[2]
                moved = first if isinstance(start, Const) and int(start) == 0 else first + start
                data = call("buffer_data", origin)
                return replace(node, args=(node.args[0], data, moved, *node.args[3:]))
        origin = _origin(node, begin_anywhere)
        return None if origin is None else call("address_of", origin)

    return rewrite(exchange, body)


def _origin(node: Any, buffers: set[Buffer]) -> BufferLoad | None:
    """The first element of the buffer whose memory ``node`` is, if it is one of ``buffers``."""
    if isinstance(node, Call) and node.op in ("buffer_data", "address_of") and isinstance(node.args[0], BufferLoad):
        load = node.args[0]
        if load.buffer in buffers and (node.op == "buffer_data" or _is_origin(load)):
            return load
    return None


def _is_origin(load: BufferLoad) -> bool:
    return all(isinstance(i, Const) and int(i) == 0 for i in load.indices)


def consumed(func: PrimFunc, block_or_loop: Handle, **_: Any) -> set[Handle]:
    """The loops and blocks that the implementation takes the place of, the given loop among them."""
    root = loop_of(func, block_or_loop) if isinstance(block_or_loop, Var) else block_of(func, block_or_loop).block.body
    gone: set[Handle] = set()
    stack: list[Stmt] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, For):
            gone.add(node.loop_var)
        if isinstance(node, BlockRealize):  # its init stays, as the one of the block around
            gone.add(node.block.token)
            stack.append(node.block.body)
        else:
            stack.extend(stmt_children(node))
    return gone


# ---- arguments for the property test: a block described by itself


def draw_tensorize(pick: Pick, func: PrimFunc) -> dict[str, Any] | None:
    """A loop or a block, and an intrinsic made from it, registered under :data:`DRAWN`."""
    blocks = [token for token, realize in index(func).blocks.items() if realize is not func.body]
    options: list[Handle] = [*index(func).loops, *blocks]
    if not options:
        return None
    target = pick(options)
    try:
        described = _described(func, target, wild(pick))
    except ScheduleError:
        return None
    if described is None:
        return None
    impl = _strided(described, pick)
    # A name by content, so that a trace means the same after other draws; few names, so that memory stays bounded.
    number = int(hashlib.sha1((described.script() + impl.script()).encode()).hexdigest(), 16) % 4096
    TensorIntrin.register(f"{DRAWN}.{number}", described, impl, override=True)
    return {"block_or_loop": target, "tensor_intrin": f"{DRAWN}.{number}"}


def _described(func: PrimFunc, target: Handle, wider: bool = False) -> PrimFunc | None:
    """The body of a block as a function of the regions that it uses; None when it is about something else, too.
    ``wider``: of regions with one element more along each dimension, as of tiles that are used in part.
    """
    if isinstance(target, Var):
        func, (token,) = build_blockize(func, plan_blockize(func, target))
    else:
        token = target
    block = block_of(func, token).block  # type: ignore[arg-type]
    if block.match_buffers or block.alloc_buffers:
        return None
    params: dict[Buffer, Buffer] = {}
    starts: dict[Buffer, tuple[Expr, ...]] = {}
    for region in (*block.reads, *block.writes):
        if region.buffer in params:
            continue
        if not all(isinstance(r.extent, Const) for r in region.region):
            return None
        shape = tuple([r.extent + 1 if wider else r.extent for r in region.region])
        params[region.buffer] = Buffer(region.buffer.name, shape, region.buffer.type, region.buffer.scope)
        starts[region.buffer] = tuple([r.min for r in region.region])
    ranges = iterator_ranges(block.iter_vars)
    body = _over_regions(fresh(block.body), params, starts, ranges)
    bound = {var for node in walk(body) for var in _bound(node)}
    used = buffers_used(body)
    if variables(body) - bound or any(p not in used for p in params.values()) or not _touches(body, params):
        return None
    desc = PrimFunc(tuple(params.values()), BlockRealize((), (), make_block("root", body)))
    return desc if not set(used) - set(params.values()) - _allocated(body) else None


def _over_regions(
    body: Stmt, params: dict[Buffer, Buffer], starts: dict[Buffer, tuple[Expr, ...]], ranges: Ranges
) -> Stmt:
    def moved(buffer: Buffer, indices: Sequence[Expr]) -> tuple[Expr, ...]:
        return tuple([simplify(i - s, ranges) for i, s in zip(indices, starts[buffer], strict=True)])

    def exchange(node: Node) -> Node | None:
        if isinstance(node, BufferLoad | BufferStore) and node.buffer in params:
            return replace(node, buffer=params[node.buffer], indices=moved(node.buffer, node.indices))
        if isinstance(node, BufferRegion) and node.buffer in params:
            pairs = zip(node.region, moved(node.buffer, [r.min for r in node.region]), strict=True)
            return BufferRegion(params[node.buffer], tuple([Range(low, r.extent) for r, low in pairs]))
        return None

    return rewrite(exchange, body)


def _bound(node: Node) -> list[Var]:
    if isinstance(node, For):
        return [node.loop_var]
    return [item.var for item in node.iter_vars] if isinstance(node, Block) else []


def _allocated(body: Stmt) -> set[Buffer]:
    return {buffer for node in walk(body) if isinstance(node, Block) for buffer in node.alloc_buffers}


def _touches(body: Stmt, params: dict[Buffer, Buffer]) -> bool:
    """Are all parameters loaded or stored somewhere (not only named in a region)?"""
    touched = {node.buffer for node in walk(body) if isinstance(node, BufferLoad | BufferStore)}
    return touched >= set(params.values())


def _strided(desc: PrimFunc, pick: Pick) -> PrimFunc:
    """The description as an implementation: for buffers of any strides, its innermost blocks' iterators as they are."""
    copy = fresh(desc)
    symbolic = pick([True, False])
    new: dict[Buffer, Buffer] = {}
    for buffer in copy.buffers:
        strides = tuple([Var(f"{buffer.name}_s{d}") for d in range(len(buffer.shape))]) if symbolic else ()
        new[buffer] = replace(buffer, strides=strides)
    return replace_buffers(copy, new)


TENSORIZE = register(
    Primitive(
        "tensorize",
        {
            "P1": "there is such a tensor intrinsic",
            "P2": "the loop can be made a block; the block is not the root block and matches no buffers",
            "P3": "the block is what the description says",
            "P4": "each parameter stands for a region; one that is written shares its buffer with no other",
            "P5": "the regions are inside their buffers",
            "P6": "strides, offsets and alignment are what the implementation asks for",
        },
        plan_tensorize,
        build_tensorize,
        draw_tensorize,
        consumed,
        attributes=("tensor_intrin", "preserve_unit_iters"),
    )
)
