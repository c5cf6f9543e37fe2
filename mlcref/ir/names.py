"""Names that do not clash."""

from __future__ import annotations

from collections.abc import Container


def unique_name(hint: str, used: Container[str]) -> str:
    """``hint``, or ``hint_1``, ``hint_2`` … when it is taken.

    >>> unique_name("A_shared", {"A_shared", "A_shared_1"})
    'A_shared_2'
    """
    name, count = hint, 0
    while name in used:
        count += 1
        name = f"{hint}_{count}"
    return name
