"""The harness for transformations: draw a program, transform it, ask the oracle whether it still means the same.

One example of a primitive is a drawn program, a few instructions before it, and the primitive with drawn arguments;
one of a pass is a drawn schedule, lowered up to the pass. Everything is drawn by ``pick(options)``, so that Hypothesis,
a seed and a replay all drive it. A refusal is right or too strict: where the primitive can be *forced*, the program
that it refused is built and checked too. :mod:`mlcref.testing.campaign` runs many examples and counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from mlcref.errors import MlcrefError, ScheduleError, UnsupportedError
from mlcref.ir import BlockRealize, For, PrimFunc, Token, Var, index, structural_equal, walk, wellformed
from mlcref.lower import PIPELINE, Pass, lower
from mlcref.schedule import TABLE, Primitive
from mlcref.schedule.table import Handle, forced
from mlcref.testing.pointers import exchanged, pointing_directly
from mlcref.testing.promises import broken, broken_by_pass
from mlcref.testing.recipes import cooked
from mlcref.testing.sites import site
from mlcref.verify.equivalent import check_equivalent
from mlcref.verify.findings import verify
from mlcref.verify.generate import STAGES, program, varied
from mlcref.verify.inputs import overlapping
from mlcref.verify.report import REFUTED, UNSUPPORTED, Verdict

Pick = Callable[..., Any]

NO_SITE, REFUSED, RIGHT, WRONG, UNDECIDED = "no site", "refused", "right", "wrong", "undecided"
"""What an example came to: no place for the transformation, refused, meaning kept, meaning lost (or a broken promise),
not decided by the oracle."""

FINDINGS = ("block.regions", "block.spatial")
"""What blocks declare: checked in one example of a few, where the program before is honest."""
_FIRST = {"unannotate": "annotate", "reverse_compute_inline": "cache_write", "decompose_reduction": "split"}
"""What goes before a primitive now and then; others go before themselves."""
_OFTEN = ("split", "parallel", "vectorize", "unroll", "compute_at", "cache_write", "decompose_reduction", "bind",
          "blockize")  # fmt: skip
_ONLY_WITH_THREADS = ("lower.pointer", "lower.threads", "lower.collective")
"""Refusals of passes that have a reason only where there are thread axes."""
QUIET = ("annotate", "unannotate", "add_unit_loop", "storage_align", "set_scope")
"""Primitives that seldom matter to those after them: drawn less often before the one under test."""
LONGEST_PREFIX = 3
MOST_DRAWS = 12
"""How often a program is drawn until a pass finds something to do in it."""
_MOST_STATEMENTS = 60_000


@dataclass(frozen=True)
class Step:
    """One instruction of an example: the primitive, its arguments, and what came of it."""

    name: str
    arguments: dict[str, Any]
    outcome: str
    rule: str = ""

    def __str__(self) -> str:
        shown = ", ".join(f"{key}={_shown(value)}" for key, value in self.arguments.items())
        return f"{self.name}({shown}): {self.outcome}{f' [{self.rule}]' if self.rule else ''}"


@dataclass
class Example:
    """What one example came to. ``forced`` is the outcome of a refusal that was forced through, None without one;
    ``lowered`` is what came of all lowering passes after a schedule, ``declared`` says whether declared regions are
    checked as well, ``seconds`` is the time that plan and build took."""

    target: str
    outcome: str = NO_SITE
    rule: str = ""
    forced: str | None = None
    what: str = ""
    lowered: str = ""
    declared: bool = False
    seconds: float = 0.0
    steps: list[Step] = field(default_factory=list)
    before: PrimFunc | None = None
    after: PrimFunc | None = None

    def __str__(self) -> str:
        lines = [f"{self.target}: {self.outcome} {self.rule}".rstrip(), *map(str, self.steps), self.what]
        for title, func in (("before", self.before), ("after", self.after)):
            if func is not None:
                lines += [f"# {title}", _text(func.script)]
        return "\n".join(lines)


class BrokenPromiseError(MlcrefError):
    """A transformation returned something that its record excludes."""


_FAILURES = (
    MlcrefError, ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RecursionError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What a broken transformation raises: an example reports it."""


