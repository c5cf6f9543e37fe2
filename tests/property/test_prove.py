"""Static proofs and the oracle agree wherever both answer: on generated programs, scheduled, and broken on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

pytest.importorskip("islpy", reason="static proofs need islpy: pip install mlcref[prove]")

from mlcref.errors import OracleError, ScheduleError, UnsupportedError
from mlcref.interp import findings
from mlcref.interp.rules import MEANINGLESS, RULES
from mlcref.ir import (
    LT,
    BlockRealize,
    BufferLoad,
    BufferRegion,
    BufferStore,
    Expr,
    For,
    IterVar,
    PrimFunc,
    Range,
    SeqStmt,
    Var,
    blocks_in,
    const,
    constant,
    replace,
    replace_buffers,
    rewrite,
    walk,
)
from mlcref.schedule import TABLE
from mlcref.verify import check_equivalent
from mlcref.verify.generate import program
from mlcref.verify.prove import PROVED, REFUTED, prove, prove_equivalent
from mlcref.verify.prove_violations import Proof

Pick = Callable[[Any], Any]
WATCHED = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def scheduled(func: PrimFunc, pick: Pick, steps: int) -> PrimFunc:
    """``func`` after some primitives of the table, drawn at random."""
    for _ in range(steps):
        primitive = TABLE[pick(sorted(TABLE))]
        arguments = primitive.arguments(pick, func)
        if arguments is None:
            continue
        try:
            facts = primitive.plan(func, **arguments)
        except ScheduleError:
            continue
        func = primitive.build(func, facts)[0]
    return func


# --- mistakes ---


def _index(node: Any, pick: Pick) -> Any:
    place = pick(range(len(node.indices)))
    indices = list(node.indices)
    indices[place] = indices[place] + pick([-1, 1])
    return replace(node, indices=tuple(indices))


def _kind(node: For, pick: Pick) -> For:
    return replace(node, kind=pick(["parallel", "vectorized"]))


def _extent(node: For, pick: Pick) -> For:
    return replace(node, extent=node.extent + pick([-1, 1]))


def _order(node: SeqStmt, pick: Pick) -> SeqStmt:
    place = pick(range(len(node.seq) - 1))
    seq = list(node.seq)
    seq[place : place + 2] = reversed(seq[place : place + 2])
    return SeqStmt(tuple(seq))


def _interchange(node: For, pick: Pick) -> For:
    inner = node.body
    assert isinstance(inner, For)
    return replace(inner, body=replace(node, body=inner.body))


def _binding(node: BlockRealize, pick: Pick) -> BlockRealize:
    place = pick(range(len(node.iter_values)))
    values, domain = list(node.iter_values), node.block.iter_vars[place].dom
    value: Expr = values[place]
    values[place] = pick([domain.extent - 1 - value, value // 2, const(0), value + 1, value % 2])
    return replace(node, iter_values=tuple(values))


def _predicate(node: BlockRealize, pick: Pick) -> BlockRealize:
    return replace(node, predicate=node.predicate[1:])


def _init(node: BlockRealize, pick: Pick) -> BlockRealize:
    return replace(node, block=replace(node.block, init=None))


def _iterator(node: IterVar, pick: Pick) -> IterVar:
    return replace(node, iter_type="spatial" if node.iter_type == "reduce" else "reduce")


def _region(node: BufferRegion, pick: Pick) -> BufferRegion:
    place = pick(range(len(node.region)))
    region = list(node.region)
    region[place] = replace(region[place], min=region[place].min + 1)
    return replace(node, region=tuple(region))


MISTAKES: list[tuple[Callable[[Any], bool], Callable[[Any, Pick], Any]]] = [
    (lambda n: isinstance(n, BufferLoad | BufferStore), _index),
    (lambda n: isinstance(n, For) and n.kind == "serial", _kind),
    (lambda n: isinstance(n, For) and n.kind != "thread_binding", _extent),
    (lambda n: isinstance(n, SeqStmt), _order),
    (lambda n: isinstance(n, For) and isinstance(n.body, For), _interchange),
    (lambda n: isinstance(n, BlockRealize) and bool(n.iter_values), _binding),
    (lambda n: isinstance(n, BlockRealize) and bool(n.predicate), _predicate),
    (lambda n: isinstance(n, BlockRealize) and n.block.init is not None, _init),
    (lambda n: isinstance(n, IterVar), _iterator),
    (lambda n: isinstance(n, BufferRegion) and bool(n.region), _region),
]


def mistaken(func: PrimFunc, pick: Pick) -> PrimFunc:
    """``func`` with one mistake in it."""
    fits, change = pick(MISTAKES)
    places = [node for node in walk(func.body) if fits(node)]
    if not places:
        return func
    target = pick(places)
    wrong = change(target, pick)
    body = rewrite(lambda node: wrong if node is target else None, func.body)
    if body is func.body:  # a rewritten child made the node another object
        return func
    return PrimFunc(func.params, body, func.attrs)


def generalised(func: PrimFunc, pick: Pick) -> PrimFunc:
    """``func`` with one of its sizes made a variable wherever the number stands, right or wrong."""
    chosen = int(pick([extent for buffer in func.buffers for extent in buffer.shape]).value)
    n = Var("n", "int32")

    def size(e: Expr) -> Expr:
        return n if constant(e) == chosen else e

    def general(node: Any) -> Any:
        if isinstance(node, For):
            return replace(node, extent=size(node.extent))
        if isinstance(node, Range):
            return replace(node, extent=size(node.extent))
        return replace(node, b=size(node.b)) if isinstance(node, LT) else None

    buffers = [*func.buffers, *(buffer for block in blocks_in(func.body) for buffer in block.alloc_buffers)]
    renamed = {buffer: replace(buffer, shape=tuple(size(extent) for extent in buffer.shape)) for buffer in buffers}
    body = rewrite(general, replace_buffers(func.body, renamed))
    return PrimFunc(tuple(renamed[buffer] for buffer in func.buffers), body, func.attrs)


# --- agreement ---


def observed(func: PrimFunc, poison: tuple[str, ...], n: int = 0) -> tuple[str | None, set[str]] | None:
    """The rule that stopped a run, and the findings; None when the oracle does not run the program."""
    rng = np.random.default_rng(0)
    shapes = [[n if constant(e) is None else int(e) for e in b.shape] for b in func.buffers]
    arrays = [rng.integers(-3, 4, shape).astype(b.dtype) for b, shape in zip(func.buffers, shapes, strict=True)]
    try:
        return None, {found.rule or "" for found in findings(func, *arrays, poison=poison)}
    except OracleError as error:
        return error.rule, set()
    except UnsupportedError:
        return None


def broken(proofs: dict[str, Proof], stopped: str | None, found: set[str]) -> list[str]:
    """Rules that were proved and that the oracle's run broke all the same."""
    wrong = [f"{rule} was broken, though {proofs[rule]}" for rule in {stopped, *found} & set(proofs)
             if proofs[rule].status == PROVED]  # fmt: skip
    if stopped and all(proof.status == PROVED for rule, proof in proofs.items() if RULES[rule] == MEANINGLESS):
        wrong.append(f"every rule was proved, but the run stopped by {stopped}")
    return wrong


