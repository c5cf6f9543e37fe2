"""StaticPlanMemory: where the values between the calls of a graph function lie, said before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlcref import dtype as dt
from mlcref.arith import same_info
from mlcref.errors import MlcrefError, UnsupportedError, WellformedError
from mlcref.ir import constant, graph
from mlcref.ir.base import Node
from mlcref.ir.function import IRModule, PrimFunc
from mlcref.ir.names import unique_name
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.relax.in_place import in_place_inputs, in_place_program
from mlcref.relax.rewriter import Rewriter, callee_of, graph_functions, inputs_of, key_of
from mlcref.relax.wellformed import wellformed_graph
from mlcref.runtime.memory_plan import Lifetime, least_memory, plan_memory, rounded

MEMORY_PLAN = "memory_plan"
"""The attribute of a graph function that holds its plan."""

_CALLS = (graph.CALL_TIR, graph.CALL_DPS_PACKED)


class StaticPlanMemory(Pass):
    """Plan the memory of what graph functions keep between their calls of tensor programs.

    A function gets the attribute ``memory_plan``: the ``bytes`` of one block, the ``offsets`` in it of its values, and
    the values that are written ``in_place`` of another one, which is not needed any more. A call is ``in_place`` where
    the accesses of its program prove that this changes nothing (:func:`~mlcref.relax.in_place.in_place_inputs`). Values
    that the function returns have memory of their own, those that are written over by one of them share that.

    The compiler makes programs that write over an input for such calls, and plans every module that has no plan. Plan
    scheduled programs: whether an input may be overwritten depends on the schedule. In functions with symbolic extents
    only ``in_place`` is known; their offsets are chosen at the first call with arguments of some shape. Source:
    ``relax.transform.StaticPlanBlockMemory``, which says the same with bindings (``R.memory.alloc_storage``).

    >>> list(StaticPlanMemory()(IRModule({})).functions)
    []
    """

    info = PassInfo(0, "StaticPlanMemory")

    def __init__(self, in_place: bool = True) -> None:
        self.in_place = in_place

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the attributes; variables of one name get names of their own. Raises
        ``WellformedError`` for a graph that breaks an invariant."""
        wellformed_graph(mod)
        result = mod.clone()
        for name, func in graph_functions(mod).items():
            named = _UniqueNames(mod).function(func)
            plan = _planned(mod, named, self.in_place)
            result.update_func(name, named.with_attr(MEMORY_PLAN, _attribute(plan)))
        return result


