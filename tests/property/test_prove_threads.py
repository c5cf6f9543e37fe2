"""Static proofs and runs agree on programs with threads: schedules that bind and cache, and kernels drawn at random."""

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
from mlcref.ir import For, PrimFunc, blocks_in, replace, replace_buffers, rewrite, walk
from mlcref.schedule import TABLE
from mlcref.script import from_source
from mlcref.verify import check_equivalent
from mlcref.verify.generate import program
from mlcref.verify.prove import PROVED, REFUTED, prove, prove_equivalent
from mlcref.verify.prove_violations import Proof

Pick = Callable[[Any], Any]
WATCHED = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
STEPS = (
    "bind", "split", "bind", "cache_read", "bind", "compute_at", "fuse", "reorder", "cache_write", "reverse_compute_at",
    "set_scope", "parallel", "vectorize", "decompose_reduction", "blockize",
)  # fmt: skip
AXES = ("threadIdx.x", "threadIdx.y", "blockIdx.x", "vthread.x")


# --- schedules ---


def scheduled(func: PrimFunc, pick: Pick, steps: int) -> PrimFunc:
    """``func`` after some of the primitives that make kernels."""
    for _ in range(steps):
        primitive = TABLE[pick(STEPS)]
        arguments = primitive.arguments(pick, func)
        if arguments is None:
            continue
        try:
            facts = primitive.plan(func, **arguments)
        except ScheduleError:
            continue
        func = primitive.build(func, facts)[0]
    return func


def mistaken(func: PrimFunc, pick: Pick) -> PrimFunc:
    """``func`` with a loop bound that should not be, an axis taken for another, or memory in another scope."""
    buffers = [buffer for block in blocks_in(func.body) for buffer in block.alloc_buffers]
    if buffers and pick([False, True]):
        buffer = pick(buffers)
        moved = replace_buffers(func.body, {buffer: replace(buffer, scope=pick(["shared", "local", "global"]))})
        return PrimFunc(func.params, moved, func.attrs)
    loops = [node for node in walk(func.body) if isinstance(node, For) and node.kind in ("serial", "thread_binding")]
    if not loops:
        return func
    target, tag = pick(loops), pick(AXES)
    bound = replace(target, kind="thread_binding", thread=tag)
    return PrimFunc(func.params, rewrite(lambda node: bound if node is target else None, func.body), func.attrs)


# --- kernels ---


class Kernel:
    """The text of one or two kernels over shared, local and global memory, with or without explicit barriers."""

    def __init__(self, pick: Pick) -> None:
        self.pick, self.lines = pick, [""]
        self.threads, self.explicit = pick([2, 3, 4]), pick([False, False, True])
        for _ in range(pick([1, 1, 2])):
            grid = pick(["T.thread_binding({}, thread='blockIdx.x')", "range({})"])
            self.lines.append(f"for b in {grid.format(pick([2, 1]))}:")
            self.lines.append(f"    for t in T.thread_binding({self.threads}, thread='threadIdx.x'):")
            self.sequence(2, 2)

    def text(self) -> str:
        """The program; ``r`` and ``u`` are variables everywhere."""
        scopes = {"S": self.pick(["shared", "shared", "global"]), "L": "local", "G": "global"}
        head = [f"{name} = T.alloc_buffer((8,), 'float32', scope='{scope}')" for name, scope in scopes.items()]
        body = "\n".join(f"    {line}" for line in [*head, "for r, u in T.grid(1, 1):"])
        body += "\n".join(f"        {line}" for line in self.lines)
        params = "A: T.Buffer((8,), 'float32'), B: T.Buffer((8,), 'float32')"
        return f"@T.prim_func{'(s_tir=False)' if self.explicit else ''}\ndef f({params}):\n{body}\n"

    def index(self) -> str:
        n = self.threads
        forms = ["t", "t", "t", f"b * {n} + t", f"{n - 1} - t", f"(t + 1) % {n}", "r", "0", "t // 2", "t * 2", "b",
                 f"(t + r) % {n}", "u"]  # fmt: skip
        return f"({self.pick(forms)}) % 8"

    def element(self) -> str:
        return f"{self.pick('ASLGB')}[{self.index()}]"

    def store(self, depth: int) -> None:
        value = self.pick([self.element, lambda: f"{self.element()} + {self.element()}", lambda: "T.float32(1)"])()
        self.lines.append("    " * depth + f"{self.pick('SSGLBB')}[{self.index()}] = {value}")

    def sequence(self, depth: int, deeper: int) -> None:
        for _ in range(self.pick([1, 2, 2, 3])):
            self.statement(depth, deeper)

    def statement(self, depth: int, deeper: int) -> None:
        heads = {
            "for": ["for r in range(2):", "for r in range(t + 1):"],
            "if": ["if t < 1:", "if t < 2:", "if b < 1:", "if r < 1:", "if r == t:", "if A[0] < T.float32(0):"],
            "thread": [f"for u in T.thread_binding({extent}, thread='{tag}'):"
                       for extent in (self.threads, 2) for tag in ("threadIdx.x", "threadIdx.y", "vthread.x")],
            "free": ["for u in T.parallel(2):", "for u in T.vectorized(2):"],
        }  # fmt: skip
        kind = self.pick(["store", "store", "store", "store", "sync", *heads]) if deeper else "store"
        if kind in heads:
            self.lines.append("    " * depth + self.pick(heads[kind]))
            self.sequence(depth + 1, deeper - 1)
        elif kind == "sync" and self.explicit:
            self.lines.append("    " * depth + 'T.tvm_storage_sync("shared")')
        else:
            self.store(depth)


