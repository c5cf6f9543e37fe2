"""``pytest bench --benchmark-enable``: the forms of the case-study matmul, one benchmark each."""

from typing import Any

import numpy as np
import pytest

from bench import case_study

FORMS = ["C loops", "unscheduled", "scheduled, factor 4", "scheduled, factor 8", "scheduled, factor 16"]


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    return case_study.forms()


@pytest.mark.parametrize("name", FORMS)
def test_matmul(benchmark: Any, functions: dict[str, Any], name: str) -> None:
    a, b, c = case_study.arguments()
    benchmark(functions[name], a, b, c)
    np.testing.assert_allclose(c, np.maximum(a @ b, 0), rtol=1e-4)
