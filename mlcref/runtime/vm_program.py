"""Programs of the virtual machine: instructions over registers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlcref.ir import graph
from mlcref.ir.expr import Const, Expr


@dataclass(frozen=True, slots=True)
class Allocate:
    """A new tensor of undefined content in register ``to``."""

    to: int
    shape: tuple[Expr, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class LoadConstant:
    """Constant number ``index`` of the executable in register ``to``."""

    to: int
    index: int


@dataclass(frozen=True, slots=True)
class MakeShape:
    """A tuple of ints in register ``to``."""

    to: int
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class MakeTuple:
    """The tuple of some registers in register ``to``."""

    to: int
    fields: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GetField:
    """Field ``index`` of the tuple in register ``source`` in register ``to``."""

    to: int
    source: int
    index: int


@dataclass(frozen=True, slots=True)
class Invoke:
    """Call ``name``, a kernel or a packed function, with registers and then the numbers ``scalars``."""

    name: str
    packed: bool
    args: tuple[int, ...]
    scalars: tuple[Expr, ...] = ()


Instruction = Allocate | LoadConstant | MakeShape | MakeTuple | GetField | Invoke


@dataclass(frozen=True, slots=True)
class Program:
    """A graph function as instructions over registers: the arguments come first, ``result`` holds the result."""

    name: str
    params: tuple[graph.Var, ...]
    code: tuple[Instruction, ...]
    registers: int
    result: int

    def __str__(self) -> str:
        """One instruction per line, for people."""
        listed = ", ".join(f"%{i}: {param.name_hint}" for i, param in enumerate(self.params))
        lines = [f"{self.name}({listed})", *(f"  {_text(step)}" for step in self.code), f"  return %{self.result}"]
        return "\n".join(lines)


def _text(step: Instruction) -> str:
    match step:
        case Allocate(to, shape, dtype):
            return f"%{to} = allocate {dtype}{_listed(shape)}"
        case LoadConstant(to, index):
            return f"%{to} = constant {index}"
        case MakeShape(to, values):
            return f"%{to} = shape {_listed(values)}"
        case MakeTuple(to, fields):
            return f"%{to} = tuple {_listed(f'%{source}' for source in fields)}"
        case GetField(to, source, index):
            return f"%{to} = %{source}[{index}]"
        case Invoke(name, packed, args, scalars):
            return f"{'packed' if packed else 'kernel'} {name}{_listed([*(f'%{source}' for source in args), *scalars])}"


def _listed(items: Iterable[object]) -> str:
    return f"[{', '.join(str(item.value) if isinstance(item, Const) else str(item) for item in items)}]"