# --- agreement ---


def observed(func: PrimFunc, poison: tuple[str, ...]) -> tuple[str | None, set[str]] | None:
    """The rule that stopped a run, and the findings; None when the oracle does not run the program."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-3, 4, [int(e) for e in b.shape]).astype(b.dtype) for b in func.buffers]
    try:
        return None, {found.rule or "" for found in findings(func, *arrays, poison=poison)}
    except OracleError as error:
        return error.rule, set()
    except UnsupportedError:
        return None


def disagreements(proofs: dict[str, Proof], stopped: str | None, found: set[str]) -> list[str]:
    """What the run did that was proved not to happen, and what it did not do though that was proved."""
    wrong = [f"{rule} was broken, though {proofs[rule]}" for rule in {stopped, *found} & set(proofs)
             if proofs[rule].status == PROVED]  # fmt: skip
    if stopped and all(proof.status == PROVED for rule, proof in proofs.items() if RULES[rule] == MEANINGLESS):
        wrong.append(f"every rule was proved, but the run stopped by {stopped}")
    if stopped is None:
        wrong += [f"the run did not break what was refuted: {proof}" for proof in proofs.values()
                  if proof.status == REFUTED and proof.rule not in found]  # fmt: skip
    return wrong


def agree(func: PrimFunc, poison: tuple[str, ...], answers: Counter[str]) -> None:
    """One program: count the answers, fail where they contradict a run."""
    note(f"poison={poison}\n{func!r}")
    run = observed(func, poison)
    if run is None:
        return
    proofs = prove(func, poison=poison)
    answers.update(f"{rule} {proof.status}" for rule, proof in proofs.items())
    assert disagreements(proofs, *run) == []


def test_scheduled_kernels_agree() -> None:
    answers: Counter[str] = Counter()

    @settings(suppress_health_check=WATCHED)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        def pick(options: Any) -> Any:
            return data.draw(st.sampled_from(list(options)))

        func = scheduled(program(pick, max_blocks=3), pick, pick(range(2, 9)))
        for _ in range(pick([0, 0, 1, 2])):
            func = mistaken(func, pick)
        agree(func, pick([(), (func.buffers[-1].name,)]), answers)

    check()
    assert answers["thread.race PROVED"] > answers["thread.race UNKNOWN"]


def test_drawn_kernels_agree() -> None:
    answers: Counter[str] = Counter()

    @settings(suppress_health_check=WATCHED)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        def pick(options: Any) -> Any:
            return data.draw(st.sampled_from(list(options)))

        func = from_source(Kernel(pick).text())
        assert isinstance(func, PrimFunc)
        agree(func, pick([(), ("B",)]), answers)

    check()
    assert answers["thread.race PROVED"] + answers["thread.race REFUTED"]


def test_equivalence_of_kernels_agrees_with_runs() -> None:
    answers: Counter[str] = Counter()

    @settings(suppress_health_check=WATCHED)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        def pick(options: Any) -> Any:
            return data.draw(st.sampled_from(list(options)))

        func = program(pick, max_blocks=3)
        other = scheduled(func, pick, pick(range(2, 9)))
        wrong = pick([False, True])
        other = mistaken(other, pick) if wrong else other
        note(f"{func!r}\n{other!r}")
        found = prove_equivalent(func, other)
        if found:
            assert check_equivalent(func, other, trials=2).status != REFUTED
        answers[f"{found.status} {'wrong' if wrong else 'right'}"] += 1

    check()
    assert answers["PROVED right"]
