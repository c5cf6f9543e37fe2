"""What the running test session decides: where failures are kept, the seed, the number of trials.

The pytest plugin ``_mlcref_pytest`` sets it; without the plugin the defaults hold. It is state of the process because a
test calls the library without passing the session along.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


class Session:
    """The settings of one test run. ``test`` is the node id of the test that runs now."""

    corpus: Path | None = None
    seed: int = 0
    trials: int = 3
    test: str = ""

    def __init__(self) -> None:
        self.replayed: set[tuple[str, Path]] = set()


_ALONE = Session()


def session() -> Any:
    """The settings of the running test session."""
    plugin = sys.modules.get("_mlcref_pytest")
    active = plugin.ACTIVE if plugin is not None else []
    return active[-1] if active else _ALONE
