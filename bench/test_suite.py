"""``pytest bench --benchmark-enable``: the small suite on one thread, an entry for each workload and system.

The results are checked before they are timed. For comparisons that mean something use ``python -m mlcref bench``: it
lets the systems take turns.
"""

from typing import Any

import pytest

from mlcref.benchmark.check import check_result
from mlcref.benchmark.operators import case_of
from mlcref.benchmark.systems import SYSTEMS
from mlcref.benchmark.workload import select, workload_of
from mlcref.errors import UnsupportedError


@pytest.mark.parametrize("name", [workload.name for workload in select("small")])
@pytest.mark.parametrize("system", ["numpy", "mlcref"])
def test_workload(benchmark: Any, name: str, system: str) -> None:
    reason = SYSTEMS[system].why_not()
    if reason is not None:
        pytest.skip(reason)
    case = case_of(workload_of(name))
    try:
        prepared = SYSTEMS[system].prepare(case, 1)
    except UnsupportedError as error:
        pytest.skip(error.what)
    result = prepared.result(benchmark(prepared.call))
    check_result(result, case.reference(), case.empty().dtype)
