"""Equality of programs up to the names of what they bind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlcref.errors import MlcrefError
from mlcref.ir import graph
from mlcref.ir.base import FIELDS, Node, Role
from mlcref.ir.buffer import Buffer
from mlcref.ir.expr import Const, Var
from mlcref.ir.function import GlobalVar, IRModule, PrimFunc
from mlcref.ir.stmt import Token


def structural_equal(a: Any, b: Any, *, map_free_vars: bool = False) -> bool:
    """Are two programs (modules, functions, statements, expressions) equal up to renaming of what they bind?

    >>> from mlcref.ir import Var, structural_equal
    >>> x = Var("x")
    >>> structural_equal(x + 1, x + 1), structural_equal(x + 1, x + 2)
    (True, False)
    """
    return first_difference(a, b, map_free_vars=map_free_vars) is None


def assert_structural_equal(a: Any, b: Any, map_free_vars: bool = False) -> None:
    """Raise ``MlcrefError`` with the path of the first difference and both scripts unless the programs are equal."""
    difference = first_difference(a, b, map_free_vars=map_free_vars)
    if difference is not None:
        raise MlcrefError(lambda: f"not structurally equal at {difference}\nleft:\n{a!r}\nright:\n{b!r}")


def first_difference(a: Any, b: Any, *, map_free_vars: bool = False) -> str | None:
    """The path of the first difference, such as ``.body.extent: 4 vs 5``; None when the programs are equal."""
    found = _Comparison(map_free_vars).compare(a, b, "")
    return None if found is None else found.lstrip()


class _Comparison:
    def __init__(self, map_free: bool) -> None:
        self.left: dict[Any, Any] = {}
        self.right: dict[Any, Any] = {}
        self.map_free = map_free

    def compare(self, a: Any, b: Any, path: str) -> str | None:
        if isinstance(a, IRModule) or isinstance(b, IRModule):
            return self._modules(a, b, path)
        if isinstance(a, Node):
            return self._nodes(a, b, path)
        if isinstance(a, tuple | list):
            return self._sequences(a, b, path)
        if isinstance(a, Mapping):
            return self._mappings(a, b, path)
        if isinstance(a, np.ndarray):
            return self._arrays(a, b, path)
        return self._values(a, b, path)

    def _arrays(self, a: Any, b: Any, path: str) -> str | None:
        if not isinstance(b, np.ndarray) or (a.dtype, a.shape) != (b.dtype, b.shape):
            return f"{path}: {_brief(a)} vs {_brief(b)}"
        return None if a.tobytes() == b.tobytes() else f"{path}: the elements of {_brief(a)} differ"

    def _values(self, a: Any, b: Any, path: str) -> str | None:
        if type(a) is type(b) and (a == b or (a != a and b != b)) and repr(a) == repr(b):
            return None
        return f"{path or 'root'}: {a!r} vs {b!r}"

    def _sequences(self, a: Any, b: Any, path: str) -> str | None:
        if not isinstance(b, tuple | list) or len(a) != len(b):
            return f"{path}: {len(a)} items vs {len(b) if isinstance(b, tuple | list) else b!r}"
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            found = self.compare(x, y, f"{path}[{i}]")
            if found:
                return found
        return None

    def _mappings(self, a: Any, b: Any, path: str) -> str | None:
        if not isinstance(b, Mapping) or set(a) != set(b):
            return f"{path}: {dict(a)!r} vs {dict(b) if isinstance(b, Mapping) else b!r}"
        for key in a:
            found = self.compare(a[key], b[key], f"{path}[{key!r}]")
            if found:
                return found
        return None

    def _modules(self, a: Any, b: Any, path: str) -> str | None:
        if not isinstance(a, IRModule) or not isinstance(b, IRModule):
            return f"{path or 'root'}: {type(a).__name__} vs {type(b).__name__}"
        return self._mappings(a.functions, b.functions, path) or self._mappings(a.attrs, b.attrs, path + ".attrs")

    def _nodes(self, a: Node, b: Any, path: str) -> str | None:
        if type(a) is not type(b):
            return f"{path or 'root'}: {_brief(a)} vs {_brief(b)}"
        if isinstance(a, Var | Buffer | Token | graph.Var):
            return self._use(a, b, path)
        if isinstance(a, PrimFunc | graph.Function):
            return self._function(a, b, path)
        if isinstance(a, graph.MatchCast) and isinstance(b, graph.MatchCast):
            self._match_dims(a.new_dims(self.left), b.new_dims(self.right))
        return self._fields(a, b, path)

    def _fields(self, a: Node, b: Any, path: str) -> str | None:
        for name, role, structural in FIELDS[type(a)]:
            x, y = getattr(a, name), getattr(b, name)
            if not structural:
                continue
            step = self._bind if role is Role.BINDING else self.compare
            found = step(x, y, f"{path}.{name}")
            if found:
                return found
        return None

    def _use(self, a: Any, b: Any, path: str) -> str | None:
        if a in self.left or b in self.right:
            return None if self.left.get(a) is b else f"{path}: {_brief(a)} vs {_brief(b)}"
        if a is b:
            return None
        if self.map_free:
            return self._bind(a, b, path)
        return f"{path or 'root'}: free {_brief(a)} vs {_brief(b)}"

    def _bind(self, a: Any, b: Any, path: str) -> str | None:
        if isinstance(a, tuple):
            if not isinstance(b, tuple) or len(a) != len(b):
                return f"{path}: {a!r} vs {b!r}"
            found = [self._bind(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True))]
            return next((f for f in found if f), None)
        if type(a) is not type(b):
            return f"{path}: {_brief(a)} vs {_brief(b)}"
        if a in self.left:
            return None if self.left[a] is b else f"{path}: {_brief(a)} vs {_brief(b)}"
        if isinstance(a, Buffer):
            self._bind_layout(a, b)
        found_field = self._fields(a, b, path)
        if found_field:
            return found_field
        self.left[a], self.right[b] = b, a
        return None

    def _bind_layout(self, a: Buffer, b: Buffer) -> None:
        """Variables that only the strides, the shape or the offset of a matched buffer mention are bound by it."""
        for x, y in zip((*a.shape, *a.strides, a.elem_offset), (*b.shape, *b.strides, b.elem_offset), strict=False):
            both = isinstance(x, Var) and isinstance(y, Var) and x.type == y.type
            if both and x not in self.left and y not in self.right:
                self.left[x], self.right[y] = y, x

    def _match_dims(self, a: Sequence[Var], b: Sequence[Var]) -> None:
        """Dimensions that a ``MatchCast`` binds, in order."""
        for x, y in zip(a, b, strict=False):
            self.left[x], self.right[y] = y, x

    def _function(self, a: PrimFunc | graph.Function, b: Any, path: str) -> str | None:
        """Shape variables of parameters are bound by the call."""
        for x, y in zip(a.shape_vars(), b.shape_vars(), strict=False):
            found = self._bind(x, y, f"{path}.params")
            if found:
                return found
        return self._fields(a, b, path)


def _brief(value: Any) -> str:
    if isinstance(value, Var | graph.Var):
        return f"variable {value.name}"
    if isinstance(value, Buffer):
        return f"buffer {value.name}"
    if isinstance(value, GlobalVar):
        return f"@{value.name_hint}"
    if isinstance(value, Const):
        return f"{value.value} ({value.type})"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__