@dataclass(frozen=True, slots=True)
class PlannedValue:
    """A value that a graph function keeps between its calls, ``size`` bytes from call ``first`` to call ``last``.

    ``over`` is the value whose memory it is written over, ``offset`` where it lies in the block; None for what is
    returned.
    """

    name: str
    size: int
    first: int
    last: int
    offset: int | None
    over: str | None = None


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The plan of one graph function: its ``values`` and the ``bytes`` of the block that they share.

    ``least`` is the lower bound: what is alive at once at some call, values that share memory in place counted once.
    """

    values: tuple[PlannedValue, ...]
    bytes: int
    least: int

    @property
    def total(self) -> int:
        """The bytes of all values, each in memory of its own."""
        return sum(rounded(value.size) for value in self.values if value.offset is not None)

    @property
    def ratio(self) -> float:
        """``bytes`` over ``least``."""
        return self.bytes / self.least if self.least else 1.0


def memory_plan(mod: IRModule, func_name: str = "main", in_place: bool = True) -> MemoryPlan:
    """The plan of the graph function ``func_name``, whose extents are numbers.

    Raises ``UnsupportedError`` (rule ``graph.plan``) for one with symbolic extents, ``MlcrefError`` where there is no
    such function.

    >>> from mlcref import relax
    >>> bb = relax.BlockBuilder()
    >>> x = relax.Var("x", relax.TensorStructInfo((16,), "float32"))
    >>> with bb.function("main", [x]):
    ...     with bb.dataflow():
    ...         out = bb.emit_output(relax.op.exp(bb.emit(relax.op.sin(bb.emit(relax.op.exp(x))))))
    ...     bb.emit_func_output(out)
    >>> legal = relax.transform.LegalizeOps()(bb.get())
    >>> memory_plan(legal, in_place=False).bytes, memory_plan(legal).bytes
    (128, 0)
    """
    func = mod.functions.get(func_name)
    if not isinstance(func, graph.Function):
        raise MlcrefError(f"the module has no graph function {func_name!r}", rule="graph.plan")
    return _memory_plan(_planned(mod, _UniqueNames(mod).function(func), in_place))


def in_place_calls(mod: IRModule, func: graph.Function) -> dict[graph.Var, int]:
    """What the plan of ``func`` says: the variables whose values are written over an input of the call that makes
    them, with the position of the input.

    Raises ``WellformedError`` (rule ``graph.plan``) for a plan that the function does not have any more.
    """
    said: Mapping[str, str] = func.attrs.get(MEMORY_PLAN, {}).get("in_place", {})
    if not said:
        return {}
    storage = _planned(mod, func, in_place=True).may
    found = {
        var: position for var, choices in storage.items() for position, over in choices
        if said.get(var.name_hint) == over.name_hint
    }  # fmt: skip
    names = [var.name_hint for var in found]
    if sorted(names) != sorted(said):
        stale = ", ".join(sorted(set(said) - set(names))) or "several variables of one name"
        raise WellformedError(
            f"{func.name}: the memory plan does not fit the function: {stale}", rule="graph.plan", root=func,
            hint="run StaticPlanMemory last, on scheduled programs",
        )  # fmt: skip
    return found


def in_place_name(mod: IRModule, name: str, position: int) -> str:
    """What the program ``name`` of ``mod`` is called where its result is written over input ``position``."""
    return unique_name(f"{name}_in_place_{position}", mod.functions)


def programs_to_compile(mod: IRModule) -> dict[str, PrimFunc]:
    """The tensor programs of ``mod``, and those that its plans call for; without those that are only needed in place.

    >>> programs_to_compile(IRModule({}))
    {}
    """
    plain, planned = dict[PrimFunc, None](), dict[tuple[PrimFunc, int], None]()
    for func in graph_functions(mod).values():
        over = in_place_calls(mod, func)
        for binding in func.bindings():
            program = callee_of(mod, binding.value)
            if program is not None and binding.var in over:
                planned[program, over[binding.var]] = None
            elif program is not None:
                plain[program] = None
    replaced = {program for program, _ in planned} - set(plain)
    made = {name: program for name, program in mod.prim_funcs().items() if program not in replaced}
    for program, position in planned:
        made[in_place_name(mod, key_of(mod, program), position)] = in_place_program(program, position)
    return made


class _UniqueNames(Rewriter):
    """Gives each variable of a function a name of its own."""

    def __init__(self, module: IRModule) -> None:
        super().__init__(module)
        self.names: set[str] = set()

    def function(self, func: graph.Function) -> graph.Function:
        self.names = {param.name_hint for param in func.params}
        hints = [var.name_hint for var in (*func.params, *(binding.var for binding in func.bindings()))]
        return func if len(hints) == len(set(hints)) else super().function(func)

    def binding(self, binding: graph.VarBinding) -> Iterable[graph.VarBinding]:
        var = binding.var
        if var.name_hint in self.names:
            kind = graph.DataflowVar if isinstance(var, graph.DataflowVar) else graph.Var
            self.values[var] = var = kind(unique_name(var.name_hint, self.names), var.struct_info)
        self.names.add(var.name_hint)
        return [graph.VarBinding(var, binding.value)]


@dataclass(eq=False)
class _Value:
    """A tensor that a call makes: the variable that stands for it, and the calls between which it is needed."""

    name: str
    info: graph.TensorStructInfo
    first: int
    last: int
    var: graph.Var | None = None
    over: _Value | None = None
    returned: bool = False

    def origin(self) -> _Value:
        """The value whose memory it is in."""
        found = self
        while found.over is not None:
            found = found.over
        return found


@dataclass
class _Plan:
    """The values of a function in order; what may be written over what: variables with positions of inputs."""

    values: list[_Value] = field(default_factory=list)
    may: dict[graph.Var, list[tuple[int, graph.Var]]] = field(default_factory=dict)


def _planned(module: IRModule, func: graph.Function, in_place: bool) -> _Plan:
    plan, held, steps = _Plan(), dict[graph.Var, Any](), list[tuple[graph.Binding, list[_Value]]]()
    for binding in func.bindings():
        value = binding.value
        if not isinstance(value, graph.Call):
            held[binding.var] = _held(value, held)
            continue
        number, used = len(steps), list(_leaves([_held(arg, held) for arg in value.args if not _is_callee(arg)]))
        for item in used:
            item.last = number
        if value.op not in _CALLS:  # of another graph function: what it returns may be one of these
            held[binding.var] = used
            for item in used:
                item.returned = True
        else:
            made = _made(binding, number)
            held[binding.var] = made[0] if isinstance(value.sinfo_args[0], graph.TensorStructInfo) else tuple(made)
            plan.values += made
        steps.append((binding, used))
    for item in _leaves([_held(func.body.body, held)]):
        item.returned = True
    by_var = {item.var: item for item in plan.values}
    for number, (binding, used) in enumerate(steps):
        made_here = by_var.get(binding.var)
        if made_here is not None:
            _choose(module, binding, made_here, used, number, plan, held, in_place)
    return plan


def _choose(
    module: IRModule, binding: graph.Binding, made: _Value, used: list[_Value], number: int, plan: _Plan,
    held: Mapping[graph.Var, Any], in_place: bool,
) -> None:  # fmt: skip
    """Find the inputs that the value of ``binding`` may be written over, and take the first one."""
    for position, item in _dying(module, binding, used, number, held):
        if item.var is not None and same_info(item.info, made.info):
            plan.may.setdefault(binding.var, []).append((position, item.var))
            if in_place and made.over is None:
                made.over = item


def _dying(
    module: IRModule, binding: graph.Binding, used: list[_Value], number: int, held: Mapping[graph.Var, Any]
) -> Iterator[tuple[int, _Value]]:
    """The inputs, with their positions, that may be overwritten: nothing needs them after this call."""
    call, program = binding.value, callee_of(module, binding.value)
    if program is None or not isinstance(call, graph.Call):
        return
    inputs = inputs_of(call)
    for position in in_place_inputs(program):
        item = _held(inputs[position], held) if position < len(inputs) else None
        if isinstance(item, _Value) and item.last == number and not item.returned and used.count(item) == 1:
            yield position, item


def _made(binding: graph.Binding, number: int) -> list[_Value]:
    """The tensors that a call makes."""
    call = binding.value
    assert isinstance(call, graph.Call)
    infos = graph.destinations(call.sinfo_args[0])
    single = isinstance(call.sinfo_args[0], graph.TensorStructInfo)
    name = binding.var.name_hint
    return [
        _Value(name if single else f"{name}[{i}]", info, number, number, binding.var if single else None)
        for i, info in enumerate(infos) if isinstance(info, graph.TensorStructInfo)
    ]  # fmt: skip


def _is_callee(arg: Node) -> bool:
    return not isinstance(arg, graph.GraphExpr) or isinstance(arg, graph.ExternFunc)


def _held(node: Node, held: Mapping[graph.Var, Any]) -> Any:
    """The values that ``node`` stands for: one, a tuple of such, a list for one of some, or None for what the function
    does not make."""
    if isinstance(node, graph.Var):
        return held.get(node)
    if isinstance(node, graph.Tuple):
        return tuple([_held(item, held) for item in node.fields])
    if isinstance(node, graph.TupleGetItem):
        whole = _held(node.tuple_value, held)
        return whole[node.index] if isinstance(whole, tuple) else whole
    return None


def _leaves(item: Any) -> Iterator[_Value]:
    if isinstance(item, _Value):
        yield item
    elif isinstance(item, tuple | list):
        for part in item:
            yield from _leaves(part)


def _memory_plan(plan: _Plan) -> MemoryPlan:
    """Offsets for the values of a function whose extents are numbers."""
    groups: dict[_Value, list[_Value]] = {}
    for value in plan.values:
        groups.setdefault(value.origin(), []).append(value)
    placed = {origin: members for origin, members in groups.items() if not any(item.returned for item in members)}
    lifetimes = [Lifetime(_bytes(o), o.first, max(item.last for item in members)) for o, members in placed.items()]
    offsets, total = plan_memory(lifetimes)
    at = dict(zip(placed, offsets, strict=True))
    values = tuple([
        PlannedValue(value.name, _bytes(value), value.first, value.last, at.get(value.origin()),
                     value.over.name if value.over is not None else None)
        for value in plan.values
    ])  # fmt: skip
    return MemoryPlan(values, total, least_memory(lifetimes))


def _bytes(value: _Value) -> int:
    extents = [constant(extent) for extent in graph.extents_of(value.info)]
    known = [int(extent) for extent in extents if extent is not None]
    if len(known) < len(extents):
        raise UnsupportedError(
            f"{value.name} has symbolic extents: its size is known when it is called", rule="graph.plan",
            hint="bind the sizes first",
        )  # fmt: skip
    return math.prod(known) * dt.numpy_dtype(value.info.dtype).itemsize


def _is_static(plan: _Plan) -> bool:
    return all(constant(extent) is not None for value in plan.values for extent in graph.extents_of(value.info))


def _attribute(plan: _Plan) -> dict[str, Any]:
    """The plan as the attribute of its function."""
    over = {value.name: value.over.name for value in plan.values if value.over is not None}
    if not _is_static(plan):
        return {"in_place": over}
    made = _memory_plan(plan)
    offsets = {value.name: value.offset for value in made.values if value.offset is not None}
    return {"bytes": made.bytes, "offsets": offsets, "in_place": over}
