"""A block of a random program is exchanged for a call of a function on pointers: every pass of lowering keeps what the
program means, though it sees of that block no more than the pointers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from mlcref import interpret, remove_global_func
from mlcref.errors import ScheduleError
from mlcref.ir import PrimFunc
from mlcref.lower import lower
from mlcref.schedule import TABLE
from mlcref.testing.pointers import FUNCTION, exchanged
from mlcref.verify.generate import program

outcomes: Counter[str] = Counter()


def arrays(func: PrimFunc) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    shapes = [[int(extent) for extent in buffer.shape] for buffer in func.buffers]  # type: ignore[call-overload]
    return [rng.integers(-3, 4, shape).astype(buffer.dtype) for shape, buffer in zip(shapes, func.buffers, strict=True)]


def prepared(func: PrimFunc, pick: Any) -> PrimFunc:
    """``func`` after some primitives."""
    for _ in range(pick([0, 1, 2, 3])):
        primitive = TABLE[pick(["split", "compute_at", "cache_read", "decompose_reduction", "reorder", "parallel"])]
        drawn = primitive.arguments(pick, func)
        try:
            func = func if drawn is None else primitive.build(func, primitive.plan(func, **drawn))[0]
        except ScheduleError:
            continue
    return func


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def check_passes(data: st.DataObject) -> None:
    def pick(options: Any, weights: Any = None) -> Any:
        return data.draw(st.sampled_from(list(options)))

    func = prepared(program(pick, max_blocks=1), pick)
    new = exchanged(func, pick)
    if new is None:
        outcomes["no site"] += 1
        return
    note(f"{func!r}\n{new!r}")
    wanted = arrays(func)
    interpret(func, *wanted)

    def same(name: str, after: PrimFunc) -> None:
        got = arrays(func)
        interpret(after, *got)
        for x, y in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=name)

    same("tensorize", new)
    lower(new, after=same)
    outcomes["same"] += 1


def test_every_pass_keeps_what_pointers_see() -> None:
    try:
        check_passes()
    finally:
        remove_global_func(FUNCTION)
    assert outcomes["same"] >= 3, outcomes
