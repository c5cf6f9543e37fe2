"""mlcref in the test suite of another project: an oracle for kernels, strategies for programs. See docs/testing.md."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mlcref.testing.backend import Agreement, BackendMismatch, assert_backend_matches
from mlcref.testing.corpus import Failure, load_failure, save_failure
from mlcref.testing.tvm_objects import from_tvm, to_tvm

if TYPE_CHECKING:
    from mlcref.testing.strategies import inputs, programs, schedules

__all__ = [
    "Agreement", "BackendMismatch", "Failure", "assert_backend_matches", "from_tvm", "inputs", "load_failure",
    "programs", "save_failure", "schedules", "to_tvm",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """The strategies, loaded when they are asked for: Hypothesis is an optional dependency."""
    if name not in ("inputs", "programs", "schedules"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        strategies = importlib.import_module("mlcref.testing.strategies")
    except ImportError as error:
        raise ImportError(f"mlcref.testing.{name} needs Hypothesis: pip install mlcref[test]") from error
    return getattr(strategies, name)
