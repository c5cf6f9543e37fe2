"""A graph function as a list of its calls, for people: what each computes, of what, and how large the result is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import MlcrefError
from mlcref.ir import Block, PrimFunc, blocks_in, constant, graph
from mlcref.ir.base import Node
from mlcref.ir.function import GlobalVar, IRModule
from mlcref.relax.plan_memory import MEMORY_PLAN
from mlcref.relax.rewriter import callee_of


Names = str | tuple[Any, ...]
"""Of a step or parameter, or of the fields of a tuple."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call: the variable ``name`` that it is bound to, and what it calls (``kind`` is "kernel", "operator",
    "packed" or "function").

    ``inputs`` are names of steps and parameters; constants are left out. ``result`` says types and shapes, ``bytes`` is
    None where an extent is symbolic. ``parts`` are the blocks of a kernel, ``over`` the step whose memory the result
    takes, ``returned`` says that the function gives it back.
    """

    name: str
    call: str
    kind: str
    inputs: tuple[str, ...]
    result: str
    bytes: int | None
    parts: tuple[str, ...] = ()
    over: str | None = None
    returned: bool = False


def graph_steps(mod: IRModule, func_name: str = "main") -> list[Step]:
    """The calls of the graph function ``func_name``, in order.

    Raises ``MlcrefError`` (rule ``graph.show``) where the module has no such function.

    >>> from mlcref import relax
    >>> bb = relax.BlockBuilder()
    >>> x = relax.Var("x", relax.TensorStructInfo((2, 3), "float32"))
    >>> with bb.function("main", [x]):
    ...     bb.emit_func_output(bb.emit(relax.op.add(x, x)))
    >>> [(step.name, step.call, step.inputs, step.result, step.bytes) for step in graph_steps(bb.get())]
    [('gv', 'add', ('x', 'x'), 'float32[2, 3]', 24)]
    """
    func = mod.functions.get(func_name)
    if not isinstance(func, graph.Function):
        known = ", ".join(name for name, other in mod.functions.items() if isinstance(other, graph.Function)) or "none"
        raise MlcrefError(
            f"the module has no graph function {func_name!r}", rule="graph.show", hint=f"its graph functions: {known}"
        )
    names: dict[graph.Var, Names] = {param: param.name_hint for param in func.params}
    over = func.attrs.get(MEMORY_PLAN, {}).get("in_place", {})
    bindings = list(func.bindings())
    for binding in bindings:
        own = isinstance(binding.value, graph.Call)
        names[binding.var] = binding.var.name_hint if own else _named(binding.value, names)
    returned = set(_leaves(_named(func.body.body, names)))
    return [
        _step(mod, binding.var, binding.value, names, over, returned)
        for binding in bindings if isinstance(binding.value, graph.Call)
    ]  # fmt: skip


def _step(
    mod: IRModule, var: graph.Var, call: graph.Call, names: Mapping[graph.Var, Names], over: Mapping[str, str],
    returned: set[str],
) -> Step:  # fmt: skip
    what, kind = _callee(mod, call)
    program = callee_of(mod, call)
    name, info = var.name_hint, var.struct_info
    inputs = tuple([name for arg in call.args for name in _leaves(_named(arg, names))])
    parts = () if program is None else _blocks(program)
    return Step(name, what, kind, inputs, described(info), size_of(info), parts, over.get(name), name in returned)


def _callee(mod: IRModule, call: graph.Call) -> tuple[str, str]:
    """What is called, and its kind."""
    if isinstance(call.op, GlobalVar):
        return call.op.name_hint, "function"
    if call.op not in (graph.CALL_TIR, graph.CALL_DPS_PACKED):
        return (call.op.name.removeprefix("relax.") if isinstance(call.op, graph.Op) else "call"), "operator"
    callee = call.args[0]
    name = callee.name_hint if isinstance(callee, GlobalVar) else getattr(callee, "global_symbol", "call")
    return name, "packed" if callee_of(mod, call) is None else "kernel"


def _named(node: Node, names: Mapping[graph.Var, Names]) -> Names:
    """The name of the step or parameter that ``node`` is, or those of the fields of a tuple."""
    if isinstance(node, graph.Var):
        return names.get(node, ())
    if isinstance(node, graph.Tuple):
        return tuple([_named(field, names) for field in node.fields])
    if isinstance(node, graph.TupleGetItem):
        whole = _named(node.tuple_value, names)
        return whole[node.index] if isinstance(whole, tuple) else whole
    return ()


def _leaves(names: Names) -> Iterator[str]:
    if isinstance(names, str):
        yield names
    else:
        for item in names:
            yield from _leaves(item)


def _blocks(program: PrimFunc) -> tuple[str, ...]:
    root = getattr(program.body, "block", None)
    return tuple([block.name for block in blocks_in(program.body) if block is not root and isinstance(block, Block)])


def described(info: graph.StructInfo) -> str:
    """Type and shape of what a value is: ``float32[2, n]``, tuples in parentheses."""
    if isinstance(info, graph.TupleStructInfo):
        return f"({', '.join(described(field) for field in info.fields)})"
    if isinstance(info, graph.TensorStructInfo) and info.shape is not None:
        known = [constant(extent) for extent in info.shape]
        shown = [str(extent if number is None else number) for extent, number in zip(info.shape, known, strict=True)]
        return f"{info.dtype}[{', '.join(shown)}]"
    return getattr(info, "dtype", None) or "object"


def size_of(info: graph.StructInfo) -> int | None:
    """The bytes of a tensor, or of all tensors of a tuple; None where they depend on symbolic extents."""
    if isinstance(info, graph.TupleStructInfo):
        sizes = [size_of(field) for field in info.fields]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None
    if not isinstance(info, graph.TensorStructInfo) or info.shape is None:
        return None
    extents = [constant(extent) for extent in info.shape]
    numbers = [int(extent) for extent in extents if extent is not None]
    if len(numbers) < len(extents):
        return None
    return math.prod(numbers) * dt.numpy_dtype(info.dtype).itemsize


def between_bytes(steps: list[Step]) -> int | None:
    """The bytes of all results that the function does not return, None where some are not known."""
    sizes = [step.bytes for step in steps if not step.returned]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def fused_from(before: list[Step], after: list[Step]) -> dict[str, list[Step]]:
    """For each step of ``after``, by its name, the steps of ``before`` that it does: those that lead to the value of
    that name, and are no steps of ``after`` themselves.

    Passes keep the name of a value that they compute in another way; steps whose names are not found have none.
    """
    by_name = {step.name: step for step in before}
    kept = {step.name for step in after}
    order = {step.name: number for number, step in enumerate(before)}
    found: dict[str, list[Step]] = {}
    for step in after:
        reached = [step.name] if step.name in by_name else []
        for name in reached:
            reached += [i for i in by_name[name].inputs if i in by_name and i not in kept and i not in reached]
        found[step.name] = [by_name[name] for name in sorted(reached, key=order.__getitem__)]
    return found
