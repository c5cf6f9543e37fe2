"""Statements that leave the loop around them."""

from __future__ import annotations

from mlcref.ir import Break, Continue, For, Stmt, While
from mlcref.ir.index import stmt_children


def leaves_loop(body: Stmt) -> bool:
    """Is there a ``break`` or ``continue`` in ``body`` that belongs to the loop around it?"""
    if isinstance(body, Break | Continue):
        return True
    if isinstance(body, For | While):
        return False
    return any(leaves_loop(part) for part in stmt_children(body))
