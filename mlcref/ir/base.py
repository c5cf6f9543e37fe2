"""What every IR node is made of: a frozen slotted dataclass, compared by identity, whose fields say what role they
play.

The role of a field is read off its annotation, or given by :func:`binds` and :func:`plain`:

* **child** -- a node or a tuple of nodes that this node owns; traversals go there;
* **binding** -- the variable, buffer or block token that this node introduces;
* **reference** -- a buffer introduced elsewhere;
* **plain** -- strings, numbers and attributes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

from mlcref.records import dataclass

T = TypeVar("T")
N = TypeVar("N")


class Role(Enum):
    """What a field of a node is to the node."""

    CHILD = "child"
    BINDING = "binding"
    REFERENCE = "reference"
    PLAIN = "plain"


_PLAIN_TYPES = {"str", "int", "bool", "str | None", "int | None", "Value", "Attrs"}


def binds(**options: Any) -> Any:
    """A field that introduces a variable, a buffer or a token."""
    return dataclasses.field(metadata={"role": Role.BINDING}, **options)


def plain(*, structural: bool = True, **options: Any) -> Any:
    """A field without nodes; ``structural=False`` keeps it out of structural equality."""
    return dataclasses.field(metadata={"role": Role.PLAIN, "structural": structural}, **options)


FIELDS: dict[type, tuple[tuple[str, Role, bool], ...]] = {}
"""Of each node class: name, role and "counts for structural equality" of each field, in order."""
CHILDREN: dict[type, tuple[str, ...]] = {}
"""Of each node class: the names of its child fields."""
BELOW: dict[type, Callable[[Any], tuple[Any, ...]]] = {}
"""Of each node class: the function that lists the children of a node, in field order."""
REFERENCES: dict[type, tuple[str, ...]] = {}
"""Of each node class: the names of the fields that refer to a buffer."""
BUFFER_FIELDS: dict[type, tuple[str, ...]] = {}
"""Of each node class: the names of the fields that may hold buffers which the node does not own."""


def _role(field: dataclasses.Field[Any]) -> Role:
    if "role" in field.metadata:
        role: Role = field.metadata["role"]
        return role
    if field.type in _PLAIN_TYPES:
        return Role.PLAIN
    if field.type in ("Buffer", "Buffer | None"):
        return Role.REFERENCE
    return Role.CHILD


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(binds, plain, dataclasses.field))
def node(cls: type[T]) -> type[T]:
    """Make ``cls`` an IR node and record the roles of its fields."""
    made: Any = dataclass(frozen=True, slots=True, eq=False, repr=False)(cls)
    fields = [f for f in dataclasses.fields(made) if f.init]
    FIELDS[made] = tuple((f.name, _role(f), f.metadata.get("structural", True)) for f in fields)
    CHILDREN[made] = tuple(name for name, role, _ in FIELDS[made] if role is Role.CHILD)
    REFERENCES[made] = tuple(name for name, role, _ in FIELDS[made] if role is Role.REFERENCE)
    BUFFER_FIELDS[made] = tuple(n for n, role, _ in FIELDS[made] if role in (Role.BINDING, Role.REFERENCE))
    BELOW[made] = _lister({f.name: str(f.type) for f in fields if f.name in CHILDREN[made]})
    result: type[T] = made
    return result


def _lister(types: Mapping[str, str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function from a node to its children. Most nodes have a fixed number of them, which is the quick case."""
    names = tuple(types)
    if not names:
        return nothing_below
    if len(names) == 1 and types[names[0]].startswith("tuple") and "None" not in types[names[0]]:
        return attrgetter(names[0])
    if any("tuple" in kind or "None" in kind for kind in types.values()):
        return lambda node: _listed([getattr(node, name) for name in names])
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda node: (get(node),)


def nothing_below(node: Any) -> tuple[Any, ...]:
    """The children of a leaf."""
    return ()


def _listed(values: list[Any]) -> tuple[Any, ...]:
    found: list[Any] = []
    for value in values:
        if type(value) is tuple:
            found += value
        elif value is not None:
            found.append(value)
    return tuple(found)


class Node:
    """Base of every IR node. Nodes are immutable and compared by identity."""

    __slots__ = ("__weakref__",)

    def script(self, **options: Any) -> str:
        """The TVMScript text of this node (see :func:`mlcref.script.print_script`)."""
        return script_of(self, **options)

    def show(self, **options: Any) -> None:
        """Print the script, highlighted where the terminal can."""
        show_script(self, **options)

    def _repr_html_(self) -> str:
        return html_of(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # IPython and Hypothesis would list the fields
        printer.text(repr(self))

    def __repr__(self) -> str:
        return script_of(self) if _printer else f"{type(self).__name__}(...)"


def replace(old: N, **changes: Any) -> N:
    """``old`` with some fields changed; ``old`` itself when each of them is the same object already."""
    for name, value in changes.items():
        if getattr(old, name) is not value:
            break
    else:
        return old
    return type(old)(*[changes[f[0]] if f[0] in changes else getattr(old, f[0]) for f in FIELDS[type(old)]])


Value = Any
"""A plain Python value inside a node."""


class Attrs(Mapping[str, Any]):
    """An immutable mapping from attribute names to plain values, in order.

    >>> Attrs({"global_symbol": "main"})["global_symbol"]
    'main'
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Attrs({self._items!r})"

    def updated(self, changes: Mapping[str, Any]) -> Attrs:
        """These attributes with ``changes`` on top; a value of None removes the key."""
        merged = {**self._items, **changes}
        return Attrs({key: value for key, value in merged.items() if value is not None})


NO_ATTRS = Attrs()


# The printer lives two floors up, in mlcref.script; it installs itself here so that nodes can show themselves.
_printer: list[Callable[..., str]] = []
_shower: list[Callable[..., None]] = []
_html: list[Callable[..., str]] = []


def install_printer(printer: Callable[..., str], shower: Callable[..., None], html: Callable[..., str]) -> None:
    """Let nodes and modules print themselves with ``printer`` (text), ``shower`` (terminal) and ``html`` (notebook)."""
    _printer[:], _shower[:], _html[:] = [printer], [shower], [html]


def script_of(obj: object, **options: Any) -> str:
    """The script of a node or module, by the installed printer."""
    if not _printer:
        return object.__repr__(obj)
    return _printer[0](obj, **options)


def html_of(obj: object) -> str:
    """The script of a node or module for a notebook, by the installed printer."""
    return _html[0](obj) if _html else f"<pre>{script_of(obj)}</pre>"


def show_script(obj: object, **options: Any) -> None:
    """Show the script of a node or module, by the installed printer."""
    if _shower:
        _shower[0](obj, **options)
    else:
        print(script_of(obj, **options))
