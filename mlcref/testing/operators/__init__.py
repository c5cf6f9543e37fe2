"""Every operator of :mod:`mlcref.topi`, with random cases and a reference in numpy: what docs/topi.md is made of."""

import random

from mlcref.testing.operators import convolutions, elementwise, moves, networks
from mlcref.testing.operators.case import Case, Checked, Draw, Operator, check, prim_func

OPERATORS: dict[str, Operator] = {
    operator.name: operator for table in (elementwise, moves, networks, convolutions) for operator in table.OPERATORS
}  # fmt: skip


def draw_case(name: str, seed: int) -> Case:
    """A random case of the operator ``name``, always the same one for ``seed``.

    >>> case = draw_case("nn.softmax", 1)
    >>> check(case).exact + check(case).bounded == case.arrays[0].size
    True
    """
    numbers = random.Random(seed)
    return OPERATORS[name].draw(Draw(lambda options: options[numbers.randrange(len(options))]))


__all__ = ["OPERATORS", "Case", "Checked", "Draw", "Operator", "check", "draw_case", "prim_func"]