def _told(error: BaseException) -> str:
    """The kind of an error and its text."""
    return f"{type(error).__name__}: {_text(lambda: str(error))}"


def _text(made: Callable[[], str]) -> str:
    """A text that is drawn from a program: there may be none where a broken transformation made the program."""
    try:
        return made()
    except _FAILURES as error:
        return f"(there is no text: {type(error).__name__})"


def primitive_example(name: str, pick: Pick, *, force: bool = True, options: dict[str, Any] | None = None) -> Example:
    """Draw a program, some instructions, and then the primitive ``name``; check the last one.

    ``options`` are those of ``check_equivalent``. Never raises for what the primitive does wrong: a refutation, an
    ill-formed program, a handle that the record does not account for and a crash all are the outcome "wrong".

    >>> from random import Random
    >>> from mlcref.testing.harness import primitive_example
    >>> random = Random(1)
    >>> pick = lambda options, weights=None: random.choice(options)
    >>> outcomes = {primitive_example("split", pick).outcome for _ in range(20)}
    >>> "right" in outcomes, "wrong" in outcomes
    (True, False)
    """
    primitive, example = TABLE[name], Example(name)
    special = site(f"primitive:{name}", pick)
    func = special or drawn_program(pick)
    example.declared = pick([False, False, True])
    first = [_FIRST.get(name, name)] if pick([False, False, False, True]) or name == "unannotate" else []
    longest = LONGEST_PREFIX if special is None else pick([0, 0, 1])
    for before in [*first, *([""] * pick(range(longest + 1)))]:
        try:
            if before or pick([True, True, False]):
                func = _prefix_step(func, pick, example, before)
            else:
                func = cooked(func, pick, lambda kind, given: example.steps.append(Step(kind, given, "applied")))
        except _FAILURES as error:
            return _broken_before(example, func, error)
    example.before = func
    try:
        arguments = primitive.arguments(pick, func)
    except _FAILURES as error:
        return _broken_before(example, func, error)
    if arguments is None:
        return example
    _apply(primitive, func, arguments, example, options or {})
    if example.outcome == REFUSED and force:
        example.forced = _force(primitive, func, arguments, example.rule, options or {})
    example.steps.append(Step(name, arguments, example.outcome, example.rule))
    return example


def _broken_before(example: Example, func: PrimFunc, error: BaseException) -> Example:
    example.before, example.outcome = func, WRONG
    example.what = f"an instruction before it: {_told(error)}"
    return example


def drawn_program(pick: Pick) -> PrimFunc:
    """A program of a few small blocks (:func:`mlcref.verify.generate.varied`), now and then one of longer loops."""
    if pick([False] * 9 + [True]):
        return program(pick, pick([1, 2]), stages=STAGES[:5], extents=(16, 20, 33, 2))
    return varied(pick)


def _prefix_step(func: PrimFunc, pick: Pick, example: Example, name: str = "") -> PrimFunc:
    names = [name] if name else [*(n for n in TABLE if n not in QUIET), *(n for n in _OFTEN if n in TABLE)]
    step = apply_one(TABLE[pick(names)], func, pick, example.steps)
    return func if step is None else step


def apply_one(primitive: Primitive, func: PrimFunc, pick: Pick, steps: list[Step]) -> PrimFunc | None:
    """``func`` with the primitive applied at a drawn place; None where there is none or it refuses."""
    arguments = primitive.arguments(pick, func)
    if arguments is None:
        return None
    try:
        facts = primitive.plan(func, **arguments)
    except ScheduleError as error:
        steps.append(Step(primitive.name, arguments, REFUSED, error.rule or ""))
        return None
    steps.append(Step(primitive.name, arguments, "applied"))
    new, _ = primitive.build(func, facts)
    wellformed(new)
    return new


