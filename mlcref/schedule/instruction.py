"""One instruction of a trace: what it is called, and how TVM writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlcref.errors import ScheduleError
from mlcref.arith import IndexMap
from mlcref.ir import Add, Binary, Const, Expr, FloorDiv, FloorMod, Max, Min, Mul, Sub
from mlcref.schedule.handles import RV, BlockRV, ExprRV, LoopRV
from mlcref.schedule.map_json import Access, map_to_json
from mlcref.schedule.table import TABLE

Output = RV | None
"""What an instruction hands out; None where ``split`` is to infer a factor."""
DIALECTS = ("tir", "tirx")
"""Spellings: ``get_block`` and ``tir.Schedule``, or ``get_sblock`` and ``s_tir.Schedule`` as TVM since 0.22."""

VARIADIC = {"reorder": "loops", "fuse": "loops", "merge": "loops"}
"""Instructions whose first parameter collects positional arguments."""
OPTIONAL = {"consumer_blocks"}
"""Lists that TVM writes in text only when they are given, and in JSON as a list of their own."""
POSITIONAL = {"get_child_blocks"}
"""Instructions whose arguments TVM writes without their names."""
MAKE_LOOPS = frozenset({"split", "fuse", "merge", "loop_partition", "add_unit_loop"})
"""Primitives that return loops; all others return blocks."""


@dataclass(frozen=True, slots=True)
class Query:
    """An instruction that is no primitive: its inputs, its attributes, what it hands out, and whether a list of it."""

    inputs: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    makes: type[RV] | None = None
    listed: bool = False


QUERIES: dict[str, Query] = {
    "get_block": Query((), ("name", "func_name"), BlockRV),
    "get_loops": Query(("block",), (), LoopRV, True),
    "get_child_blocks": Query(("block_or_loop",), (), BlockRV, True),
    "get_producers": Query(("block",), (), BlockRV, True),
    "get_consumers": Query(("block",), (), BlockRV, True),
    "get_output_blocks": Query(("block",), (), BlockRV, True),
    "sample_perfect_tile": Query(("loop",), ("n", "max_innermost_factor"), ExprRV, True),
    "sample_partitioned_tile": Query(("loop",), ("n", "partition_pos", "innerpart_factor"), ExprRV, True),
    "sample_categorical": Query((), ("candidates", "probs"), ExprRV),
    "sample_compute_location": Query(("block",), (), LoopRV),
    "enter_postproc": Query(),
}
"""The instructions that change no program; all but ``enter_postproc`` may be dropped where nothing uses their outputs.
"""
ALIASES = {"get_sblock": "get_block"}
_KINDS = {
    "get_block": {"tir": "GetBlock", "tirx": "GetSBlock"},
    "get_child_blocks": dict.fromkeys(DIALECTS, "GetChildBlocks"),
    "rfactor": dict.fromkeys(DIALECTS, "RFactor"),
    "reindex": dict.fromkeys(DIALECTS, "ReIndex"),
}


def check_dialect(dialect: str) -> None:
    """Raise ``ScheduleError`` unless ``dialect`` is one of :data:`DIALECTS`."""
    if dialect not in DIALECTS:
        raise ScheduleError(f"there is no dialect {dialect!r}", rule="trace.P5", hint=f"one of {', '.join(DIALECTS)}")


def kind_of(name: str, dialect: str = "tir") -> str:
    """TVM's name of an instruction kind.

    >>> kind_of("sample_perfect_tile"), kind_of("get_block", "tirx")
    ('SamplePerfectTile', 'GetSBlock')
    """
    if name in _KINDS:
        return _KINDS[name][dialect]
    return "".join(part.capitalize() for part in name.split("_"))


def returns_list(name: str) -> bool:
    """Does the instruction return a list, however short?"""
    return QUERIES[name].listed if name in QUERIES else name in TABLE and TABLE[name].returns == "list"


class InstructionKind(str):
    """What kind of instruction it is; a string that has TVM's fields, too."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The kind as a string."""
        return str(self)

    @property
    def is_pure(self) -> bool:
        """Does it change no program?"""
        return self in _PURE

    @property
    def is_postproc(self) -> bool:
        """Does it mark where post-processing begins?"""
        return self == "EnterPostproc"


