"""Which calls of a dataflow block become one, and the functions that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mlcref.ir import graph, structural_equal
from mlcref.ir.base import NO_ATTRS
from mlcref.ir.expr import Var as Dimension
from mlcref.ir.function import GlobalVar, IRModule
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.ir.visit import variables, walk
from mlcref.relax.fuse_tir import PRIMITIVE, can_be_fused, index_type
from mlcref.relax.op_pattern import OP_PATTERN, OpPatternKind
from mlcref.relax.rewriter import Rewriter, callee_of, inputs_of, key_of

_MOST = 256
"""Calls of one group."""


class FuseOps(Pass):
    """Put calls of tensor programs that can be one program into graph functions of their own.

    Programs say what kind they are (``AnnotateTIROpPattern``). A sum of products takes what follows it element by
    element; elementwise programs and broadcasts join what uses them; injective ones join each other. A group has one
    result that is used outside; constants are its arguments. The new functions have the attribute ``Primitive``, and
    groups that are the same share one; ``FuseTIR`` makes tensor programs of them. Calls with scalars, several results,
    or programs that cannot be joined (such as those with indices of different types) stay as they are. Source:
    ``relax.transform.FuseOps``.

    >>> list(FuseOps()(IRModule({})).functions)
    []
    """

    info = PassInfo(0, "FuseOps")

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the functions, which are called instead."""
        return _Fuse(mod).rewritten()


@dataclass(eq=False)
class _Call:
    """A call of a dataflow block: its binding, its kind (opaque: on its own), its place, the type of its program's
    indices, and what uses it.

    ``users`` is empty for what the block returns. ``leader`` is another call of its group, or itself."""

    binding: graph.Binding
    kind: OpPatternKind
    number: int
    index: str = ""
    users: list[tuple[_Call, OpPatternKind]] = field(default_factory=list)
    leader: _Call | None = None
    size: int = 1

    def group(self) -> _Call:
        """What stands for the group: its last call."""
        found = self
        while found.leader is not None:
            found = found.leader
        return found


class _Fuse(Rewriter):
    def __init__(self, module: IRModule) -> None:
        super().__init__(module)
        self.made: dict[str, list[str]] = {}

    def function(self, func: graph.Function) -> graph.Function:
        if PRIMITIVE in func.attrs:
            return func
        blocks = [self.block(block, func) if isinstance(block, graph.DataflowBlock) else block
                  for block in func.body.blocks]  # fmt: skip
        return graph.Function(
            func.params, graph.SeqExpr(tuple(blocks), func.body.body), func.ret_struct_info, func.attrs
        )

    def block(self, block: graph.DataflowBlock, func: graph.Function) -> graph.DataflowBlock:
        calls = _calls(block, self.module)
        for phase in (0, 1):
            _fuse(calls, phase)
        groups: dict[_Call, list[_Call]] = {}
        for call in calls:
            groups.setdefault(call.group(), []).append(call)
        last = {members[-1].binding.var: members for members in groups.values() if len(members) > 1}
        inside = {call.binding.var for members in last.values() for call in members[:-1]}
        made = [self.fused(last[b.var]) if b.var in last else b for b in block.bindings if b.var not in inside]
        return graph.DataflowBlock(tuple(made))

    def fused(self, members: list[_Call]) -> graph.VarBinding:
        """The call of a new function that holds the calls of a group."""
        params: dict[object, tuple[graph.Var, graph.GraphExpr]] = {}
        own: dict[graph.Var, graph.Var] = {}
        bindings: list[graph.VarBinding] = []
        for member in members:
            call = member.binding.value
            assert isinstance(call, graph.Call)
            given = [self.operand_of(item, own, params) for item in inputs_of(call)]
            var, is_last = member.binding.var, member is members[-1]
            new = (graph.Var if is_last else graph.DataflowVar)(var.name_hint, var.struct_info)
            own[var] = new
            value = graph.Call(call.op, (call.args[0], graph.Tuple(given)), call.attrs, call.sinfo_args)
            bindings.append(graph.VarBinding(new, value))
        result = bindings[-1].var
        body = graph.SeqExpr((graph.DataflowBlock(tuple(bindings)),), result)
        func = graph.Function(
            tuple([param for param, _ in params.values()]), body, result.struct_info, NO_ATTRS.updated({PRIMITIVE: 1})
        )
        name = self.shared("_".join(["fused", *[self.name_of(member) for member in members]]), func)
        args = tuple([value for _, value in params.values()])
        last = members[-1].binding.var
        return graph.VarBinding(last, graph.Call(GlobalVar(name), args, NO_ATTRS, (last.struct_info,)))

    def shared(self, hint: str, func: graph.Function) -> str:
        """The name of a function that was made before and is the same, else the one that ``func`` gets."""
        known = self.made.setdefault(hint, [])
        name = next((name for name in known if structural_equal(self.result[name], func)), None)
        if name is None:
            name = self.add(hint, func)
            known.append(name)
        return name

    def operand_of(
        self, item: graph.GraphExpr, own: dict[graph.Var, graph.Var],
        params: dict[object, tuple[graph.Var, graph.GraphExpr]],
    ) -> graph.Var:  # fmt: skip
        """What ``item`` is in the function: a result of another call of it, or a parameter."""
        if isinstance(item, graph.Var) and item in own:
            return own[item]
        key = item if isinstance(item, graph.Var) else id(item)
        if key not in params:
            hint = item.name_hint if isinstance(item, graph.Var) else f"constant_{len(params)}"
            params[key] = graph.Var(hint, item.struct_info), item
        return params[key][0]

    def name_of(self, member: _Call) -> str:
        program = callee_of(self.module, member.binding.value)
        assert program is not None
        return key_of(self.module, program)


