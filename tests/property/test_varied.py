"""Varied programs are valid: well-formed, printed and read, without findings, the same in both engines."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from mlcref.interp import execute, findings
from mlcref.interp.pygen import execute_generated
from mlcref.ir import BlockRealize, For, PrimFunc, SeqStmt, Var, index, structural_equal, walk, wellformed
from mlcref.script import from_source, print_script
from mlcref.verify import check_equivalent
from mlcref.verify.generate import varied
from mlcref.verify.inputs import KINDS, arguments, size_variables

SEARCH = settings(max_examples=3000, database=None, derandomize=True, phases=[Phase.generate, Phase.shrink])


@st.composite
def varied_programs(draw: Any) -> PrimFunc:
    return varied(lambda options: options[draw(st.integers(0, len(options) - 1))])


def cells(binding: Any) -> list[list[str]]:
    return [[repr(cell) for cell in slot.view.storage.cells] for slot in binding.slots]


@given(varied_programs(), st.integers(0, 5), st.sampled_from(KINDS[:5]), st.integers(0, 99))
def test_they_are_valid(func: PrimFunc, size: int, kind: str, seed: int) -> None:
    wellformed(func)
    assert structural_equal(from_source(print_script(func)), func)
    args = arguments(func, dict.fromkeys(size_variables(func), size), kind, np.random.default_rng(seed))
    outputs = [b.name for b in func.params if b.name.startswith("T")]
    assert findings(func, *[arg.copy() for arg in args], poison=outputs) == []
    machine = execute(func, [arg.copy() for arg in args], poison=outputs, engine="machine")
    generated = execute_generated(func, [arg.copy() for arg in args], tuple(outputs))
    assert generated is not None
    assert cells(generated) == cells(machine)


@given(varied_programs(), st.integers(0, 5))
def test_they_are_equivalent_to_themselves(func: PrimFunc, seed: int) -> None:
    assert check_equivalent(func, func, seed=seed, minimize=False).status == "TESTED"


def traits(func: PrimFunc) -> set[str]:
    """What a program has that chains of simple blocks have not."""
    blocks = [realize for realize in index(func).blocks.values() if realize is not func.body]
    written: Counter[Any] = Counter(r.buffer for b in blocks for r in b.block.writes)
    read: Counter[Any] = Counter(r.buffer for b in blocks for r in b.block.reads)
    found = {
        "two outputs": sum(written[b] > 0 for b in func.params) > 1,
        "an intermediate output": any(written[b] and read[b] for b in func.params),
        "two readers": any(read[b] > 1 for b in func.root.alloc_buffers),
        "two writers": any(count > 1 for count in written.values()),
        "an update": any({r.buffer for r in b.block.reads} & {r.buffer for r in b.block.writes} for b in blocks),
        "an input overwritten": any(written[b] and b.name[0] != "T" for b in func.params),
        "a shared loop": any(isinstance(n, For) and isinstance(n.body, SeqStmt) for n in walk(func.body)),
        "T.where": any(b.predicate for b in blocks),
        "int64": any(isinstance(n, For) and n.loop_var.type == "int64" for n in walk(func.body)),
        "two reduce loops": any(sum(i.iter_type == "reduce" for i in b.block.iter_vars) > 1 for b in blocks),
        "a tuple": any(len(b.block.writes) > 1 for b in blocks),
        "a size": bool(size_variables(func)),
        "a loop from 1": any(isinstance(n, For) and n.min != 0 for n in walk(func.body) if not size_variables(func)),
        "a quotient": any(not isinstance(v, Var) and " // " in str(v) for b in blocks for v in b.iter_values),
        "an update without init": any(
            b.block.init is None and any(i.iter_type == "reduce" for i in b.block.iter_vars) for b in blocks
        ),
        "plain": all(isinstance(v, Var) for b in blocks for v in b.iter_values) and max(written.values()) == 1,
    }
    return {name for name, held in found.items() if held}


def test_every_trait_is_common() -> None:
    seen: Counter[str] = Counter()
    for seed in range(600):
        seen.update(traits(varied(Random(seed).choice)))
    for name, count in seen.items():
        assert count >= 9, (name, count)
    assert len(seen) == 16, sorted(seen)
    assert seen["two readers"] > 40 and seen["two writers"] > 40 and seen["a shared loop"] > 25, seen


def test_the_simplest_is_one_plain_block() -> None:
    func = find(varied_programs(), lambda f: True, settings=SEARCH)
    assert len([realize for realize in index(func).blocks.values() if isinstance(realize, BlockRealize)]) == 2