def _apply(
    primitive: Primitive, func: PrimFunc, arguments: dict[str, Any], example: Example, options: dict[str, Any]
) -> None:
    text, start = func.script(), time.perf_counter()
    try:
        facts = primitive.plan(func, **arguments)
    except ScheduleError as error:
        example.outcome, example.rule = REFUSED, error.rule or ""
        if not _listed(primitive, example.rule):
            example.outcome, example.what = WRONG, f"the rule {example.rule!r} is not listed"
        return
    except _FAILURES as error:
        example.outcome, example.what = WRONG, f"plan raised {_told(error)}"
        return
    try:
        new, outputs = primitive.build(func, facts)
        example.seconds, example.after = time.perf_counter() - start, new
        wellformed(new)
        _check_handles(primitive, func, arguments, new, outputs)
        _check_kept(func, arguments, new)
        undone = broken(primitive.name, func, new, arguments, outputs)
        if undone is not None:
            raise BrokenPromiseError(undone)
        if func.script() != text:
            raise BrokenPromiseError("the program that was given has changed")
    except _FAILURES as error:
        example.outcome, example.what = WRONG, f"build: {_told(error)}"
        return
    example.outcome, example.what = judged(func, new, options)
    undeclared = _undeclared(func, new) if example.outcome == RIGHT and example.declared else ""
    if undeclared:
        example.outcome, example.what = WRONG, undeclared


def judged(before: PrimFunc, after: PrimFunc, options: dict[str, Any]) -> tuple[str, str]:
    """Does ``after`` refine ``before``? An outcome, and the verdict's text where it is not "right"."""
    limits = {"minimize": False, "max_statements": _MOST_STATEMENTS, **options}
    verdict: Verdict = check_equivalent(before, after, **limits)
    if verdict.status == REFUTED:
        return WRONG, str(verdict)
    return (UNDECIDED, str(verdict)) if verdict.status == UNSUPPORTED else (RIGHT, "")


def _listed(primitive: Primitive, rule: Any) -> bool:
    if not isinstance(rule, str):
        return False
    name, _, number = rule.partition(".")
    return name == "handle" or (name == primitive.name and number in primitive.preconditions)


def _check_handles(
    primitive: Primitive, func: PrimFunc, arguments: dict[str, Any], new: PrimFunc, outputs: Sequence[Handle]
) -> None:
    before, after = handles_of(func), handles_of(new)
    if not after >= set(outputs):
        raise BrokenPromiseError("a handle that is returned stands for nothing")
    if before & set(outputs) or len(set(outputs)) != len(outputs):
        raise BrokenPromiseError("a handle that is returned was there before, or is returned twice")
    if (primitive.returns == "none") != (not outputs) or (primitive.returns == "one" and len(outputs) != 1):
        raise BrokenPromiseError(f"{len(outputs)} handles are returned")
    lost, consumed = before - after, primitive.consumes(func, **arguments) & before
    if lost != consumed:
        names = ", ".join(sorted(_shown(handle) for handle in lost ^ consumed))
        raise BrokenPromiseError(f"the record and the result disagree on what goes stale: {names}")


def _check_kept(func: PrimFunc, arguments: dict[str, Any], new: PrimFunc) -> None:
    """Loops and blocks that keep their handles, and that no argument names, keep how they run and their annotations."""
    before, after, named = index(func), index(new), set(_handles_in(list(arguments.values())))
    for var in (before.loops.keys() & after.loops.keys()) - named:
        x, y = before.loops[var], after.loops[var]
        if (x.kind, x.thread, x.annotations) != (y.kind, y.thread, y.annotations):
            raise BrokenPromiseError(f"loop {var.name} runs in another way than before")
    for token in (before.blocks.keys() & after.blocks.keys()) - named:
        if before.blocks[token].block.annotations != after.blocks[token].block.annotations:
            raise BrokenPromiseError(f"block {token.hint} has other annotations than before")


