"""What a check says in the end: verdicts, counterexamples, findings. Their JSON form is in
:mod:`mlcref.verify.json_form`, what is stable about them in ``docs/contract.md``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcref.errors import MlcrefError, OracleError
from mlcref.interp.rules import RULES
from mlcref.verify import json_form

PROVED, TESTED, REFUTED, UNSUPPORTED = "PROVED", "TESTED", "REFUTED", "UNSUPPORTED"
EXIT_CODES = {PROVED: 0, TESTED: 0, REFUTED: 1, UNSUPPORTED: 2}
_LONGEST_LINE = 400


@dataclass(frozen=True)
class Finding:
    """A rule that a program breaks: its id, its severity, what happened in one line, the whole report."""

    rule: str
    severity: str
    what: str
    report: str

    @classmethod
    def of(cls, error: MlcrefError) -> Finding:
        """The finding that an error reports."""
        rule = error.rule or ""
        return cls(rule, RULES.get(rule, "meaningless"), error.what, str(error))

    def __str__(self) -> str:
        return self.report


@dataclass(frozen=True)
class Counterexample:
    """Inputs on which two programs differ.

    ``arguments`` are arrays and numbers in the order of the parameters, as they were before the call. ``buffer``,
    ``indices``, ``expected`` and ``got`` say where the results differ and ``tolerance`` by how much rounding alone
    could explain; ``error`` is the oracle's report where the second program means nothing. ``domain`` is where they
    differ: "machine" (numbers as stored), "wide" (floats in float64: the real functions differ) or "field" (a random
    point of a finite field, which ``seed`` and ``trial`` determine; the arguments do not show it).

    ``programs`` are the texts of both; ``poison`` and ``trials`` the options of the check. ``statement`` is the store
    of the second program that wrote the element last, ``iteration`` the values of its loop variables and iterators.
    ``step`` names the first wrong instruction or pass and ``trace`` those up to it, where a bisection found them.
    """

    arguments: tuple[Any, ...]
    names: tuple[str, ...]
    seed: int
    trial: int
    buffer: str = ""
    indices: tuple[int, ...] = ()
    expected: Any = None
    got: Any = None
    tolerance: float = 0.0
    error: OracleError | None = None
    domain: str = "machine"
    programs: tuple[str, str] = ("", "")
    poison: tuple[str, ...] = ()
    trials: int | None = None
    statement: str = ""
    iteration: Mapping[str, int] = field(default_factory=dict)
    step: str = ""
    trace: tuple[str, ...] = ()
    report: Finding | None = None
    """The content of ``error``; what JSON keeps of it."""

    def __post_init__(self) -> None:
        if self.error is not None and self.report is None:
            object.__setattr__(self, "report", Finding.of(self.error))

    @property
    def inputs(self) -> dict[str, Any]:
        """The arguments by parameter name."""
        return dict(zip(self.names, self.arguments, strict=True))

    @property
    def element(self) -> str:
        """Where the results differ; empty where the second program means nothing."""
        return f"{self.buffer}[{', '.join(map(str, self.indices))}]" if self.buffer else ""

    def __str__(self) -> str:
        if self.report is not None:
            return f"the second program means nothing on an input on which the first is defined:\n{self.report}"
        allowed = f", rounding explains at most {self.tolerance:.3g}" if self.tolerance else ""
        unit = {"machine": "", "wide": " (floats in float64)", "field": " (modulo a prime)"}[self.domain]
        lines = [f"{self.element}: expected {self.expected!r}, got {self.got!r}{allowed}{unit}"]
        if self.statement:
            at = ", ".join(f"{name}={value}" for name, value in self.iteration.items())
            lines.append(f"last written by {self.statement}{f' at {at}' if at else ''}")
        elif self.programs[1]:
            lines.append("the second program never writes it")
        return "\n".join(lines)

    def describe_inputs(self) -> str:
        """The arguments, shortened."""
        with np.printoptions(threshold=12, edgeitems=3, precision=6):
            return "\n".join(f"  {name} = {value!r}" for name, value in self.inputs.items())

    @property
    def replay(self) -> str:
        """One line that shows the difference again, for programs ``f`` and ``g``."""
        poison = f", poison={self.poison!r}" if self.poison else ""
        if self.domain != "machine":
            return f"check_equivalent(f, g, seed={self.seed}, trials={self.trials}{poison})"
        inputs = ", ".join(map(_literal, self.arguments))
        line = f"check_equivalent(f, g, inputs=[({inputs},)]{poison})"
        if len(line) > _LONGEST_LINE:
            return f"check_equivalent(f, g, inputs=[verdict.counterexample.arguments]{poison})"
        return line


def _literal(argument: Any) -> str:
    if not isinstance(argument, np.ndarray):
        return repr(argument)
    if argument.size and not argument.any() and not np.signbit(argument.astype(float)).any():
        return f"np.zeros({argument.shape}, {argument.dtype.name!r})"
    numbers = repr(argument.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
    empty = f".reshape({argument.shape})" if not argument.size else ""
    return f"np.array({numbers}, {argument.dtype.name!r}){empty}"


@dataclass(frozen=True)
class Verdict:
    """The result of a check: ``status`` is "PROVED", "TESTED", "REFUTED" or "UNSUPPORTED"; the first two are true.

    ``p_miss`` bounds the probability, over the seed, that a difference on the paths taken was not seen; None where no
    bound is known. ``findings`` are the reports of :func:`mlcref.verify.verify`. ``seed`` and ``trials`` repeat it.

    >>> bool(Verdict("TESTED", "3 inputs")), str(Verdict("UNSUPPORTED", "budget"))
    (True, 'UNSUPPORTED: budget')
    >>> print(Verdict("TESTED", "1 input", p_miss=2.5e-18))
    TESTED(p_miss <= 2.5e-18): 1 input
    """

    status: str
    detail: str
    counterexample: Counterexample | None = None
    p_miss: float | None = None
    seed: int = 0
    trials: int = 0
    findings: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return self.status in (PROVED, TESTED)

    @property
    def exit_code(self) -> int:
        """What a command that ends with this verdict returns: 0 accepted, 1 refuted, 2 not decided."""
        return EXIT_CODES[self.status]

    def __str__(self) -> str:
        bound = f"(p_miss <= {self.p_miss:.2g})" if self.p_miss is not None else ""
        parts = [f"{self.status}{bound}: {self.detail}", *map(str, self.findings)]
        example = self.counterexample
        if example is not None:
            if example.step:
                parts.append(f"first wrong step: {example.step}")
            parts += [str(example), example.describe_inputs(), f"replay: {example.replay}"]
        return "\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """The verdict as JSON values, of the schema "mlcref.verdict/1" (``docs/contract.md``).

        >>> Verdict("UNSUPPORTED", "budget").as_json()["status"]
        'UNSUPPORTED'
        """
        made = json_form.fields_of(self, exclude=("counterexample", "findings"))
        made["findings"] = [json_form.fields_of(finding) for finding in self.findings]
        made["counterexample"] = None
        if self.counterexample is not None:
            made["counterexample"] = json_form.fields_of(self.counterexample, exclude=("error", "report"))
            report = self.counterexample.report
            made["counterexample"]["report"] = report and json_form.fields_of(report)
            made["counterexample"]["replay"] = self.counterexample.replay
        return {"schema": json_form.SCHEMA, **made, "exit_code": self.exit_code}

    @classmethod
    def from_json(cls, form: Mapping[str, Any] | str) -> Verdict:
        """The verdict that :meth:`as_json` (or its text) describes; ``error`` is lost, its ``report`` is not.

        Raises ``ValueError`` for another schema and for missing or unknown fields.

        >>> Verdict.from_json(Verdict("TESTED", "1 input", p_miss=0.5).as_json()).p_miss
        0.5
        """
        fields = json_form.checked(form)
        found = [Finding(**each) for each in fields["findings"]]
        example = fields["counterexample"]
        if example is not None:
            example = {name: json_form.decoded(value) for name, value in example.items() if name != "replay"}
            if example["report"] is not None:
                example["report"] = Finding(**example["report"])
            for name in ("arguments", "names", "indices", "programs", "poison", "trace"):
                example[name] = tuple(example[name])
            example = Counterexample(**example)
        simple = {name: fields[name] for name in ("status", "detail", "p_miss", "seed", "trials")}
        return cls(**simple, counterexample=example, findings=tuple(found))
