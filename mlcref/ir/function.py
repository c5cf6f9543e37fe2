"""Functions and modules of the IR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlcref.errors import MlcrefError
from mlcref.ir.base import NO_ATTRS, Attrs, Node, binds, html_of, node, replace, script_of, show_script
from mlcref.ir.buffer import Buffer
from mlcref.ir.expr import Expr, Var
from mlcref.ir.stmt import Block, BlockRealize, Stmt


class BaseFunc(Node):
    """Base of functions that an ``IRModule`` holds: ``PrimFunc`` and the graph level's ``Function``."""

    __slots__ = ()
    attrs: Attrs

    def with_attr(self, key: str | Mapping[str, Any], value: Any = None) -> Any:
        """This function with attributes set: ``f.with_attr("global_symbol", "main")`` or ``f.with_attr({...})``."""
        changes = {key: value} if isinstance(key, str) else key
        return replace(self, attrs=self.attrs.updated(changes))

    def without_attr(self, key: str) -> Any:
        """This function without the attribute ``key``."""
        return replace(self, attrs=self.attrs.updated({key: None}))


@node
class GlobalVar(Expr):
    """The name of a function of a module."""

    name_hint: str

    @property
    def dtype(self) -> str:
        return "handle"


@node
class PrimFunc(BaseFunc):
    """A tensor program. ``params`` are buffers (the caller's memory) and scalar variables.

    Variables in the shapes of parameter buffers are bound by the call. A schedulable body is one ``BlockRealize`` of a
    block named "root" without iterators; a lowered body is any statement.
    """

    params: tuple[Any, ...] = binds()
    body: Stmt
    attrs: Attrs = NO_ATTRS

    @property
    def name(self) -> str:
        """The global symbol, "main" when there is none."""
        return str(self.attrs.get("global_symbol", "main"))

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The buffer parameters, in order."""
        return tuple(p for p in self.params if isinstance(p, Buffer))

    @property
    def scalars(self) -> tuple[Var, ...]:
        """The scalar parameters, in order."""
        return tuple(p for p in self.params if isinstance(p, Var))

    @property
    def noalias(self) -> bool:
        """Does the function promise that its buffers do not overlap?"""
        return bool(self.attrs.get("tir.noalias", False))

    @property
    def root(self) -> Block:
        """The root block of a schedulable function."""
        if not isinstance(self.body, BlockRealize):
            raise MlcrefError(f"{self.name} has been lowered: it has no root block")
        return self.body.block

    def shape_vars(self) -> tuple[Var, ...]:
        """Variables that the shapes, strides and offsets of the parameters bind, in order of appearance."""
        scalars = set(self.scalars)
        found: dict[Var, None] = {}
        for buffer in self.buffers:
            offset = () if buffer.elem_offset is None else (buffer.elem_offset,)
            for extent in (*buffer.shape, *buffer.strides, *offset):
                if isinstance(extent, Var) and extent not in scalars:
                    found[extent] = None
        return tuple(found)


class IRModule:
    """Functions by name, in order. Unlike the functions in it, a module can be changed (``update_func``).

    >>> mod = IRModule({})
    >>> list(mod.functions)
    []
    """

    def __init__(self, functions: Mapping[Any, BaseFunc] | None = None, attrs: Mapping[str, Any] | None = None) -> None:
        self.functions: dict[str, BaseFunc] = {_key(name): f for name, f in (functions or {}).items()}
        self.attrs = Attrs(attrs)

    @staticmethod
    def from_expr(func: BaseFunc) -> IRModule:
        """A module of one function, under its global symbol or "main"."""
        return IRModule({str(func.attrs.get("global_symbol", "main")): func})

    def __getitem__(self, name: str | GlobalVar) -> Any:
        key = _key(name)
        if key not in self.functions:
            known = ", ".join(self.functions) or "none"
            raise MlcrefError(f"the module has no function {key!r}", hint=f"its functions: {known}")
        return self.functions[key]

    def __setitem__(self, name: str | GlobalVar, func: BaseFunc) -> None:
        self.functions[_key(name)] = func

    def __contains__(self, name: str | GlobalVar) -> bool:
        return _key(name) in self.functions

    def __iter__(self) -> Iterator[str]:
        return iter(self.functions)

    def __len__(self) -> int:
        return len(self.functions)

    def get_global_var(self, name: str) -> GlobalVar:
        """The name of a function of this module as an expression; raises when there is none."""
        self[name]
        return GlobalVar(name)

    def get_global_vars(self) -> list[GlobalVar]:
        """The names of all functions."""
        return [GlobalVar(name) for name in self.functions]

    def functions_items(self) -> list[tuple[GlobalVar, BaseFunc]]:
        """Pairs of name and function, as TVM's ``mod.functions_items()``."""
        return [(GlobalVar(name), f) for name, f in self.functions.items()]

    def update_func(self, name: str | GlobalVar, func: BaseFunc) -> None:
        """Put ``func`` in place of the function called ``name``."""
        self.functions[_key(name)] = func

    def prim_funcs(self) -> dict[str, PrimFunc]:
        """The tensor programs of the module."""
        return {name: f for name, f in self.functions.items() if isinstance(f, PrimFunc)}

    def clone(self) -> IRModule:
        """A module with the same functions that can be changed on its own."""
        return IRModule(self.functions, self.attrs)

    def script(self, **options: Any) -> str:
        """The TVMScript text of the module."""
        return script_of(self, **options)

    def show(self, **options: Any) -> None:
        """Print the script, highlighted where the terminal can."""
        show_script(self, **options)

    def _repr_html_(self) -> str:
        return html_of(self)

    def __repr__(self) -> str:
        return script_of(self)


def _key(name: Any) -> str:
    return name.name_hint if isinstance(name, GlobalVar) else str(name)


def as_module(program: IRModule | BaseFunc) -> IRModule:
    """A module as it is; a function as a module of that function called "main" (or its global symbol)."""
    return program if isinstance(program, IRModule) else IRModule.from_expr(program)