def _handles_in(value: Any) -> Iterator[Handle]:
    if isinstance(value, Var | Token):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _handles_in(item)


def _undeclared(before: PrimFunc, after: PrimFunc) -> str:
    """What blocks declare and was true is true no more: the findings, "" without any."""
    verdict = verify(after, rules=FINDINGS, trials=1, max_statements=_MOST_STATEMENTS)
    if not verdict.findings:
        return ""
    return "" if verify(before, rules=FINDINGS, trials=1, max_statements=_MOST_STATEMENTS).findings else str(verdict)


def handles_of(func: PrimFunc) -> set[Handle]:
    """The loops and blocks of a program."""
    where = index(func)
    return {*where.loops, *where.blocks}


def _force(
    primitive: Primitive, func: PrimFunc, arguments: dict[str, Any], rule: str, options: dict[str, Any]
) -> str | None:
    """What comes of the refused call when its precondition is not checked; None where it cannot be built."""
    number = rule.partition(".")[2]
    if number not in primitive.forceable:
        return None
    try:
        with forced(primitive.forceable):
            new, _ = primitive.build(func, primitive.plan(func, **arguments))
        wellformed(new)
    except _FAILURES:  # the facts do not fit together: what was refused could not have been built anyway
        return None
    outcome = judged(func, new, options)[0]
    return WRONG if outcome == RIGHT and _undeclared(func, new) else outcome


# ---- passes


def pass_example(name: str, pick: Pick, *, options: dict[str, Any] | None = None) -> Example:
    """Draw a program and a schedule of it, lower it up to the pass ``name``, and check that pass.

    Programs in which the pass finds nothing to do are drawn again, a few times; the outcome is "no site" when all of
    them were such, "refused" when a pass says that it cannot translate the program.
    """
    example = Example(name)
    for _ in range(MOST_DRAWS):
        example = _pass_once(name, pick, options or {})
        if example.outcome != NO_SITE:
            break
    return example


def _pass_once(name: str, pick: Pick, options: dict[str, Any]) -> Example:
    example, step = Example(name), next(step for step in PIPELINE if step.name == name)
    special = site(f"pass:{name}", pick)
    func = special or drawn_program(pick)
    try:
        if special is None or (isinstance(func.body, BlockRealize) and pick([False, False, True])):
            func = scheduled(func, pick, example.steps)
        if name == "declare_pointed" or pick([False] * 11 + [True]):
            func = _calling(func, pick)
    except _FAILURES as error:
        return _broken_before(example, func, error)
    try:
        for earlier in PIPELINE[: PIPELINE.index(step)]:
            if earlier.run is not step.run or pick([True, False]):  # a pass would hide its mistakes from its second run
                func = earlier.run(func)
    except UnsupportedError as error:
        example.rule = error.rule or ""  # not of this pass: there is nothing for it to do
        return example
    except _FAILURES as error:
        return _broken_before(example, func, error)
    example.before = func
    _run_pass(step, func, example, options)
    return example


def _calling(func: PrimFunc, pick: Pick) -> PrimFunc:
    """``func`` with a block that calls a function on pointers, into views or into the buffers themselves."""
    new = exchanged(func, pick)
    kind = pick(["views", "buffers", "elements"])
    return func if new is None else new if kind == "views" else pointing_directly(new, kind == "elements")


