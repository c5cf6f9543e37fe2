"""Drawn schedules through the compiled backend: many kernels in one module, each against the oracle, bit by bit on
small integers and within the rigorous bound on random numbers."""

from __future__ import annotations

from collections.abc import Sequence

from mlcref.codegen.cython import emit
from mlcref.driver import compile as compiled
from mlcref.errors import UnsupportedError
from mlcref.ir import IRModule, PrimFunc, Target
from mlcref.lower import lower
from mlcref.testing.backend import BackendMismatch, assert_backend_matches
from mlcref.testing.harness import REFUSED, RIGHT, UNDECIDED, WRONG, Example, Pick, drawn_program, scheduled

INPUTS = ("small-int", "random")


def compiled_examples(picks: Sequence[Pick]) -> list[Example]:
    """An example per source of choices, all compiled together.

    The outcome is "refused" where lowering or code generation says that it cannot translate the program, "undecided"
    where the oracle cannot run it.
    """
    examples = [_scheduled(pick) for pick in picks]
    ready = {f"f{i}": example.after for i, example in enumerate(examples) if example.after is not None}
    module = compiled(IRModule(ready), "cython --num-cores=2") if ready else None
    for i, example in enumerate(examples):
        if f"f{i}" in ready and module is not None and example.after is not None:
            _compare(example, example.after, module[f"f{i}"])
    return examples


def _scheduled(pick: Pick) -> Example:
    example = Example("compiled")
    example.before = func = drawn_program(pick)
    func = scheduled(func, pick, example.steps, longest=5)
    try:
        emit({"main": lower(func)}, Target("cython"), {"main": func})
    except UnsupportedError as error:
        example.outcome, example.rule = REFUSED, error.rule or ""
        return example
    example.after = func
    return example


def _compare(example: Example, func: PrimFunc, kernel: object) -> None:
    try:
        assert_backend_matches(func, kernel, INPUTS, trials=1, seed=0)  # type: ignore[arg-type]
        example.outcome = RIGHT
    except BackendMismatch as error:
        example.outcome, example.what = WRONG, str(error)
    except UnsupportedError as error:
        example.outcome, example.what = UNDECIDED, str(error)
