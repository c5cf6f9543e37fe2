"""Sites of the passes that move, simplify and unroll: starts of reductions, conditions, loops with any start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.ir import PrimFunc

SITES: dict[str, tuple[Callable[[Callable[..., Any]], PrimFunc], ...]] = {}
