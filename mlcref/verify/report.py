"""What a check says in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcref.errors import OracleError

TESTED, REFUTED, UNSUPPORTED = "TESTED", "REFUTED", "UNSUPPORTED"


@dataclass(frozen=True)
class Counterexample:
    """Inputs on which two programs differ.

    ``arguments`` are arrays and numbers in the order of the parameters, as they were before the call. ``buffer``,
    ``indices``, ``expected`` and ``got`` say where the results differ and ``tolerance`` by how much rounding alone
    could explain; ``error`` is the oracle's report where the second program means nothing.
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

    @property
    def inputs(self) -> dict[str, Any]:
        """The arguments by parameter name."""
        return dict(zip(self.names, self.arguments, strict=True))

    def __str__(self) -> str:
        if self.error is not None:
            return f"the second program means nothing on an input on which the first is defined:\n{self.error}"
        name = f"{self.buffer}[{', '.join(map(str, self.indices))}]"
        allowed = f", rounding explains at most {self.tolerance:.3g}" if self.tolerance else ""
        return f"{name}: expected {self.expected!r}, got {self.got!r}{allowed}"

    def describe_inputs(self) -> str:
        """The arguments, shortened."""
        with np.printoptions(threshold=12, edgeitems=3, precision=6):
            return "\n".join(f"  {name} = {value!r}" for name, value in self.inputs.items())


@dataclass(frozen=True)
class Verdict:
    """The result of a check: ``status`` is "TESTED", "REFUTED" or "UNSUPPORTED"; only "TESTED" is true.

    >>> bool(Verdict("TESTED", "3 inputs")), str(Verdict("UNSUPPORTED", "budget"))
    (True, 'UNSUPPORTED: budget')
    """

    status: str
    detail: str
    counterexample: Counterexample | None = None

    def __bool__(self) -> bool:
        return self.status == TESTED

    def __str__(self) -> str:
        head = f"{self.status}: {self.detail}"
        if self.counterexample is None:
            return head
        replay = "replay: check_equivalent(f, g, inputs=[verdict.counterexample.arguments])"
        return f"{head}\n{self.counterexample}\n{self.counterexample.describe_inputs()}\n{replay}"
