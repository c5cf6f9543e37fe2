"""Functions of the host language by name: what ``R.call_dps_packed`` and ``T.call_packed`` call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from mlcref.errors import MlcrefError

_functions: dict[str, Callable[..., Any]] = {}
_modules: dict[str, str] = {}


def registered_on_use(module: str, names: Iterable[str]) -> None:
    """Import ``module`` when one of ``names`` is asked for: it registers them."""
    _modules.update(dict.fromkeys(names, module))


def _known(name: str) -> bool:
    """Is there a function of that name? Imports the module that registers it."""
    module = _modules.pop(name, None)
    if module is not None:
        import_module(module)
    return name in _functions


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
        if _known(name) and not override:
            raise MlcrefError(
                f"a function called {name!r} is registered already", hint="pass override=True to replace it"
            )
        _functions[name] = function
        return function

    return register if f is None else register(f)


def get_global_func(name: str, allow_missing: bool = False) -> Any:
    """The function registered under ``name``; raises (or returns None with ``allow_missing``) when there is none."""
    if not _known(name) and not allow_missing:
        raise MlcrefError(f"no function is registered as {name!r}", hint="register it with mlcref.register_global_func")
    return _functions.get(name)


def remove_global_func(name: str) -> None:
    """Forget the function registered under ``name``, if there is one."""
    if _known(name):
        del _functions[name]


def list_global_func_names() -> list[str]:
    """All registered names, sorted."""
    return sorted({*_functions, *_modules})
