"""What each pass over graphs does beside keeping the meaning: of a module before and after, what is not so; else None.

A pass that does nothing keeps every meaning. These are the sentences of docs/relax.md, as predicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from mlcref.interp import interpret
from mlcref.ir import IRModule, PrimFunc, Var, blocks_in, constant, graph, structural_equal
from mlcref.ir.base import Node
from mlcref.ir.function import GlobalVar
from mlcref.ir.graph_ops import operator_of
from mlcref.ir.visit import walk
from mlcref.relax.analysis import get_var2val
from mlcref.relax.dpl import DFPattern
from mlcref.relax.fuse_tir import can_be_fused, index_type
from mlcref.relax.op_pattern import OP_PATTERN, OpPatternKind
from mlcref.relax.rewriter import callee_of, graph_functions, inputs_of

Promise = Callable[[IRModule, IRModule, Any], str | None]


def _bindings(module: IRModule) -> Iterator[graph.Binding]:
    for func in graph_functions(module).values():
        yield from func.bindings()


def _calls(module: IRModule) -> Iterator[graph.Call]:
    yield from (item.value for item in _bindings(module) if isinstance(item.value, graph.Call))


def _casts(module: IRModule) -> int:
    return sum(isinstance(item, graph.MatchCast) for item in _bindings(module))


def _normalized(before: IRModule, after: IRModule, made: Any) -> str | None:
    def computed(node: Node) -> bool:
        if isinstance(node, graph.Tuple):
            return any(map(computed, node.fields))
        return isinstance(node, graph.Call | graph.TupleGetItem)

    for item in _bindings(after):
        value = item.value
        inside = value.args if isinstance(value, graph.Call) else [getattr(value, "tuple_value", value)]
        if not isinstance(value, graph.Call | graph.TupleGetItem) or not any(map(computed, inside)):
            continue
        return f"an operand of {item.var.name_hint} is computed in its place"
    return None


def _constant(node: Node) -> bool:
    return all(map(_constant, node.fields)) if isinstance(node, graph.Tuple) else isinstance(node, graph.Constant)


def _folded(before: IRModule, after: IRModule, made: Any) -> str | None:
    for call in _calls(after):
        info = call.struct_info
        plain = isinstance(info, graph.TensorStructInfo) and all(constant(e) is not None for e in info.shape or ())
        inputs = inputs_of(call) if callee_of(after, call) is not None else call.args
        known = operator_of(call) is not None or callee_of(after, call) is not None
        shapes = [node for node in inputs if isinstance(node, graph.ShapeExpr)]
        if plain and known and not shapes and len(call.args) == len([*call.args][:2]) and all(map(_constant, inputs)):
            return f"{call!r} is left"
    return None


def _without_dead_code(before: IRModule, after: IRModule, made: Any) -> str | None:
    if _casts(before) != _casts(after):
        return "a match_cast is gone"
    for name, func in graph_functions(after).items():
        used = {node for item in func.bindings() for node in walk(item.value) if isinstance(node, graph.Var)}
        used |= {node for node in walk(func.body.body) if isinstance(node, graph.Var)}
        for block in func.body.blocks:
            for item in block.bindings:
                dataflow = isinstance(block, graph.DataflowBlock) and isinstance(item, graph.VarBinding)
                if dataflow and item.var not in used:
                    return f"{item.var.name_hint} of {name} is not used"
    if made.entry_functions is None and graph_functions(before).keys() - after.functions.keys():
        return "a graph function is gone"
    called = {node.name_hint for item in _bindings(after) for node in walk(item.value) if isinstance(node, GlobalVar)}
    for name, program in after.prim_funcs().items():
        if name not in called and "global_symbol" not in program.attrs:
            return f"nothing calls {name}"
    return None


def _legal(before: IRModule, after: IRModule, made: Any) -> str | None:
    left = next((call for call in _calls(after) if operator_of(call) is not None), None)
    if left is not None:
        return f"{left!r} is left"
    programs = after.prim_funcs()
    for a, b in combinations(programs, 2):
        if structural_equal(programs[a], programs[b]) and _root_of(a) == _root_of(b):
            return f"{a} and {b} are equal"
    return None


def _root_of(name: str) -> str:
    """A name without its number."""
    return name.rstrip("0123456789")


def _bound(before: IRModule, after: IRModule, values: Mapping[str, Any]) -> str | None:
    func = after["main"]
    if any(param.name_hint in values for param in func.params):
        return "a parameter is left"
    dims = {
        extent for param in before["main"].params if param.name_hint in values
        for extent in graph.extents_of(param.struct_info) if isinstance(extent, Var)
    }  # fmt: skip
    for node in walk(func):
        infos = [node.struct_info] if isinstance(node, graph.Var) else []
        if node in dims or any(part in dims for info in infos for e in graph.extents_of(info) for part in walk(e)):
            return "a dimension that a value determines is left"
    return None


# ---- kinds of tensor programs

_PROBES = 4
"""Elements of each input that are changed."""
_KINDS = {
    "negative": OpPatternKind.ELEM_WISE, "abs": OpPatternKind.ELEM_WISE, "add": OpPatternKind.BROADCAST,
    "subtract": OpPatternKind.BROADCAST, "multiply": OpPatternKind.BROADCAST, "maximum": OpPatternKind.BROADCAST,
    "permute_dims": OpPatternKind.INJECTIVE, "strided_slice": OpPatternKind.INJECTIVE,
    "concat": OpPatternKind.INJECTIVE, "reshape": OpPatternKind.INJECTIVE, "split": OpPatternKind.INJECTIVE,
    "sum": OpPatternKind.COMM_REDUCE, "matmul": OpPatternKind.OUT_EWISE_FUSABLE,
}  # fmt: skip
"""The most that a program of an operator is."""


def _annotated(before: IRModule, after: IRModule, made: Any) -> str | None:
    for name, program in after.prim_funcs().items():
        kind = program.attrs.get(OP_PATTERN)
        if kind is None:
            return f"{name} has no kind"
        most = next((most for hint, most in _KINDS.items() if name.startswith(hint)), None)
        known = all(constant(extent) is not None for buffer in program.buffers for extent in buffer.shape)
        if known and most is not None and kind > most:
            return f"{name} is of kind {kind}, {most} is enough"
        reduces = any(item.iter_type == "reduce" for block in blocks_in(program.body) for item in block.iter_vars)
        if known and reduces and most is not None and kind != most:
            return f"{name} is of kind {kind}, not {most}"
        wrong = _reads_too_much(program, OpPatternKind(kind))
        if wrong is not None:
            return f"{name} is of kind {kind}, but {wrong}"
    return None


def _reads_too_much(program: PrimFunc, kind: OpPatternKind) -> str | None:
    """An element of an input that changes others of the result than those that a program of ``kind`` may change."""
    *inputs, out = program.buffers
    shapes = [tuple(constant(extent) or 0 for extent in buffer.shape) for buffer in (*inputs, out)]
    if kind > OpPatternKind.INJECTIVE or program.scalars or any(0 in shape for shape in shapes):
        return None
    if len(program.params) != len(inputs) + 1 or not inputs:
        return None
    arrays = [np.array(np.arange(np.prod(shape)).reshape(shape) * 7 + 11, "int32") for shape in shapes]
    plain = _computed(program, arrays)
    reached = np.zeros((len(inputs), plain.size), int)
    for number, shape in enumerate(shapes[:-1]):
        every = list(np.ndindex(*shape))
        for at in every[:: -(-len(every) // _PROBES)]:
            changed = [array.copy() for array in arrays]
            changed[number][at] += 1000
            places = np.argwhere(_computed(program, changed) != plain)
            same = [_same_place(at, shape, tuple(map(int, place)), plain.shape) for place in places]
            if kind == OpPatternKind.ELEM_WISE and not all(same):
                return f"element {at} of input {number} changes another one"
            if kind == OpPatternKind.BROADCAST and any(not _aligned(shape, at, place) for place in places):
                return f"element {at} of input {number} changes an element of another place"
            for place in places:
                reached[number, np.ravel_multi_index(tuple(place), plain.shape) if plain.ndim else 0] += 1
    return "an element depends on several of an input" if reached.max(initial=0) > 1 else None


def _computed(program: PrimFunc, arrays: list[Any]) -> Any:
    given = [array.copy() for array in arrays]
    interpret(program, *given)
    return given[-1]


def _same_place(at: tuple[int, ...], shape: tuple[int, ...], other: tuple[int, ...], there: tuple[int, ...]) -> bool:
    """Are two elements at one place? Without the dimensions of one element, where their tensors have not as many."""
    return at == other if len(at) == len(other) else _wide(at, shape) == _wide(other, there)


def _wide(at: Any, shape: tuple[int, ...]) -> list[int]:
    """The coordinates of an element in the dimensions of more than one."""
    return [int(coordinate) for coordinate, extent in zip(at, shape, strict=True) if extent > 1]


def _aligned(shape: tuple[int, ...], at: tuple[int, ...], place: Any) -> bool:
    """Do the coordinates of an input's element occur, in order, among those of the result's?"""
    wanted, rest = _wide(at, shape), [int(i) for i in place]
    for coordinate in wanted:
        if coordinate not in rest:
            return False
        rest = rest[rest.index(coordinate) + 1 :]
    return True


# ---- fusion


def _primitive(module: IRModule) -> dict[str, graph.Function]:
    return {name: func for name, func in graph_functions(module).items() if "Primitive" in func.attrs}


def _fused(before: IRModule, after: IRModule, made: Any) -> str | None:
    for name, func in _primitive(after).items():
        values = [item.value for item in func.bindings()]
        if len(values) < 2 or not isinstance(func.body.body, graph.Var):
            return f"{name} is no group of calls with one result"
        if any(isinstance(node, graph.Constant) for node in walk(func)):
            return f"a constant stands in {name}"
        used = {node for value in values for node in walk(value) if isinstance(node, graph.Var)}
        for item in func.bindings():
            program = callee_of(after, item.value)
            kind = OpPatternKind.OPAQUE if program is None else program.attrs.get(OP_PATTERN, OpPatternKind.OPAQUE)
            if kind == OpPatternKind.OPAQUE or (kind == OpPatternKind.COMM_REDUCE and item.var in used):
                return f"{item.var.name_hint} of {name} is of kind {kind}"
        if len({index_type(p) for p in (callee_of(after, value) for value in values) if p is not None}) > 1:
            return f"the programs of {name} cannot be joined"
    for func in graph_functions(after).values():
        if "Primitive" not in func.attrs:
            for block in func.body.blocks:
                left = _apart(after, block) if isinstance(block, graph.DataflowBlock) else None
                if left is not None:
                    return left
    return None


def _apart(module: IRModule, block: graph.BindingBlock) -> str | None:
    """Two elementwise calls, one of which alone uses the other, are one; so is a product with what follows."""
    users: dict[graph.Var, list[graph.Binding]] = {}
    for item in block.bindings:
        for var in {node: None for node in walk(item.value) if isinstance(node, graph.Var)}:
            users.setdefault(var, []).append(item)
    for item in block.bindings:
        first, kind = _joinable(module, item)
        then = users.get(item.var, [])
        if first is None or len(then) != 1 or not isinstance(item.var, graph.DataflowVar):
            continue
        second, other = _joinable(module, then[0])
        same = second is not None and index_type(first) == index_type(second)
        if same and kind in (OpPatternKind.ELEM_WISE, OpPatternKind.OUT_EWISE_FUSABLE) and other == 0:
            return f"{item.var.name_hint} and {then[0].var.name_hint} are apart"
    return None


def _joinable(module: IRModule, item: graph.Binding) -> tuple[PrimFunc | None, int]:
    program, value = callee_of(module, item.value), item.value
    if program is None or not isinstance(value, graph.Call) or len(value.args) > 2:
        return None, -1
    inputs = inputs_of(value)
    extents = [e for v in (item.var, *inputs) for e in graph.extents_of(v.struct_info)]
    plain = all(constant(extent) is not None for extent in extents) and can_be_fused(program, len(inputs))
    return (program, int(program.attrs.get(OP_PATTERN, 8))) if plain else (None, -1)


def _joined(before: IRModule, after: IRModule, made: Any) -> str | None:
    left = next(iter(_primitive(after)), None)
    return None if left is None else f"{left} is no tensor program"


def _by_patterns(before: IRModule, after: IRModule, made: Any) -> str | None:
    constants = sum(isinstance(node, graph.Constant) for func in _composites(after).values() for node in walk(func))
    if constants and not made.bind_constants:
        return "a constant stands in a composite function"
    plain = {pattern.name: pattern.pattern for pattern in made.patterns}
    for name, func in _composites(after).items():
        if "Primitive" not in func.attrs:
            return f"{name} is not marked as primitive"
        if not _is_one_match(func, plain[str(func.attrs["Composite"])]):
            return f"{name} is not what its pattern matches"
    annotated = [func for func in graph_functions(after).values() if "Codegen" in func.attrs]
    if bool(annotated) != bool(made.annotate_codegen and _composites(after)):
        return "functions for libraries are there, or not"
    for func in graph_functions(after).values():
        if any(key in func.attrs for key in ("Composite", "Codegen")):
            continue
        for item in func.bindings():
            for name in ("add", "negative", "sum"):
                pattern = next((p for key, p in plain.items() if key.endswith(f".{name}")), None)
                if pattern is not None and pattern.match(item.value):
                    return f"{item.var.name_hint} matches {name}"
    return None


def _is_one_match(func: graph.Function, pattern: DFPattern) -> bool:
    """Are the calls of ``func`` those of one match?"""
    values = get_var2val(func)
    if any(isinstance(param.struct_info, graph.TensorStructInfo) and "constant" in param.name_hint
           for param in func.params):  # fmt: skip
        return True  # the pattern may have asked for a constant
    for var in reversed(values):
        found = pattern.extract_matched_expr(var, values)
        if found is not None:
            calls = [var for var, value in values.items() if isinstance(value, graph.Call)]
            return all(any(expr is call for expr in found.values()) for call in calls)
    return False


def _composites(module: IRModule) -> dict[str, graph.Function]:
    return {name: func for name, func in graph_functions(module).items() if "Composite" in func.attrs}


def _merged(before: IRModule, after: IRModule, made: Any) -> str | None:
    composites = _composites(after)
    for name, func in graph_functions(after).items():
        called = [str(composites[callee].attrs["Composite"]).partition(".")[0]
                  for callee in _functions_called(func) if callee in composites]  # fmt: skip
        if "Codegen" in func.attrs and set(called) != {func.attrs["Codegen"]}:
            return f"{name} is for {func.attrs['Codegen']} and calls {called}"
        if "Codegen" not in func.attrs and called:
            return f"{name} still calls {called}"
        for block in func.body.blocks:
            left = None if "Codegen" in func.attrs else _libraries_apart(before, after, block)
            if left is not None:
                return left
    return None


def _libraries_apart(before: IRModule, module: IRModule, block: graph.BindingBlock) -> str | None:
    """A call of a new function whose result one other call for the same library uses, and nothing else."""

    def library(item: graph.Binding) -> str | None:
        callee = item.value.op if isinstance(item.value, graph.Call) else None
        if not isinstance(callee, GlobalVar) or callee.name_hint in before.functions:
            return None
        return module.functions[callee.name_hint].attrs.get("Codegen")

    for item in block.bindings:
        users = [other for other in block.bindings if item.var in walk(other.value)]
        local = isinstance(item.var, graph.DataflowVar) and library(item) is not None
        if local and len(users) == 1 and library(users[0]) == library(item):
            return f"{item.var.name_hint} and {users[0].var.name_hint} are apart"
    return None


def _functions_called(func: graph.Function) -> list[str]:
    callees = [item.value.op for item in func.bindings() if isinstance(item.value, graph.Call)]
    return [callee.name_hint for callee in callees if isinstance(callee, GlobalVar)]


def _generated(before: IRModule, after: IRModule, made: Any) -> str | None:
    if any("Codegen" in func.attrs for func in graph_functions(after).values()):
        return "a function for a library is left"
    left = _composites(after).keys() - {name for f in graph_functions(after).values() for name in _functions_called(f)}
    return f"nothing calls {', '.join(left)}" if left else None


PROMISES: Mapping[str, Promise] = {
    "Normalize": _normalized, "FoldConstant": _folded, "DeadCodeElimination": _without_dead_code,
    "LegalizeOps": _legal, "BindParams": _bound, "AnnotateTIROpPattern": _annotated, "FuseOps": _fused,
    "FuseTIR": _joined, "FuseOpsByPattern": _by_patterns, "MergeCompositeFunctions": _merged,
    "RunCodegen": _generated,
}  # fmt: skip
"""By the pass. The third argument is the pass as it was made, for ``BindParams`` the values."""
