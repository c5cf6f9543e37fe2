"""Passes over modules: decorators that make them, sequences of them, and the context they run in.

Names are TVM's (``tvm.ir.transform``). A pass is called with a module and gives a new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlcref.errors import TypeMismatch
from mlcref.ir.function import BaseFunc, IRModule
from mlcref.records import dataclass

_contexts = threading.local()


class PassContext:
    """What passes run in: ``opt_level`` and the passes that a sequence leaves out or always runs.

    Used by ``with``; ``PassContext.current()`` is the innermost one. Source: ``tvm.transform.PassContext``.

    >>> with PassContext(opt_level=3):
    ...     PassContext.current().opt_level
    3
    """

    def __init__(
        self, opt_level: int = 2, required_pass: Iterable[str] = (), disabled_pass: Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.opt_level = opt_level
        self.required_pass, self.disabled_pass = frozenset(required_pass), frozenset(disabled_pass)
        self.config = dict(config or {})

    def __enter__(self) -> PassContext:
        _stack().append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _stack().pop()

    @staticmethod
    def current() -> PassContext:
        """The innermost context; one of level 2 outside of all."""
        return _stack()[-1] if _stack() else PassContext()

    def pass_enabled(self, info: PassInfo) -> bool:
        """Does a sequence run the pass that ``info`` describes?"""
        if info.name in self.disabled_pass:
            return False
        return info.name in self.required_pass or self.opt_level >= info.opt_level


def _stack() -> list[PassContext]:
    found: list[PassContext] = _contexts.__dict__.setdefault("stack", [])
    return found


@dataclass(frozen=True, slots=True)
class PassInfo:
    """Name and level of a pass."""

    opt_level: int
    name: str


class Pass:
    """A pass: called with a module, it gives a new one. ``info`` has its name and level."""

    info = PassInfo(0, "pass")

    def __call__(self, mod: IRModule) -> IRModule:
        """What the pass makes of ``mod``, which stays as it is. Raises ``TypeMismatch`` unless that is a module."""
        if not isinstance(mod, IRModule):
            raise TypeMismatch(f"{self.info.name} takes a module, not {type(mod).__name__}")
        result = self.transform_module(mod.clone(), PassContext.current())
        if not isinstance(result, IRModule):
            raise TypeMismatch(f"{self.info.name} gives {type(result).__name__}, no module")
        return result

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """The work of the pass; ``mod`` is its own copy."""
        raise NotImplementedError


class FunctionPass(Pass):
    """A pass that works on one function of the module after the other: on those of ``kind``."""

    kind: type[BaseFunc] = BaseFunc

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """``mod`` with each function replaced by what ``transform_function`` makes of it."""
        for name, func in list(mod.functions.items()):
            if isinstance(func, self.kind):
                mod.update_func(name, self.transform_function(func, mod, ctx))
        return mod

    def transform_function(self, func: Any, mod: IRModule, ctx: PassContext) -> BaseFunc:
        """What stands for ``func`` of ``mod``."""
        raise NotImplementedError


class Sequential(Pass):
    """Passes one after the other: those that the context enables. Source: ``tvm.transform.Sequential``.

    >>> from mlcref.ir import IRModule
    >>> len(Sequential([])(IRModule({})))
    0
    """

    def __init__(self, passes: Sequence[Callable[[IRModule], IRModule]], opt_level: int = 0, name: str = "sequential"):
        self.passes = tuple(passes)
        self.info = PassInfo(opt_level, name)

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """``mod`` after all passes."""
        for step in self.passes:
            info = getattr(step, "info", None)
            if info is None or ctx.pass_enabled(info):
                mod = step(mod)
        return mod


def module_pass(pass_func: Any = None, opt_level: int = 0, name: str | None = None) -> Any:
    """Decorator: a pass from a function ``(mod, ctx) -> mod``, or from a class with ``transform_module(mod, ctx)``.

    A decorated class is called with the arguments of its ``__init__`` and gives the pass. Raises ``TypeMismatch`` for
    anything else. Source: ``tvm.ir.transform.module_pass``.

    >>> @module_pass(opt_level=1, name="Nothing")
    ... def nothing(mod, ctx):
    ...     return mod
    >>> nothing.info.name, len(nothing(IRModule({})))
    ('Nothing', 0)
    """
    return _decorator(pass_func, opt_level, name, Pass, "transform_module")


def function_pass(
    pass_func: Any = None, opt_level: int = 0, name: str | None = None, kind: type[BaseFunc] = BaseFunc
) -> Any:
    """Decorator: as :func:`module_pass`, of ``(func, mod, ctx) -> func`` or ``transform_function``.

    >>> @function_pass
    ... def same(func, mod, ctx):
    ...     return func
    >>> same.info.opt_level
    0
    """
    base = type("FunctionPass", (FunctionPass,), {"kind": kind})
    return _decorator(pass_func, opt_level, name, base, "transform_function")


def _decorator(pass_func: Any, opt_level: int, name: str | None, base: type[Pass], method: str) -> Any:
    def make(made: Any) -> Any:
        info = PassInfo(opt_level, name or made.__name__)
        if isinstance(made, type):
            if not hasattr(made, method):
                raise TypeMismatch(f"{made.__name__} has no {method}")
            return type(made.__name__, (made, base), {"info": info, "__doc__": made.__doc__})
        if not callable(made):
            raise TypeMismatch(f"a pass is a function or a class, not {type(made).__name__}")
        attributes = {"info": info, method: lambda self, *args: made(*args), "__doc__": made.__doc__}
        return type(info.name, (base,), attributes)()

    return make if pass_func is None else make(pass_func)