def _calls(block: graph.DataflowBlock, module: IRModule) -> list[_Call]:
    """The bindings of a block with their kinds and uses."""
    calls: list[_Call] = []
    by_var: dict[graph.Var, _Call] = {}
    for number, binding in enumerate(block.bindings):
        program = callee_of(module, binding.value)
        call = _Call(binding, _kind(binding, module), number, index_type(program) if program is not None else "")
        for var in {node: None for node in walk(binding.value) if isinstance(node, graph.Var)}:
            if var in by_var:
                by_var[var].users.append((call, _edge(var, call)))
        calls.append(call)
        by_var[binding.var] = call
    return calls


def _kind(binding: graph.Binding, module: IRModule) -> OpPatternKind:
    program, value = callee_of(module, binding.value), binding.value
    if program is None or not isinstance(value, graph.Call) or len(value.args) > 2:
        return OpPatternKind.OPAQUE
    inputs, info = inputs_of(value), binding.var.struct_info
    tensors = [info, *[item.struct_info for item in inputs]]
    if not all(isinstance(item, graph.TensorStructInfo) and item.shape is not None for item in tensors):
        return OpPatternKind.OPAQUE
    if not can_be_fused(program, len(inputs)) or _loose_dimensions(binding.var, inputs):
        return OpPatternKind.OPAQUE
    return OpPatternKind(program.attrs.get(OP_PATTERN, OpPatternKind.OPAQUE))


def _loose_dimensions(result: graph.Var, inputs: Iterable[graph.GraphExpr]) -> bool:
    """Does the call mention dimensions that no extent of its inputs is by itself?"""
    given = [extent for item in inputs for extent in graph.extents_of(item.struct_info)]
    bound = {extent for extent in given if isinstance(extent, Dimension)}
    extents = [*given, *graph.extents_of(result.struct_info)]
    return any(variables(extent) - bound for extent in extents)


def _edge(var: graph.Var, user: _Call) -> OpPatternKind:
    """How ``user`` reads ``var``: a broadcast of a tensor of the shape of its result is elementwise."""
    if user.kind != OpPatternKind.BROADCAST:
        return user.kind
    own, result = list(graph.extents_of(var.struct_info)), list(graph.extents_of(user.binding.var.struct_info))
    return OpPatternKind.ELEM_WISE if list(map(str, own)) == list(map(str, result)) else user.kind