def disagreements(proofs: dict[str, Proof], stopped: str | None, found: set[str]) -> list[str]:
    """What the proofs say that the oracle's run, at the only sizes there are, contradicts."""
    kept = [proof for proof in proofs.values() if proof.status == REFUTED and stopped is None
            and proof.rule not in found]  # fmt: skip
    return broken(proofs, stopped, found) + [f"the run did not break what was refuted: {proof}" for proof in kept]


def drawn(pick: Pick) -> tuple[PrimFunc, tuple[str, ...]]:
    """A program, scheduled, sometimes with a mistake; and the outputs that start undefined."""
    func = program(pick, max_blocks=3)
    func = scheduled(func, pick, pick(range(5)))
    for _ in range(pick([0, 1, 1, 2])):
        func = mistaken(func, pick)
    return func, pick([(), (func.buffers[-1].name,)])


def test_proofs_and_runs_agree() -> None:
    answers: Counter[str] = Counter()

    @settings(suppress_health_check=WATCHED)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        func, poison = drawn(lambda options: data.draw(st.sampled_from(list(options))))
        note(f"poison={poison}\n{func!r}")
        run = observed(func, poison)
        if run is None:
            return
        proofs = prove(func, poison=poison)
        answers.update(proof.status for proof in proofs.values())
        assert disagreements(proofs, *run) == []

    check()
    assert answers[PROVED] > answers["UNKNOWN"]
    assert answers[REFUTED]


def contradictions(func: PrimFunc, poison: tuple[str, ...], proofs: dict[str, Proof], sizes: Any) -> list[str]:
    """What runs at some sizes say against proofs for all sizes."""
    wrong = []
    for n in sizes:
        run = observed(func, poison, n)
        if run is not None:
            wrong += [f"n={n}: {text}" for text in broken(proofs, *run)]
    for proof in proofs.values():
        size = proof.sizes.get("n", 0)
        if proof.status == REFUTED and size <= 32:
            run = observed(func, poison, size)
            if run is not None and run[0] is None and proof.rule not in run[1]:
                wrong.append(f"not so: {proof}")
    return wrong


def test_proofs_hold_for_all_sizes() -> None:
    answers: Counter[str] = Counter()

    @settings(suppress_health_check=WATCHED)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        def pick(options: Any) -> Any:
            return data.draw(st.sampled_from(list(options)))

        func, poison = drawn(pick)
        func = generalised(func, pick)
        note(f"poison={poison}\n{func!r}")
        proofs = prove(func, poison=poison)
        answers.update(proof.status for proof in proofs.values())
        assert contradictions(func, poison, proofs, range(5)) == []

    check()
    assert answers[PROVED] and answers[REFUTED]


def test_equivalence_agrees_with_runs() -> None:
    answers: Counter[str] = Counter()

    @settings(derandomize=True, suppress_health_check=WATCHED)  # the kinds of answers are counted below
    @given(st.data())
    def check(data: st.DataObject) -> None:
        def pick(options: Any) -> Any:
            return data.draw(st.sampled_from(list(options)))

        func = program(pick, max_blocks=3)
        wrong = pick([False, True])
        other = scheduled(func, pick, pick(range(5)))
        other = mistaken(other, pick) if wrong else other
        note(f"{func!r}\n{other!r}")
        found = prove_equivalent(func, other)
        if found:
            assert check_equivalent(func, other, trials=2).status != REFUTED
        answers[f"{found.status} {'wrong' if wrong else 'right'}"] += 1

    check()
    assert answers["PROVED right"] > answers["UNKNOWN right"]
    assert answers["UNKNOWN wrong"], answers
