"""Sites of the passes that keep elements in registers and make vectors of short loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.ir import PrimFunc

SITES: dict[str, tuple[Callable[[Callable[..., Any]], PrimFunc], ...]] = {}
