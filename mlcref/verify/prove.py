"""Static proofs, for all inputs and all sizes, by integer sets (extra ``prove``: ``pip install mlcref[prove]``).

Loops with affine bounds and affine accesses (``//`` and ``%`` by constants included) are sets of instances and
relations between instances and cells, so that a rule of ``docs/semantics.md`` holds when a set of violations is empty
(Feautrier 1991; Verdoolaege, "isl: an integer set library for the polyhedral model", 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from mlcref.errors import MlcrefError
from mlcref.interp.rules import MEANINGLESS, RULES
from mlcref.ir import Buffer, PrimFunc
from mlcref.verify.prove_affine import NotAffine
from mlcref.verify.prove_blocks import epochs, inits, repeats, repetitions
from mlcref.verify.prove_equal import Matching
from mlcref.verify.prove_extract import extract
from mlcref.verify.prove_flow import Flow, coverage, output, undefined
from mlcref.verify.prove_isl import isl
from mlcref.verify.prove_model import Model, NotModelled
from mlcref.verify.prove_races import loop_races, thread_races
from mlcref.verify.prove_rules import assertions, bounds, domains, limits, overflow, regions, spatial
from mlcref.verify.prove_sources import Side
from mlcref.verify.prove_violations import PROVED, REFUTED, UNKNOWN, Check, Proof, Unclear, Violation, judge

__all__ = ["PROVED", "REFUTED", "RULES_OF_PROOFS", "UNKNOWN", "Proof", "prove", "prove_equivalent"]

OPERATIONS = 4_000_000
"""How many operations isl may spend on one question; beyond that the answer is UNKNOWN."""

_LOCAL: dict[str, Check] = {
    "memory.bounds": bounds,
    "block.domain": domains,
    "value.index": overflow,
    "stmt.assert": assertions,
    "block.regions": regions,
    "memory.alias": limits("memory.alias"),
    "thread.extent": limits("thread.extent"),
    "thread.sync": limits("thread.sync"),
}
_RACES: dict[str, Check] = {"loop.race": loop_races, "thread.race": thread_races}
_ORDERED: dict[str, Check] = {
    "block.init": inits,
    "block.repeat": repeats,
}
_VALUES = ("value.division", "value.shift", "value.cast")
_FLOW = ("value.undefined", "memory.output", "block.epoch", "block.coverage")
_ORDERLESS = ("value.undefined", "memory.output", "block.coverage")
"""Rules about values, which are the same in every order where threads do not conflict."""

RULES_OF_PROOFS = (*_LOCAL, *_RACES, *_ORDERED, "block.spatial", *_FLOW, *_VALUES)
"""The rules that :func:`prove` answers: all that a program can break, but for those about the arguments of a call."""


def prove(func: PrimFunc, rules: Sequence[str] | None = None, *, poison: Sequence[str] = ()) -> dict[str, Proof]:
    """Does ``func`` keep ``rules`` for all inputs and all sizes of its shapes? One answer per rule.

    ``rules`` are names of ``docs/semantics.md``, by default ``RULES_OF_PROOFS``. "PROVED": no call breaks the rule,
    given arguments that do not overlap. "REFUTED": some call does, unless it breaks another rule before; the answer has
    sizes and loop variables. "UNKNOWN" comes with what is not modelled. Parameters in ``poison`` start undefined.

    Raises ``UnsupportedError`` without islpy, ``MlcrefError`` for a rule that no proof is about.

    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(a: T.handle, b: T.handle):
    ...     n = T.int64()
    ...     A = T.match_buffer(a, (n,), "float32")
    ...     B = T.match_buffer(b, (n,), "float32")
    ...     for i in T.parallel(n):
    ...         B[i] = A[i] + A[i + 1]
    ... ''')
    >>> found = prove(f, ["loop.race", "memory.bounds"])
    >>> print(found["loop.race"])
    loop.race: PROVED
    >>> print(found["memory.bounds"])
    memory.bounds: REFUTED; A is read out of bounds in dimension 0; sizes n=1; at i=0
    """
    chosen = tuple(RULES_OF_PROOFS if rules is None else rules)
    unknown = [rule for rule in chosen if rule not in RULES_OF_PROOFS]
    if unknown:
        raise MlcrefError(f"no proof is about {', '.join(unknown)}", hint=f"one of {', '.join(RULES_OF_PROOFS)}")
    try:
        question = question_about(func, tuple(poison))
    except NotModelled as error:
        return {rule: Proof(rule, UNKNOWN, str(error)) for rule in chosen}
    return {rule: limited(lambda rule=rule: question.answer(rule), rule) for rule in chosen}  # type: ignore[misc]


def limited(answer: Callable[[], Proof], rule: str) -> Proof:
    """``answer()``, or UNKNOWN when isl would take too long."""
    context = isl.DEFAULT_CONTEXT
    context.set_max_operations(OPERATIONS)
    context.reset_operations()
    try:
        return answer()
    except isl.Error as error:
        return Proof(rule, UNKNOWN, f"isl: {str(error).splitlines()[0]}")
    finally:
        context.set_max_operations(0)
        context.reset_operations()


def prove_equivalent(f: PrimFunc, g: PrimFunc, *, poison: Sequence[str] = ()) -> Proof:
    """Does ``g`` refine ``f`` for all inputs and all sizes, as ``check_equivalent`` asks it?

    "PROVED" when both compute every element of every parameter from the same expression over the same elements, and
    ``g`` keeps every rule without which it means nothing. Sums, products, maxima and minima may take their operands in
    any order and grouping, as schedules do, which for floats is the same up to rounding. Arguments do not overlap, and
    sizes are such that index arithmetic does not overflow. Otherwise "UNKNOWN" with the reason; it never refutes.
    Parameters of ``f`` in ``poison`` start undefined.

    Raises ``UnsupportedError`` without islpy.

    >>> from mlcref.script import from_source
    >>> text = '''
    ... @T.prim_func
    ... def f(a: T.handle, b: T.handle):
    ...     n = T.int64()
    ...     A = T.match_buffer(a, (n,), "float32")
    ...     B = T.match_buffer(b, (n,), "float32")
    ...     for i in range(n):
    ...         B[i] = A[i] + T.float32(1)
    ... '''
    >>> backwards = text.replace("B[i] = A[i]", "B[n - 1 - i] = A[n - 1 - i]")
    >>> prove_equivalent(from_source(text), from_source(backwards)).status
    'PROVED'
    >>> prove_equivalent(from_source(text), from_source(text.replace("1)", "2)"))).status
    'UNKNOWN'
    """
    rule = "equivalence"
    try:
        left = question_about(f, tuple(poison))
        names = {p.name: q.name for p, q in zip(f.params, g.params, strict=False)}
        right = question_about(g, tuple(names.get(name, name) for name in poison))
        mismatch = _signature_mismatch(left.model, right.model)
        if mismatch:
            return Proof(rule, UNKNOWN, mismatch)
        return limited(lambda: _equivalent(left, right), rule)
    except (NotModelled, Unclear, NotAffine) as error:
        return Proof(rule, UNKNOWN, str(error))


def _equivalent(left: Question, question: Question) -> Proof:
    rule = "equivalence"
    if left.model.doubtful and not left.race_free():
        return Proof(rule, UNKNOWN, left.model.doubtful)
    needed = [name for name in RULES_OF_PROOFS if RULES[name] == MEANINGLESS]
    for name in needed:
        if name == "value.index" and question.model.params:
            continue
        proof = question.answer(name)
        if not proof:
            return Proof(rule, UNKNOWN, f"the second program may mean nothing: {proof}")
    flow, other = left.flow(), question.flow()
    if flow.uncertain or other.uncertain:
        return Proof(rule, UNKNOWN, "what is stored depends on conditions that are not modelled")
    matching = Matching(Side(flow.model, flow), Side(other.model, other))
    for a, b in zip(flow.finals, other.finals, strict=True):
        elements = flow.final(a).domain()
        if not flow.given(a):
            elements = elements.subtract(flow.unwritten(a).domain())
        pairs = elements.identity().set_tuple_name(isl.dim_type.out, other.finals[b])
        if not pairs.is_subset(matching.equal(a, a, b, b, pairs)):
            return Proof(rule, UNKNOWN, f"{a.name} is not computed from the same expressions, or not recognisably")
    return Proof(rule, PROVED, "every element is computed from the same expression over the same elements")


def _signature_mismatch(left: Model, right: Model) -> str:
    f, g = left.func, right.func
    if len(f.params) != len(g.params):
        return f"the programs take {len(f.params)} and {len(g.params)} arguments"
    for p, q in zip(f.params, g.params, strict=True):
        buffers = isinstance(p, Buffer), isinstance(q, Buffer)
        if p.type != q.type or buffers[0] != buffers[1]:
            return f"parameters {p.name} and {q.name} differ in kind or data type"
        if buffers[0] and (left.shapes[p] != right.shapes[q] or None in left.shapes[p]):
            return f"the shapes of {p.name} and {q.name} are not known to be the same"
    return "" if left.params == right.params else "the shape variables differ"


class Question:
    """One function, asked about its rules."""

    def __init__(self, model: Model, poison: tuple[str, ...]) -> None:
        self.model, self.poison = model, poison
        self._flow: Flow | None = None
        self._answers: dict[str, Proof] = {}

    def flow(self) -> Flow:
        """The dataflow, computed once."""
        if self._flow is None:
            self._flow = Flow(self.model, self.poison)
        return self._flow

    def answer(self, rule: str) -> Proof:
        """The answer about one rule, found once."""
        if rule not in self._answers:
            self._answers[rule] = self.find(rule)
        return self._answers[rule]

    def find(self, rule: str) -> Proof:
        """The same, found out."""
        model = self.model
        if rule in _LOCAL:
            return judge(rule, model, _LOCAL[rule])
        if rule in _VALUES:
            return self.values(rule)
        if rule in _RACES:
            return judge(rule, model, _RACES[rule])
        if model.unordered or (model.doubtful and rule not in _ORDERLESS):
            return Proof(rule, UNKNOWN, model.unordered or model.doubtful)
        if model.doubtful and not self.race_free():
            return Proof(rule, UNKNOWN, model.doubtful)
        if rule in _ORDERED:
            return judge(rule, model, _ORDERED[rule])
        try:
            return self.about_flow(rule)
        except Unclear as error:
            return Proof(rule, UNKNOWN, str(error))

    def race_free(self) -> bool:
        """Do threads certainly not conflict, so that it does not matter where barriers are?"""
        return bool(self.answer("thread.race"))

    def values(self, rule: str) -> Proof:
        """Operations that may mean nothing: proved where there are none."""
        reason = self.model.unclear.get(rule)
        return Proof(rule, PROVED, "no operation can break it") if reason is None else Proof(rule, UNKNOWN, reason)

    def about_flow(self, rule: str) -> Proof:
        """Rules about order and values."""
        model = self.model
        if rule == "value.undefined":
            return undefined(model, self.flow())
        if rule == "memory.output":
            return output(model, self.flow())
        if rule == "block.spatial":
            return judge(rule, model, _spatial)
        about = epochs if rule == "block.epoch" else coverage
        return judge(rule, model, lambda m: about(m, self.flow()))


@lru_cache(maxsize=16)
def question_about(func: PrimFunc, poison: tuple[str, ...]) -> Question:
    """The question about a function, remembered: a schedule asks about each of its programs twice. Raises
    ``NotModelled``."""
    return Question(extract(func), poison)


def _spatial(model: Model) -> Iterator[Violation]:
    yield from spatial(model)
    yield from repetitions(model)