_PURE = {kind_of(name, dialect) for name in QUERIES if name != "enter_postproc" for dialect in DIALECTS}


@dataclass(frozen=True, slots=True, eq=False)
class Instruction:
    """One call of a schedule method: ``name``, arguments by parameter (handles stay handles), outputs, sampled
    ``decision``.

    ``verdict`` is what ``Schedule(check=…)`` found (a :class:`mlcref.verify.Verdict`), or "unchecked: …" where
    ``enable_check=False`` left preconditions out.
    """

    name: str
    arguments: Mapping[str, Any]
    outputs: tuple[Output, ...] = ()
    decision: Any = None
    attributes: tuple[str, ...] = ()
    verdict: Any = field(default=None)

    @property
    def kind(self) -> InstructionKind:
        """TVM's name of the instruction kind, such as ``SamplePerfectTile``."""
        return InstructionKind(kind_of(self.name))

    @property
    def inputs(self) -> list[Any]:
        """The inputs as TVM lists them: handles and numbers."""
        return self._parts(lambda value: value)[0]

    @property
    def attrs(self) -> list[Any]:
        """The attributes as TVM lists them."""
        return self._parts(lambda value: value)[1]

    @property
    def is_pure(self) -> bool:
        """Does it change no program?"""
        return self.name in QUERIES and self.name != "enter_postproc"

    def as_python(self, names: Mapping[RV, str], dialect: str = "tir") -> str:
        """The call as a line of Python."""
        parts: list[str] = []
        for key, value in self.arguments.items():
            if value is None and key in OPTIONAL:
                continue
            if VARIADIC.get(self.name) == key:
                parts += [as_text(item, names) for item in value]
            else:
                if key == "ann_val" and isinstance(value, bool):  # as TVM writes it
                    value = int(value)
                text = _map_text(value, dialect) if isinstance(value, IndexMap) else as_text(value, names)
                parts.append(text if self.name in POSITIONAL else f"{key}={text}")
        if self.decision is not None:
            parts.append(f"decision={as_text(self.decision, names)}")
        left = ", ".join("_" if rv is None else names[rv] for rv in self.outputs)
        left += "," if returns_list(self.name) and len(self.outputs) == 1 else ""
        name = "get_sblock" if dialect == "tirx" and self.name == "get_block" else self.name
        call = f"sch.{name}({', '.join(parts)})"
        return f"{left} = {call}" if left else call

    def as_json(self, names: Mapping[RV, str], dialect: str = "tir") -> list[Any]:
        """``[kind, inputs, attributes, outputs]`` as TVM writes it."""
        inputs, attributes = self._parts(lambda value: as_json(value, names))
        outputs = ["_" if rv is None else names[rv] for rv in self.outputs]
        return [kind_of(self.name, dialect), inputs, attributes, outputs]

    def _parts(self, write: Callable[[Any], Any]) -> tuple[list[Any], list[Any]]:
        inputs: list[Any] = []
        attributes: list[Any] = []
        for key, value in self.arguments.items():
            if isinstance(value, Access) and key in self.attributes:
                attributes += value.as_json()
            elif key in self.attributes:
                attributes.append(value if value is None or isinstance(value, str) else write(value))
            elif key in OPTIONAL:
                inputs.append([write(item) for item in value or ()])
            elif isinstance(value, list | tuple) and not _is_value(self.name, key):
                inputs += [write(item) for item in value]
            else:
                inputs.append(write(value))
        return inputs, attributes


def _is_value(name: str, key: str) -> bool:
    """Is the parameter one input that may be a list, not a list of inputs?"""
    return name in TABLE and not str(TABLE[name].signature.parameters[key].annotation).startswith("list")