def _fuse(calls: list[_Call], phase: int) -> None:
    """One phase: first sums of products and what is elementwise, then injective programs.

    Source: ``GraphPartitioner`` of TVM.
    """
    dominators = _dominators(calls)
    for call in calls:
        if call.kind == OpPatternKind.OPAQUE or call not in dominators:
            continue
        parent, reads = dominators[call]
        if call.group() is parent.group() or parent.group().size + call.group().size > _MOST:
            continue
        if _joins(call, parent, reads, phase):
            for member in [call, *_between(call, parent)]:
                _join(member.group(), parent.group())


def _joins(call: _Call, parent: _Call, reads: OpPatternKind, phase: int) -> bool:
    """Do ``call`` and all on the way to ``parent``, which everything that uses it leads to, become one group?"""
    kind = call.kind
    if any(other.index != call.index for other in (parent, *_between(call, parent))):
        return False
    way = [other.group().kind for other in _between(call, parent)]
    sink = parent.group().kind
    if kind == OpPatternKind.OUT_EWISE_FUSABLE:
        element_wise = reads == OpPatternKind.ELEM_WISE and max([*way, sink]) <= OpPatternKind.BROADCAST
        return phase == 0 and element_wise
    if kind <= OpPatternKind.BROADCAST:
        wanted = reads <= OpPatternKind.INJECTIVE or reads == OpPatternKind.COMM_REDUCE
        return wanted and max(way, default=kind) <= OpPatternKind.INJECTIVE and sink != OpPatternKind.OPAQUE
    if kind == OpPatternKind.INJECTIVE:
        return phase == 1 and max([*way, sink]) <= OpPatternKind.INJECTIVE
    return False


def _join(group: _Call, into: _Call) -> None:
    """One group of two: its last call stands for it, and is one with a sum of products where the group has such."""
    if group is into:
        return
    first, last = sorted((group, into), key=lambda call: call.number)
    if first.kind == OpPatternKind.OUT_EWISE_FUSABLE:
        last.kind = first.kind
    last.size += first.size
    first.leader = last


def _dominators(calls: list[_Call]) -> dict[_Call, tuple[_Call, OpPatternKind]]:
    """For each call the first one that all ways from it lead through, and the largest kind on these ways.

    What the block returns, or nothing uses, has none.
    """
    found: dict[_Call, tuple[_Call, OpPatternKind]] = {}
    depth: dict[_Call, int] = {}
    for call in reversed(calls):
        depth[call] = 1
        if not call.users or not isinstance(call.binding.var, graph.DataflowVar):
            continue
        (parent, reads), *others = call.users
        meeting: _Call | None = parent
        for user, kind in others:
            meeting, reads = _meeting(meeting, user, max(reads, kind), found, depth)
            if meeting is None:
                break
        if meeting is not None:
            found[call] = meeting, reads
            depth[call] = depth[meeting] + 1
    return found


def _meeting(
    a: _Call | None, b: _Call | None, reads: OpPatternKind, found: dict[_Call, tuple[_Call, OpPatternKind]],
    depth: dict[_Call, int],
) -> tuple[_Call | None, OpPatternKind]:  # fmt: skip
    """The first call that the ways from ``a`` and from ``b`` both lead through."""
    while a is not b:
        if a is None or b is None:
            return None, reads
        if depth[a] < depth[b]:
            a, b = b, a
        step = found.get(a)
        if step is None:
            return None, reads
        a, reads = step[0], max(reads, step[1])
    return a, reads


def _between(call: _Call, parent: _Call) -> Iterator[_Call]:
    """All calls on ways from ``call`` to ``parent``, without these two."""
    seen: set[_Call] = set()
    ahead = [user for user, _ in call.users]
    while ahead:
        other = ahead.pop()
        if other is not parent and other not in seen:
            seen.add(other)
            yield other
            ahead += [user for user, _ in other.users]
