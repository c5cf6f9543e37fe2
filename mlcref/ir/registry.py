"""Functions of the host language by name: what ``R.call_dps_packed`` and ``T.call_packed`` call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.errors import MlcrefError

_functions: dict[str, Callable[..., Any]] = {}


def register_global_func(name: str, f: Callable[..., Any] | None = None, override: bool = False) -> Any:
    """Register ``f`` under ``name``; without ``f``, a decorator. Raises when the name is taken and ``override`` is
    False.

    >>> @register_global_func("doc.double", override=True)
    ... def double(x):
    ...     return 2 * x
    >>> get_global_func("doc.double")(4)
    8
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if name in _functions and not override:
            raise MlcrefError(
                f"a function called {name!r} is registered already", hint="pass override=True to replace it"
            )
        _functions[name] = function
        return function

    return register if f is None else register(f)


def get_global_func(name: str, allow_missing: bool = False) -> Any:
    """The function registered under ``name``; raises (or returns None with ``allow_missing``) when there is none."""
    if name not in _functions and not allow_missing:
        raise MlcrefError(f"no function is registered as {name!r}", hint="register it with mlcref.register_global_func")
    return _functions.get(name)


def remove_global_func(name: str) -> None:
    """Forget the function registered under ``name``, if there is one."""
    _functions.pop(name, None)


def list_global_func_names() -> list[str]:
    """All registered names, sorted."""
    return sorted(_functions)