def handles_in(value: Any) -> Iterator[RV]:
    """Every handle in an argument, inside lists, mappings and expressions too."""
    if isinstance(value, BlockRV | LoopRV | ExprRV):
        yield value
    elif isinstance(value, Binary):
        yield from handles_in(value.a)
        yield from handles_in(value.b)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from handles_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from handles_in(item)


_SYMBOLS: dict[type[Binary], str] = {Add: "+", Sub: "-", Mul: "*", FloorDiv: "//", FloorMod: "%"}
OPERATORS: dict[str, type[Binary]] = {symbol: kind for kind, symbol in _SYMBOLS.items()}


def as_text(value: Any, names: Mapping[RV, str]) -> str:
    """An argument as Python text."""
    if isinstance(value, BlockRV | LoopRV | ExprRV):
        return names.get(value, "_")
    if isinstance(value, IndexMap):
        return _map_text(value, "tir")
    if isinstance(value, Access):
        return f'("{value.kind}", {value.position})'
    if isinstance(value, list | tuple):
        return f"[{', '.join(as_text(item, names) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_text(k, names)}: {as_text(v, names)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Const):
        return repr(value.value)
    if isinstance(value, Min | Max):
        return f"{value.symbol}({as_text(value.a, names)}, {as_text(value.b, names)})"
    if isinstance(value, Binary) and type(value) in _SYMBOLS:
        return f"({as_text(value.a, names)} {_SYMBOLS[type(value)]} {as_text(value.b, names)})"
    return repr(value)


def _map_text(index_map: IndexMap, dialect: str) -> str:
    inverse = index_map.inverse_index_map
    if inverse is None:
        return index_map.as_lambda()
    both = f"{index_map.as_lambda()}, inverse_index_map={inverse.as_lambda()}"
    return f"tvm.{dialect}.IndexMap.from_func({both})"


def as_json(value: Any, names: Mapping[RV, str], inside: bool = False) -> Any:
    """An argument as a JSON value: handles by name, text in quotes of its own, expressions as text in parentheses.

    Inside a mapping text stands as it is, as TVM writes it, unless it could be taken for something else.
    """
    if isinstance(value, BlockRV | LoopRV | ExprRV):
        return names[value]
    if isinstance(value, Const):
        return value.value
    if isinstance(value, IndexMap):
        return map_to_json(value)
    if isinstance(value, Expr):
        text = as_text(value, names)
        return text if text.startswith("(") else f"({text})"
    if isinstance(value, list | tuple):
        return [as_json(item, names, inside) for item in value]
    if isinstance(value, Mapping):
        return {key: as_json(item, names, True) for key, item in value.items()}
    if value is None:
        return "None"
    if isinstance(value, str):
        return value if inside and not _reads_otherwise(value) else json.dumps(value)
    return value


def _reads_otherwise(text: str) -> bool:
    """Could the text be the name of a handle, a quotation, an expression or None?"""
    return text == "None" or text[:1] in ('"', "(", "{") or (text[:1] in "blv" and text[1:].isdigit())


def made_by(name: str) -> Callable[[], RV]:
    """What makes a new handle of the kind that the instruction hands out."""
    made = QUERIES[name].makes if name in QUERIES else LoopRV if name in MAKE_LOOPS else BlockRV
    if made is ExprRV:
        return lambda: ExprRV("v")
    return made or BlockRV


def parameters_of(name: str) -> Sequence[str]:
    """The parameters of the method, in order, without ``decision``."""
    if name in TABLE:
        return list(TABLE[name].signature.parameters)
    return [*QUERIES[name].inputs, *QUERIES[name].attributes]


def attributes_of(name: str) -> tuple[str, ...]:
    """The parameters that TVM's JSON keeps apart from the inputs."""
    return TABLE[name].attributes if name in TABLE else QUERIES[name].attributes


def known(name: str) -> str:
    """The name of an instruction in our spelling; raises ``ScheduleError`` for one that does not exist."""
    name = ALIASES.get(name, name)
    if name not in TABLE and name not in QUERIES:
        raise ScheduleError(f"unknown instruction {name}", rule="trace.P1")
    return name


