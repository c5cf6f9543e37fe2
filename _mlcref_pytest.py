"""The pytest plugin of mlcref: options, the corpus of failures, the lines that replay them.

It stands outside of the package so that a test session that does not use mlcref does not import it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest


class Session:
    """The settings of one test run, read by ``mlcref.testing``. ``test`` is the node id of the test that runs now."""

    def __init__(self, corpus: Path | None, seed: int, trials: int) -> None:
        self.corpus, self.seed, self.trials = corpus, seed, trials
        self.test = ""
        self.replayed: set[tuple[str, Path]] = set()


ACTIVE: list[Session] = []
"""The sessions that are going on, the innermost last."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and settings."""
    group = parser.getgroup("mlcref")
    group.addoption("--mlcref-corpus", metavar="DIR", help="keep failures of mlcref.testing here and replay them first")
    group.addoption("--mlcref-seed", metavar="N", type=int, help="seed of the inputs drawn by assert_backend_matches")
    group.addoption("--mlcref-trials", metavar="N", type=int, help="inputs of each kind to draw")
    parser.addini("mlcref_corpus", "directory of failures, relative to the root; none are kept when empty", default="")
    parser.addini("mlcref_trials", "inputs of each kind that assert_backend_matches draws", default="3")


def pytest_configure(config: pytest.Config) -> None:
    """Begin a session."""
    corpus = config.getoption("mlcref_corpus") or config.getini("mlcref_corpus")
    trials = config.getoption("mlcref_trials")
    if trials is None:
        trials = _positive(config.getini("mlcref_trials"))
    seed = config.getoption("mlcref_seed") or 0
    ACTIVE.append(Session(config.rootpath / corpus if corpus else None, seed, trials))


def pytest_unconfigure() -> None:
    """End it."""
    if ACTIVE:
        ACTIVE.pop()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """The corpus holds no tests."""
    return True if ACTIVE and collection_path == ACTIVE[-1].corpus else None


def _positive(text: str) -> int:
    if not text.strip().isdigit() or not int(text):
        raise pytest.UsageError(f"mlcref_trials is a positive number, not {text!r}")
    return int(text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Tell the library which test runs."""
    session = ACTIVE[-1]
    session.test = item.nodeid
    try:
        return (yield)
    finally:
        session.test = ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, pytest.TestReport]:
    """Keep the failure that a test ended with (Hypothesis has shrunk it by now), and say how to replay it."""
    report: pytest.TestReport = yield
    if call.excinfo is not None and call.when == "call" and "mlcref.testing.backend" in sys.modules:
        lines = list(_kept(item, call.excinfo.value))
        if lines:
            report.sections.append(("mlcref", "\n".join(lines)))
    return report


def _kept(item: pytest.Item, error: BaseException) -> Generator[str, None, None]:
    from mlcref.testing import BackendMismatch, Failure, save_failure

    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _kept(item, part)
    if not isinstance(error, BackendMismatch):
        return
    corpus = ACTIVE[-1].corpus
    if corpus is None:
        yield "the failure is not kept: name a directory with --mlcref-corpus=DIR or the setting mlcref_corpus"
        return
    path = save_failure(corpus, Failure(error.func, error.arguments, item.nodeid), str(error))
    yield f"kept: {path}"
    yield f"replay: pytest '{item.nodeid}' --mlcref-corpus='{corpus}'"
