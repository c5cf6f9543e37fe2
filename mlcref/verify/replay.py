"""Verdicts again, from their JSON form."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from mlcref.errors import ScriptWarning
from mlcref.script import from_source
from mlcref.verify.equivalent import check_equivalent
from mlcref.verify.report import Verdict


def replay(form: Mapping[str, Any] | str | Verdict) -> Verdict:
    """Check the two programs of a counterexample again, on its inputs; ``form`` is a verdict, its JSON, or the text of
    that.

    Raises ``ValueError`` for JSON of another schema, and for verdicts without a counterexample.

    >>> from mlcref.script import from_source
    >>> text = '''
    ... @T.prim_func
    ... def f(A: T.Buffer((4,), "float32")):
    ...     for i in range(4):
    ...         A[i] = A[i] + T.float32(1)
    ... '''
    >>> verdict = check_equivalent(from_source(text), from_source(text.replace("float32(1)", "float32(2)")))
    >>> print(replay(verdict.as_json()).counterexample)
    A[0]: expected 1.0, got 2.0
    last written by A[i] = A[i] + T.float32(2.0) at i=0
    """
    verdict = form if isinstance(form, Verdict) else Verdict.from_json(form)
    example = verdict.counterexample
    if example is None or not all(example.programs):
        raise ValueError("only a counterexample can be replayed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScriptWarning)  # what looks wrong in the text is what is to be shown
        f, g = map(from_source, example.programs)
    if example.domain != "machine":
        return check_equivalent(f, g, seed=example.seed, trials=example.trials, poison=example.poison, minimize=False)
    return check_equivalent(f, g, inputs=[example.arguments], poison=example.poison, minimize=False)
