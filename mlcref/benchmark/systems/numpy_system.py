"""numpy: what its user would write, into memory of its own where that is possible."""

from __future__ import annotations

from functools import partial

from mlcref.benchmark.operators import Case
from mlcref.benchmark.systems.record import Prepared, System, returned


def _prepare(case: Case, threads: int) -> Prepared:
    """numpy has one pool of threads, sized when it is loaded: the worker's environment says ``threads``."""
    return Prepared(partial(case.operator.numpy(case.workload), *case.inputs), returned)


NUMPY = System("numpy", "numpy", ("numpy",), _prepare)
