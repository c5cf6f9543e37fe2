"""The harness for passes over graphs: draw a module, run a pass, ask the oracle whether it still means the same.

``python -m mlcref.testing.graph_harness --only graph:FuseOps --examples 200 --seed 0 1 2`` prints the first wrong
example of each seed. A module is a random graph of operators on small integers, with constants, tuples, casts, symbolic
dimensions and several blocks, brought into the form that the pass works on. An example is wrong where the oracle finds
other results, where the module is not well formed or the one that was given has changed, where the pass raises
something, and where it does not do what it is for (:mod:`mlcref.testing.graph_promises`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcref.errors import MlcrefError
from mlcref.interp.graph import interpret_graph
from mlcref.ir import IRModule, constant, graph
from mlcref.ir.transform import Pass
from mlcref.ir.visit import map_children
from mlcref.relax import transform
from mlcref.relax.dpl import is_const, is_op, is_tuple_get_item, wildcard
from mlcref.relax.fuse_tir import fused_program
from mlcref.relax.rewriter import graph_functions
from mlcref.relax.run_codegen import register_library
from mlcref.relax.wellformed import wellformed_graph
from mlcref.testing.campaign import picker
from mlcref.testing.graph_promises import PROMISES
from mlcref.testing.dense_graphs import dense_graph
from mlcref.testing.graphs import GraphCase, random_graph

Pick = Callable[..., Any]
Array = np.ndarray[Any, Any]
OPERATORS = (
    "add", "subtract", "multiply", "negative", "abs", "maximum", "permute_dims", "sum", "concat", "split", "reshape",
    "matmul", "strided_slice", "broadcast_to",
)  # fmt: skip
NO_SITE, RIGHT, WRONG = "no site", "right", "wrong"
_FAILURES = (
    MlcrefError, ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RecursionError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip
_ENOUGH = 100
"""Examples among which every pass finds something to do."""


@dataclass
class GraphExample:
    """What one example came to: ``outcome`` is "right", "wrong" or "no site", ``what`` says what is wrong."""

    target: str
    before: IRModule
    arguments: Sequence[Array]
    outcome: str = NO_SITE
    what: str = ""
    after: IRModule | None = field(default=None)


@dataclass(frozen=True)
class Subject:
    """A pass under test. ``before`` brings a drawn module into the form that it works on, ``make`` makes the pass."""

    make: Callable[[Pick, IRModule], Callable[[IRModule], IRModule]]
    before: Callable[[Pick, IRModule], IRModule] = lambda pick, module: module


def drawn_module(pick: Pick, constants: bool = True) -> GraphCase:
    """A module with arguments: some values are cast to what they are, and with ``constants`` some parameters are such.
    """
    if pick([False, True]):
        case = dense_graph(pick)
    else:
        operators = [pick(OPERATORS) for _ in range(pick(range(2, 6)))]
        case = random_graph(pick, operators, ("int32",), 8, pick([False, True]))
    if pick([False, False, True]):
        case.module.update_func("main", _with_casts(case.module["main"], pick))
    return _bound(pick, case) if constants else case


def _bound(pick: Pick, case: GraphCase) -> GraphCase:
    often = pick([[False, False, True], [False, True, True, True]])
    names = [param.name_hint for param in _plain_params(case.module["main"]) if pick(often)]
    values = _named(case)
    module = transform.BindParams("main", {name: values[name] for name in names})(case.module) if names else case.module
    return GraphCase(module, [values[param.name_hint] for param in module["main"].params])


def _named(case: GraphCase) -> dict[str, Array]:
    params = case.module["main"].params
    return dict(zip([param.name_hint for param in params], case.arguments, strict=True))


def _plain_params(func: graph.Function) -> list[graph.Var]:
    """Parameters whose extents are numbers or dimensions by themselves."""
    dims = set(func.shape_vars())
    return [p for p in func.params
            if all(constant(e) is not None or e in dims for e in graph.extents_of(p.struct_info))]  # fmt: skip


def _with_casts(func: graph.Function, pick: Pick) -> graph.Function:
    """``func`` with values that are cast to what they are, and used as that."""
    own: dict[graph.Var, graph.Var] = {}

    def replaced(node: Any) -> Any:
        return own.get(node, node) if isinstance(node, graph.Var) else map_children(replaced, node)

    blocks = []
    for block in func.body.blocks:
        made: list[graph.Binding] = []
        for binding in block.bindings:
            made.append(graph.VarBinding(binding.var, replaced(binding.value)))
            if isinstance(binding.var.struct_info, graph.TensorStructInfo) and pick([True, False, False]):
                var = own[binding.var] = type(binding.var)(f"{binding.var.name_hint}_cast", binding.var.struct_info)
                made.append(graph.MatchCast(var, binding.var, var.struct_info))
        blocks.append(type(block)(tuple(made)))
    return graph.Function(func.params, graph.SeqExpr(tuple(blocks), replaced(func.body.body)), attrs=func.attrs)


def _nested(pick: Pick, module: IRModule) -> IRModule:
    """``module`` with calls among operands, in the place of variables of dataflow blocks."""
    inside: dict[graph.Var, graph.GraphExpr] = {}

    def replaced(node: Any) -> Any:
        return inside.get(node, node) if isinstance(node, graph.Var) else map_children(replaced, node)

    func, blocks = module["main"], []
    for block in func.body.blocks:
        made: list[graph.Binding] = []
        for binding in block.bindings:
            new = map_children(replaced, binding)
            local = isinstance(binding.var, graph.DataflowVar) and isinstance(binding, graph.VarBinding)
            if local and isinstance(new.value, graph.Call | graph.TupleGetItem) and pick([False, True]):
                inside[binding.var] = new.value
            else:
                made.append(new)
        blocks.append(type(block)(tuple(made)))
    kept = tuple([block for block in blocks if block.bindings])
    result = module.clone()
    result.update_func("main", graph.Function(func.params, graph.SeqExpr(kept, func.body.body), attrs=func.attrs))
    return result


def _after(*names: str) -> Callable[[Pick, IRModule], IRModule]:
    """What passes without arguments leave."""

    def run(pick: Pick, module: IRModule) -> IRModule:
        for name in names:
            module = getattr(transform, name)()(module)
        return module

    return run


def _some(*options: Callable[[Pick, IRModule], IRModule]) -> Callable[[Pick, IRModule], IRModule]:
    return lambda pick, module: pick(options)(pick, module)


def _plain(name: str) -> Callable[[Pick, IRModule], Callable[[IRModule], IRModule]]:
    made: Pass = getattr(transform, name)()
    return lambda pick, module: made


# ---- patterns and libraries


def _op(name: str, *parts: Any) -> Any:
    return is_op(f"relax.{name}")(*parts)


def _patterns() -> dict[str, Any]:
    v, turned = wildcard(), wildcard()
    negated = _op("negative", turned)
    return {
        "add": _op("add", wildcard(), wildcard()),
        "negative": _op("negative", wildcard()),
        "chain": _op("negative", _op("abs", wildcard())) | _op("abs", _op("negative", wildcard())),
        "shared": _op("add", v, _op("abs", v)) | _op("maximum", negated, _op("add", negated, wildcard())),
        "options": _op("subtract", wildcard(), wildcard()).optional(lambda w: _op("sum", w) | _op("abs", w)),
        "product": _op("add", _op("matmul", wildcard(), wildcard()), wildcard()),
        "fields": _op("abs", is_tuple_get_item(_op("split", wildcard()))),
        "constant": _op("multiply", wildcard(), is_const()),
        "views": _op("negative", _op("reshape", wildcard(), wildcard())),
        "sum": _op("sum", wildcard()),
        "bridge": _op("add", _op("negative", wildcard()), wildcard())
        | _op("subtract", wildcard(), _op("abs", wildcard())),
        "bridges": _op("multiply", _op("add", wildcard(), wildcard()), wildcard())
        | _op("maximum", wildcard(), _op("subtract", wildcard(), wildcard())),
        "joined": _op("multiply", _op("add", wildcard(), wildcard()), _op("subtract", wildcard(), wildcard())),
    }  # fmt: skip


def _by_pattern(pick: Pick, module: IRModule) -> transform.FuseOpsByPattern:
    found = _patterns()
    names = sorted(found)
    chosen = [names.pop(pick(range(len(names)))) for _ in range(pick(range(2, 8)))]
    patterns = [(f"{pick(['one', 'two'])}.{name}", found[name]) for name in chosen]
    return transform.FuseOpsByPattern(patterns, pick([True, False]), pick([True, False]))


def _composites(pick: Pick, module: IRModule) -> IRModule:
    return _by_pattern(pick, module)(module)


def _for_libraries(pick: Pick, module: IRModule) -> IRModule:
    """Functions that libraries may take: without tuples. A few draws, until there are such."""
    for _ in range(4):
        fusion = _by_pattern(pick, module)
        fusion.annotate_codegen = pick([False, False, False, True])
        made = transform.MergeCompositeFunctions()(fusion(module))
        functions = [func for func in graph_functions(made).values() if "Composite" in func.attrs]
        infos = [param.struct_info for func in functions for param in func.params]
        infos += [info for func in functions for info in graph.destinations(func.ret_struct_info)]
        if functions and not any(isinstance(info, graph.TupleStructInfo) for info in infos):
            return made
    return module


def _codegen(pick: Pick, module: IRModule) -> transform.RunCodegen:
    register_library("one", override=True)(_interpreted)
    register_library("two", override=True)(_programmed)
    return transform.RunCodegen()


def _interpreted(func: graph.Function) -> Callable[..., None]:
    """A library that has the oracle do its work."""

    def compute(*arrays: Any) -> None:
        found = _leaves(interpret_graph(func, *arrays[: len(func.params)]))
        for result, value in zip(arrays[len(func.params) :], found, strict=True):
            result[...] = value

    return compute


def _programmed(func: graph.Function) -> Any:
    """A library that makes a tensor program, where the function is one."""
    legal = transform.LegalizeOps()(IRModule({"f": func}))
    return fused_program(legal, legal["f"])


def _legal_composites(pick: Pick, module: IRModule) -> IRModule:
    return transform.LegalizeOps()(_composites(pick, module))


_LEGAL = _after("LegalizeOps", "AnnotateTIROpPattern")
_FUSED = _after("LegalizeOps", "AnnotateTIROpPattern", "FuseOps")
SUBJECTS: Mapping[str, Subject] = {
    "Normalize": Subject(_plain("Normalize"), _nested),
    "FoldConstant": Subject(_plain("FoldConstant"), _some(_after(), _after("LegalizeOps"))),
    "DeadCodeElimination": Subject(
        lambda pick, module: transform.DeadCodeElimination(pick([None, ["main"]])),
        _some(_after(), _after("LegalizeOps", "FoldConstant"), _FUSED, _legal_composites),
    ),
    "LegalizeOps": Subject(_plain("LegalizeOps"), _some(_after(), _composites)),
    "AnnotateTIROpPattern": Subject(_plain("AnnotateTIROpPattern"), _after("LegalizeOps")),
    "FuseOps": Subject(_plain("FuseOps"), _LEGAL),
    "FuseTIR": Subject(_plain("FuseTIR"), _FUSED),
    "FuseOpsByPattern": Subject(_by_pattern),
    "MergeCompositeFunctions": Subject(_plain("MergeCompositeFunctions"), _composites),
    "RunCodegen": Subject(_codegen, _for_libraries),
}


def graph_example(name: str, pick: Pick) -> GraphExample:
    """Draw a module and run the pass ``name`` ("BindParams", or a key of ``SUBJECTS``) on it.

    Never raises for what the pass does wrong: that is the outcome "wrong".

    >>> from random import Random
    >>> pick = Random(0).choice
    >>> "wrong" in {graph_example("FoldConstant", lambda options: pick(list(options))).outcome for _ in range(5)}
    False
    """
    if name == "BindParams":
        return _binding_example(drawn_module(pick, constants=False), pick)
    case = drawn_module(pick)
    subject = SUBJECTS[name]
    before = subject.before(pick, case.module)
    example = GraphExample(f"graph:{name}", before, case.arguments)
    made = subject.make(pick, before)
    _judge(example, made, case.arguments, PROMISES.get(name), made)
    return example


def _binding_example(case: GraphCase, pick: Pick) -> GraphExample:
    params, values = _plain_params(case.module["main"]), _named(case)
    names = [param.name_hint for param in params if pick([False, True])]
    example = GraphExample("graph:BindParams", case.module, case.arguments)
    rest = [array for name, array in values.items() if name not in names]
    bound = transform.BindParams("main", {name: values[name] for name in names})
    _judge(example, bound, rest, PROMISES["BindParams"], {name: values[name] for name in names})
    return example


def _judge(
    example: GraphExample, step: Callable[[IRModule], IRModule], arguments: Sequence[Array],
    promise: Callable[[IRModule, IRModule, Any], str | None] | None, made: Any,
) -> None:  # fmt: skip
    text, expected = example.before.script(), _results(example.before, example.arguments)
    try:
        after = example.after = step(example.before)
        wellformed_graph(after)
        found = _results(after, arguments)
        if found != expected:
            example.outcome, example.what = WRONG, f"other results: {found} instead of {expected}"
        elif example.before.script() != text:
            example.outcome, example.what = WRONG, "the module that was given has changed"
        elif promise is not None and (broken := promise(example.before, after, made)) is not None:
            example.outcome, example.what = WRONG, broken
        elif after.script() != text:
            example.outcome = RIGHT
    except _FAILURES as error:
        example.outcome, example.what = WRONG, f"{type(error).__name__}: {error}"


def _leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, tuple) else [value]


def _results(module: IRModule, arguments: Sequence[Array]) -> list[Any]:
    return [(leaf.dtype.name, leaf.tolist()) for leaf in _leaves(interpret_graph(module, *arguments))]


def first_failure(target: str, seed: int, examples: int) -> tuple[int | None, float, str]:
    """The number of the first wrong example of ``seed``, the seconds it took, and what it showed; None without one."""
    start, applied = time.monotonic(), 0
    name = target.removeprefix("graph:")
    for number in range(examples):
        example = graph_example(name, picker(seed, number))
        applied += example.outcome == RIGHT
        if example.outcome == WRONG:
            return number + 1, time.monotonic() - start, example.what.splitlines()[0]
    if not applied and examples >= _ENOUGH:
        return examples, time.monotonic() - start, "it was never applied"
    return None, time.monotonic() - start, ""


def main(arguments: list[str] | None = None) -> int:
    """The command: a line of JSON for each target, the target and what each seed found."""
    parser = argparse.ArgumentParser(prog="python -m mlcref.testing.graph_harness")
    parser.add_argument("--only", nargs="*", default=[f"graph:{name}" for name in [*SUBJECTS, "BindParams"]])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--examples", type=int, default=200)
    options = parser.parse_args(arguments)
    for target in options.only:
        found = [first_failure(target, seed, options.examples) for seed in options.seed]
        print(json.dumps([target, found]), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
