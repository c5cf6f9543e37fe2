"""Sites of the passes that place memory: allocations below loops, second names of buffers, pointers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.ir import PrimFunc

SITES: dict[str, tuple[Callable[[Callable[..., Any]], PrimFunc], ...]] = {}
