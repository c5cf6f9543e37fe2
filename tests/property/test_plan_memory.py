"""Memory plans: values that live at the same time do not overlap, and results written in place are the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcref import relax
from mlcref.autoschedule import Machine
from mlcref.benchmark.networks import NETWORKS
from mlcref.driver import compile as compile_module
from mlcref.driver.derived_extents import build_with_checks
from mlcref.interp.graph import interpret_graph
from mlcref.interp.run import interpret
from mlcref.ir import IRModule, PrimFunc, Target, constant, graph
from mlcref.ir.shapes import evaluate
from mlcref.relax.in_place import in_place_inputs, in_place_program
from mlcref.relax.lower_graph import lower_graph
from mlcref.relax.pipeline import ScheduleTensorPrograms
from mlcref.relax.plan_memory import MEMORY_PLAN, MemoryPlan, in_place_calls, memory_plan, programs_to_compile
from mlcref.relax.rewriter import callee_of, inputs_of
from mlcref.runtime import oracle_backend
from mlcref.runtime.compiler import why_no_compiler
from mlcref.runtime.memory_plan import Lifetime, least_memory, plan_memory, rounded
from mlcref.runtime.vm import VirtualMachine, VMExecutable
from mlcref.testing.graphs import GraphCase, graphs

quick = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
ELEMENTS = ("add", "subtract", "multiply", "maximum", "negative", "abs", "nn.relu", "where", "clip", "square")
"""Operators whose results can often be written over an input."""
cases = st.one_of(graphs(max_steps=8), graphs(ELEMENTS, max_steps=8))

MACHINES = st.builds(
    Machine, vector_bytes=st.sampled_from([8, 16]), registers=st.just(8), l2_bytes=st.just(64),
    threads=st.sampled_from([1, 2]), terms=st.sampled_from([2, 64]), parallel_work=st.just(0),
)  # fmt: skip
LIFETIMES = st.builds(
    lambda size, first, length: Lifetime(size, first, first + length),
    st.integers(0, 400), st.integers(0, 8), st.integers(0, 4),
)  # fmt: skip


@given(st.lists(LIFETIMES, max_size=12))
def test_values_that_meet_do_not_overlap(values: list[Lifetime]) -> None:
    offsets, total = plan_memory(values)
    assert all(offset + rounded(value.size) <= total for offset, value in zip(offsets, values, strict=True))
    for i, a in enumerate(values):
        for j, b in enumerate(values[:i]):
            if a.meets(b):
                assert offsets[i] + a.size <= offsets[j] or offsets[j] + b.size <= offsets[i]
    at_steps = [sum(rounded(value.size) for value in values if value.first <= step <= value.last) for step in range(13)]
    assert max(at_steps) == least_memory(values) <= total <= sum(rounded(value.size) for value in values)


def assert_apart(plan: MemoryPlan) -> None:
    """Values that are needed at the same call lie apart, but for those that one call writes over the other."""
    placed = [(value, value.offset) for value in plan.values if value.offset is not None]
    for number, (a, at) in enumerate(placed):
        assert at + a.size <= plan.bytes
        for b, other in placed[:number]:
            if a.first <= b.last and b.first <= a.last and a.over != b.name:
                assert at + a.size <= other or other + b.size <= at


def lists(value: Any) -> Any:
    if isinstance(value, tuple):
        return [lists(item) for item in value]
    array = np.asarray(value)
    return array.dtype.name, array.tolist()


def legal(case: GraphCase, fused: bool) -> IRModule:
    return (relax.get_pipeline("zero") if fused else relax.transform.LegalizeOps())(case.module)


def run_by_plan(module: IRModule, arguments: list[Any]) -> Any:
    """What "main" returns when its kernels run in the oracle by the planned program."""
    programs, constants = lower_graph(module)
    funcs = programs_to_compile(module)
    kernels = build_with_checks(lambda named: oracle_backend.build(named, Target("cython")), funcs).functions
    return VirtualMachine(VMExecutable(programs, constants, kernels))["main"](*arguments)


@quick
@given(cases, st.booleans())
def test_results_written_in_place_are_the_same(case: GraphCase, fused: bool) -> None:
    module = legal(case, fused)
    planned = relax.transform.StaticPlanMemory()(module)
    expected = lists(interpret_graph(case.module, *case.arguments))
    before = [array.copy() for array in case.arguments]
    assert lists(interpret_graph(planned, *case.arguments)) == expected
    assert lists(run_by_plan(planned, case.arguments)) == expected
    assert [array.tolist() for array in case.arguments] == [array.tolist() for array in before]


@quick
@given(cases, MACHINES)
def test_schedules_decide_what_is_written_in_place(case: GraphCase, machine: Machine) -> None:
    scheduled = ScheduleTensorPrograms("cython", machine=machine)(legal(case, True))
    alone = relax.transform.StaticPlanMemory(in_place=False)(scheduled)
    expected = lists(run_by_plan(alone, case.arguments))
    assert lists(run_by_plan(relax.transform.StaticPlanMemory()(scheduled), case.arguments)) == expected


def arena_run(module: IRModule, plan: MemoryPlan, arguments: list[Any]) -> Any:
    """What "main" returns when each value is a part of one block of memory, at its offset."""
    func = module["main"]
    over = in_place_calls(module, func)
    block = np.full(plan.bytes, 0xA5, "uint8")
    planned = {value.name: value for value in plan.values}
    arrays: dict[Any, Any] = dict(zip(func.params, arguments, strict=True))

    def memory(var: graph.Var, position: int | None, given: list[Any]) -> Any:
        info, offset = var.struct_info, planned[var.name_hint].offset
        shape = [int(extent.value) for extent in info.shape]
        if offset is None:
            return np.empty(shape, info.dtype) if position is None else given[position]
        return block[offset : offset + planned[var.name_hint].size].view(info.dtype).reshape(shape)

    def value_of(item: Any) -> Any:
        if isinstance(item, graph.Tuple):
            return tuple(value_of(field) for field in item.fields)
        return item.data.copy() if isinstance(item, graph.Constant) else arrays[item]

    for binding in func.bindings():
        program = callee_of(module, binding.value)
        if program is None:
            arrays[binding.var] = value_of(binding.value)
            continue
        given, position = [value_of(item) for item in inputs_of(binding.value)], over.get(binding.var)
        out = arrays[binding.var] = memory(binding.var, position, given)
        if position is None:
            interpret(program, *given, out)
        else:
            assert np.shares_memory(out, given[position]) or not out.size
            interpret(in_place_program(program, position), *given)
    return value_of(func.body.body)


def is_simple(module: IRModule) -> bool:
    """Does each call of "main" make one tensor, and take no numbers?"""
    calls = [binding.value for binding in module["main"].bindings() if isinstance(binding.value, graph.Call)]
    return all(len(call.args) == 2 and isinstance(call.struct_info, graph.TensorStructInfo) for call in calls)


@quick
@given(graphs(ELEMENTS, max_steps=8, symbolic=False), st.booleans())
def test_a_block_of_memory_is_enough(case: GraphCase, in_place: bool) -> None:
    module = legal(case, False)
    planned = relax.transform.StaticPlanMemory(in_place=in_place)(module)
    plan = memory_plan(module, in_place=in_place)
    if is_simple(planned):
        assert lists(arena_run(planned, plan, case.arguments)) == lists(interpret_graph(case.module, *case.arguments))
    assert_apart(plan)
    said = planned["main"].attrs[MEMORY_PLAN]
    assert said["bytes"] == plan.bytes <= plan.total
    assert dict(said["offsets"]) == {value.name: value.offset for value in plan.values if value.offset is not None}
    assert dict(said["in_place"]) == {value.name: value.over for value in plan.values if value.over is not None}


@given(graphs(ELEMENTS, max_steps=3))
@quick
def test_programs_of_random_calls_overwrite_what_they_may(case: GraphCase) -> None:
    """Each program of a legalized graph, on arrays of its own, and over each input that it may overwrite."""
    module = legal(case, True)
    for binding in module["main"].bindings():
        program = callee_of(module, binding.value)
        if program is None or not isinstance(binding.value, graph.Call) or len(binding.value.args) > 2:
            continue
        for position in in_place_inputs(program):
            assert_same_in_place(program, position)


def assert_same_in_place(program: PrimFunc, position: int) -> None:
    generator, sizes = np.random.default_rng(1), dict[Any, int]()
    shapes = [[sizes.setdefault(e, 3) if constant(e) is None else evaluate(e, sizes) for e in b.shape]
              for b in program.params]  # fmt: skip
    arrays = [generator.integers(0, 2, shape).astype(param.type)
              for shape, param in zip(shapes, program.params, strict=True)]  # fmt: skip
    out = arrays.pop()
    interpret(program, *[array.copy() for array in arrays], out)
    interpret(in_place_program(program, position), *arrays)
    assert arrays[position].tolist() == out.tolist()


@pytest.mark.skipif(why_no_compiler() is not None, reason="no compiler")
@settings(max_examples=3, deadline=None)
@given(graphs(ELEMENTS, max_steps=4, symbolic=False))
def test_compiled_programs_follow_the_plan(case: GraphCase) -> None:
    module = legal(case, False)
    planned = relax.transform.StaticPlanMemory()(module)
    machine = VirtualMachine(compile_module(planned, "cython"))
    expected = lists(interpret_graph(case.module, *case.arguments))
    for _ in range(2):
        assert lists(machine["main"](*case.arguments)) == expected
    sequence = machine["main"]._last
    if sequence is not None:
        assert sequence.memory == memory_plan(module).bytes


@pytest.mark.parametrize("name", ["Inception v1", "DenseNet-121"])
def test_plans_of_networks_are_close_to_the_lower_bound(name: str) -> None:
    module = NETWORKS[name]()
    legal = relax.transform.LegalizeOps()(module)
    alone, shared = memory_plan(legal, in_place=False), memory_plan(legal)
    assert 0 < shared.least < alone.least
    for plan in (alone, shared):
        assert plan.least <= plan.bytes <= 1.05 * plan.least
        assert plan.bytes < plan.total / 4
        assert_apart(plan)
