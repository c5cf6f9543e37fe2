"""Frozen dataclasses that cost little to define.

``dataclasses.dataclass`` writes six methods as text and compiles each: 0.3 ms a class, two thirds of what importing
mlcref took. Here ``__init__`` is written when the first object is made, and no other method needs a text. To
``fields``, ``replace``, ``asdict`` and type checkers the result is what ``dataclasses.dataclass`` gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn


def _dataclass(
    cls: type[Any] | None = None, /, *, frozen: bool, slots: bool = False, eq: bool = True, repr: bool = True
) -> Any:
    """What ``dataclasses.dataclass`` makes of ``cls`` with the same options; ``frozen`` is always True.

    >>> @dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1), Point(1) == Point(1, 0), len({Point(1), Point(1)})
    (Point(x=1, y=0), True, 1)
    >>> Point(1).x = 2
    Traceback (most recent call last):
    dataclasses.FrozenInstanceError: cannot assign to field 'x'
    """
    if cls is None:
        return lambda found: _dataclass(found, frozen=frozen, slots=slots, eq=eq, repr=repr)
    assert frozen
    cls.__doc__ = cls.__doc__ or cls.__name__  # without one, dataclasses makes it of the signature
    own = {name for name, value in vars(cls).items() if value is not None}  # "__hash__" is None beside an "__eq__"
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    for name, method in {"__init__": _written_on_use(made), **_methods(made, slots, eq, repr)}.items():
        if name not in own:
            setattr(made, name, method)
    return made


def _methods(cls: type[Any], slots: bool, eq: bool, repr: bool) -> dict[str, Callable[..., Any]]:
    """The methods of a frozen dataclass, by name, other than its ``__init__``."""
    methods: dict[str, Callable[..., Any]] = {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
    if slots:
        methods |= {"__getstate__": _state, "__setstate__": _restore}
    if repr:
        methods["__repr__"] = _text
    if eq:
        compared = _values([field.name for field in fields(cls) if field.compare])
        methods["__eq__"] = lambda one, other: (
            compared(one) == compared(other) if other.__class__ is one.__class__ else NotImplemented
        )
        methods["__hash__"] = lambda one: hash(compared(one))
    return methods


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function from an object to the tuple of its attributes ``names``."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda one: tuple([getattr(one, name) for name in names])


def _refuse_to_set(one: object, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(one: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(one: Any) -> list[Any]:
    return [getattr(one, field.name) for field in fields(one)]


def _restore(one: Any, state: list[Any]) -> None:
    for field, value in zip(fields(one), state, strict=True):
        object.__setattr__(one, field.name, value)


def _text(one: Any) -> str:
    shown = [f"{field.name}={getattr(one, field.name)!r}" for field in fields(one) if field.repr]
    return f"{type(one).__qualname__}({', '.join(shown)})"


def _written_on_use(cls: Any) -> Callable[..., None]:
    """An ``__init__`` that puts the real one of ``cls`` in its place, and calls it."""

    def __init__(one: Any, /, *args: Any, **options: Any) -> None:
        cls.__init__ = _initializer(cls)
        cls.__init__(one, *args, **options)

    return __init__


def _initializer(cls: type[Any]) -> Callable[..., None]:
    """The ``__init__`` of a frozen dataclass. What is no parameter of it, ``__post_init__`` sets."""
    scope: dict[str, Any] = {"_set": object.__setattr__, "_absent": MISSING}
    parameters, lines = ["self"], []
    for field in [field for field in fields(cls) if field.init]:
        name, known = field.name, f"_{field.name}"
        parameter = value = name
        if field.default is not MISSING:
            scope[known], parameter = field.default, f"{name}={known}"
        elif field.default_factory is not MISSING:
            scope[known], parameter = field.default_factory, f"{name}=_absent"
            value = f"{known}() if {name} is _absent else {name}"
        parameters.append(parameter)
        lines.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), scope)
    made: Callable[..., None] = scope["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _dataclass