def _run_pass(step: Pass, func: PrimFunc, example: Example, options: dict[str, Any]) -> None:
    text = func.script()
    try:
        after = step.run(func)
        undone = broken_by_pass(step.name, after)
        if undone is not None:
            raise BrokenPromiseError(undone)
        if after is func:
            return
        example.after = after
        wellformed(after, step.stage)
        if func.script() != text:
            raise BrokenPromiseError("the program that was given has changed")
        if structural_equal(func, after):
            return
    except UnsupportedError as error:
        example.outcome, example.rule = REFUSED, error.rule or ""
        if example.rule in _ONLY_WITH_THREADS and not _has_threads(func):
            example.outcome, example.what = WRONG, f"refused without a reason: {error.what}"
        return
    except _FAILURES as error:
        example.outcome, example.what = WRONG, _told(error)
        return
    example.outcome, example.what = judged(func, after, options)
    calls = list(overlapping(func, ("small", "random"), 0)) if example.outcome == RIGHT else []
    if calls:
        outcome, what = judged(func, after, {**options, "inputs": calls})
        if outcome == WRONG:
            example.outcome, example.what = WRONG, f"with arguments that overlap: {what}"


def _has_threads(func: PrimFunc) -> bool:
    return any(isinstance(node, For) and node.kind == "thread_binding" for node in walk(func.body))


def scheduled(func: PrimFunc, pick: Pick, steps: list[Step], longest: int = 4) -> PrimFunc:
    """``func`` after recipes (:mod:`mlcref.testing.recipes`) and up to ``longest`` drawn instructions."""
    names = [n for n in TABLE if n not in QUIET] + [n for n in _OFTEN if n in TABLE] * 2
    for _ in range(pick(range(longest + 1))):
        if pick([False, True]):
            func = cooked(func, pick, lambda name, given: steps.append(Step(name, given, "applied")))
        else:
            new = apply_one(TABLE[pick(names)], func, pick, steps)
            func = func if new is None else new
    return func


# ---- traces


def trace_example(
    pick: Pick, longest: int = 12, *, lowering: bool = False, options: dict[str, Any] | None = None
) -> Example:
    """Draw a program and up to ``longest`` instructions, and check the end against the beginning; with ``lowering``
    also the lowered program against the scheduled one.

    Where they differ, the first wrong instruction or pass is found; its name is the example's ``rule``.
    """
    example, func = Example("trace"), drawn_program(pick)
    programs = [func]
    names = list(TABLE)
    for _ in range(pick(range(1, longest + 1))):
        try:
            new = apply_one(TABLE[pick(names)], programs[-1], pick, example.steps)
        except _FAILURES as error:
            return _broken_before(example, programs[-1], error)
        if new is not None:
            programs.append(new)
    example.before, example.after = func, programs[-1]
    example.outcome, example.what = judged(func, programs[-1], options or {})
    if example.outcome == WRONG:
        _first_wrong(example, programs, options or {})
    elif lowering:
        _lower(programs[-1], example, options or {})
    return example


def _lower(func: PrimFunc, example: Example, options: dict[str, Any]) -> None:
    stages: list[tuple[str, PrimFunc]] = []
    try:
        result = lower(func, after=lambda name, lowered: stages.append((name, lowered)))
    except UnsupportedError as error:
        example.lowered = f"{REFUSED} {error.rule or ''}".strip()
        return
    except _FAILURES as error:
        example.outcome, example.lowered, example.before = WRONG, WRONG, func
        example.what = f"lowering: {_told(error)}"
        return
    example.lowered, what = judged(func, result, options)
    if example.lowered != WRONG:
        return
    example.outcome, example.what, example.before, example.after = WRONG, what, func, result
    for (_, before), (name, after) in pairwise([("", func), *stages]):
        outcome, what = judged(before, after, options)
        if outcome == WRONG:
            example.rule, example.what, example.before, example.after = name, what, before, after
            return


def _first_wrong(example: Example, programs: Sequence[PrimFunc], options: dict[str, Any]) -> None:
    applied = [step for step in example.steps if step.outcome == "applied"]
    for before, after, step in zip(programs, programs[1:], applied, strict=False):
        outcome, what = judged(before, after, options)
        if outcome == WRONG:
            example.rule, example.what, example.before, example.after = step.name, what, before, after
            return


def _shown(value: Any) -> str:
    if isinstance(value, Token):
        return value.hint
    if isinstance(value, Var):
        return value.name
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
