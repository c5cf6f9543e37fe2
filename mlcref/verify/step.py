"""One step of a schedule or a pipeline: does the program after it refine the program before it? Quick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mlcref.interp.run import select
from mlcref.ir import IRModule, PrimFunc
from mlcref.verify.equivalent import check_equivalent
from mlcref.verify.proofs import attempt_equivalence
from mlcref.verify.report import PROVED, UNSUPPORTED, Verdict
from mlcref.verify.runs import traits_of

STEP_STATEMENTS = 50_000


def check_step(
    before: PrimFunc | IRModule,
    after: PrimFunc | IRModule,
    *,
    by: Literal["oracle", "prove"] = "oracle",
    poison: Sequence[str] = (),
    seed: int = 0,
    max_statements: int | None = STEP_STATEMENTS,
    entry: str = "main",
) -> Verdict:
    """Does ``after`` refine ``before``, where one is a small change of the other?

    :func:`check_equivalent` with a small budget: ``by="oracle"`` runs both, ``by="prove"`` asks for a static proof
    first, for all inputs and sizes, and runs them where there is none. Runs and dataflow of a program are remembered,
    so that in a chain of steps every program is run and analysed once. Refutations keep their inputs as drawn.

    "REFUTED" says that the step is wrong; "UNSUPPORTED" that it was not decided: the program is too large to run
    (``max_statements``), or the oracle does not run it. Raises ``UnsupportedError`` for "prove" without islpy.

    >>> from mlcref.script import from_source
    >>> text = '''
    ... @T.prim_func
    ... def f(A: T.Buffer((4,), "float32")):
    ...     for i in range(4):
    ...         A[i] = A[i] * T.float32(2)
    ... '''
    >>> check_step(from_source(text), from_source(text.replace("range", "T.parallel"))).status
    'TESTED'
    """
    if by not in ("oracle", "prove"):
        raise ValueError(f'by is "oracle" or "prove", not {by!r}')
    if after is before:
        return Verdict(PROVED, "the step changed nothing", seed=seed)
    f, g = select(before, entry), select(after, entry)
    stores = max(traits_of(func).stores for func in (f, g))
    if max_statements is not None and stores > max_statements:
        verdict = Verdict(UNSUPPORTED, f"budget: a run takes about {stores} stores", seed=seed)
        return verdict if by == "oracle" else attempt_equivalence(f, g, poison, True).judged(verdict, f, g)
    return check_equivalent(
        f, g, poison=poison, seed=seed, max_statements=max_statements, minimize=False, prove=by == "prove"
    )  # fmt: skip
