"""The strategies: what they make is valid, they reach every kind, and they shrink to what a person would write."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from mlcref.interp import findings, interpret
from mlcref.ir import PrimFunc, structural_equal, wellformed
from mlcref.schedule import Schedule
from mlcref.script import from_source, print_script
from mlcref.testing import BackendMismatch, assert_backend_matches, inputs, programs, schedules
from mlcref.testing.strategies import KINDS_OF_BLOCKS
from mlcref.verify.generate import ALL_DTYPES

SEARCH = settings(max_examples=2000, database=None, derandomize=True, phases=[Phase.generate, Phase.shrink])

def blocks(func: PrimFunc) -> int:
    return print_script(func).count("with T.block(\"T")


@given(st.data())
def test_programs_are_valid_on_all_inputs(data: st.DataObject) -> None:
    func = data.draw(programs())
    wellformed(func)
    arguments = data.draw(inputs(func))
    assert findings(func, *arguments, poison=(func.buffers[-1].name,)) == []


@given(programs(), st.sampled_from(["tir", "tirx"]))
def test_programs_are_read_as_they_are_printed(func: PrimFunc, dialect: str) -> None:
    assert structural_equal(from_source(print_script(func, dialect=dialect)), func)


@given(st.data())
def test_schedules_keep_the_meaning(data: st.DataObject) -> None:
    func = data.draw(programs(max_blocks=3))
    sch = data.draw(schedules(func))
    arguments = data.draw(inputs(func))
    assert_backend_matches(func, lambda *args: interpret(sch.mod["main"], *args), arguments=[arguments])
    again = Schedule(func)
    sch.trace.apply_to_schedule(again, remove_postproc=False)
    assert structural_equal(again.mod, sch.mod)


def test_every_kind_and_type_comes() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=400, database=None, derandomize=True, phases=[Phase.generate])
    @given(programs())
    def collect(func: PrimFunc) -> None:
        seen.update({func.params[0].type: 1, f"{blocks(func)} blocks": 1})

    collect()
    assert {*ALL_DTYPES, "1 blocks", "4 blocks"} <= set(seen)


@pytest.mark.parametrize("kind", KINDS_OF_BLOCKS)
def test_a_single_kind_shrinks_to_one_block_of_one_element(kind: str) -> None:
    allowed = ["elementwise", kind] if kind != "elementwise" else [kind]
    func = find(programs(blocks=allowed, extents=(1, 2, 3, 8)), lambda f: True, settings=SEARCH)
    assert blocks(func) == 1
    assert all(extent.value == 1 for buffer in func.buffers for extent in buffer.shape)


SHRUNK: dict[str, tuple[Any, int]] = {
    "T.init": (lambda text: "T.init" in text, 1),
    "T.exp": (lambda text: "T.exp" in text, 1),
    "a gather": (lambda text: "T.min(T.max(" in text, 1),
    "a reduction behind a stencil": (lambda text: "T.init" in text and "if_then_else" in text, 2),
    "bfloat16": (lambda text: "bfloat16" in text, 1),
}


@pytest.mark.parametrize("what", SHRUNK)
def test_what_is_searched_for_is_found_alone(what: str) -> None:
    wanted, count = SHRUNK[what]
    func = find(programs(), lambda f: wanted(print_script(f)), settings=SEARCH)
    assert blocks(func) == count
    assert all(int(extent.value) <= 2 for buffer in func.buffers for extent in buffer.shape)


def test_a_schedule_shrinks_to_the_one_primitive() -> None:
    func = find(programs(blocks=["elementwise"]), lambda f: f.params[0].shape[0].value == 8, settings=SEARCH)
    sch = find(schedules(func), lambda s: any(i.name == "split" for i in s.trace.insts), settings=SEARCH)
    assert [i.name for i in sch.trace.insts] == ["get_block", "get_loops", "split"]


def test_inputs_shrink_to_zeros() -> None:
    func = find(programs(blocks=["transpose"], extents=(3,)), lambda f: len(f.params[0].shape) == 2, settings=SEARCH)
    arguments = find(inputs(func), lambda a: a[0][1, 2] != a[0][0, 0], settings=SEARCH)
    assert (arguments[0] != 0).sum() == 1
    assert not arguments[1].any()


def test_a_bug_shrinks_to_its_core() -> None:
    """A compiler that forgets the second block is caught on two blocks of one element."""

    def wrong(func: PrimFunc) -> Any:
        def call(*args: Any) -> None:
            interpret(func, *args)
            if blocks(func) > 1:
                args[-1].fill(1)

        return call

    def fails(case: tuple[PrimFunc, Any]) -> bool:
        try:
            assert_backend_matches(case[0], build=wrong, arguments=[case[1]])
        except BackendMismatch:
            return True
        return False

    cases = programs(dtypes=["float32", "int32"]).flatmap(lambda f: st.tuples(st.just(f), inputs(f)))
    func, arguments = find(cases, fails, settings=SEARCH)
    assert blocks(func) == 2
    assert arguments[-1].size <= 2


def test_wrong_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no blocks of the kind 'conv'"):
        programs(blocks=["conv"])
    func = find(programs(), lambda f: True, settings=SEARCH)
    with pytest.raises(ValueError, match="no primitive 'tile'"):
        schedules(func, primitives=["tile"])
