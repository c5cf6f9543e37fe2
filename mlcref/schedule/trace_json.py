"""Traces from TVM's JSON form: ``[instructions, decisions]``, decisions as ``[index, value]``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlcref.errors import ScheduleError
from mlcref.schedule.handles import ExprRV
from mlcref.schedule.instruction import (
    ALIASES, OPTIONAL, QUERIES, Instruction, Output, attributes_of, kind_of, made_by,
)  # fmt: skip
from mlcref.schedule.map_json import Access, map_from_json
from mlcref.schedule.table import TABLE, Primitive
from mlcref.schedule.trace_text import expression


def read_json(form: Any) -> list[Instruction]:
    """The instructions of a trace in JSON form (nested lists, or their text), with new handles.

    Raises ``ScheduleError`` for other forms, unknown instruction kinds, and names that no instruction hands out.
    """
    try:
        loaded = json.loads(form) if isinstance(form, str) else form
        rows, decisions = loaded
        by_index = {int(i): _plain(value) for i, value in decisions}
        parts = [(str(kind), list(inputs), list(attrs), list(outputs)) for kind, inputs, attrs, outputs in rows]
    except (TypeError, ValueError, RecursionError) as error:
        what = f"no trace in JSON form: {error}"
        raise ScheduleError(what, rule="trace.P2", hint="expected [instructions, decisions]") from error
    env: dict[str, Any] = {}
    found: list[Instruction] = []
    for i, (kind, inputs, attributes, outputs) in enumerate(parts):
        name = _name_of(kind)
        arguments = _arguments(name, [_value(item, env) for item in inputs], [_plain(item) for item in attributes])
        made: tuple[Output, ...] = tuple([None if label == "_" else made_by(name)() for label in outputs])
        env.update({str(label): rv for label, rv in zip(outputs, made, strict=True) if rv is not None})
        found.append(Instruction(name, arguments, made, by_index.get(i), attributes_of(name)))
    return found


def _name_of(kind: str) -> str:
    names = {kind_of(name): name for name in (*TABLE, *QUERIES)}
    names |= {kind_of(name, "tirx"): name for name in ALIASES.values()}
    if kind not in names:
        raise ScheduleError(f"unknown instruction kind {kind!r}", rule="trace.P1")
    return names[kind]


def _arguments(name: str, inputs: Sequence[Any], attributes: Sequence[Any]) -> dict[str, Any]:
    """Inputs and attributes by parameter, in the order of the method's parameters."""
    if name in QUERIES:
        query = QUERIES[name]
        if len(inputs) != len(query.inputs) or len(attributes) > len(query.attributes):
            raise _malformed(name, inputs)
        return dict(zip((*query.inputs, *query.attributes), [*inputs, *attributes], strict=False))
    primitive = TABLE[name]
    keys = [key for key in primitive.signature.parameters if key not in primitive.attributes]
    given = _collect(keys, inputs, primitive)
    if "buffer" in primitive.attributes:  # two numbers say which access it is
        attributes = [Access.from_json(*attributes[:2]), *attributes[2:]]
    given.update(zip(primitive.attributes, attributes, strict=False))
    for key, value in given.items():
        if key in ("index_map", "pad_value") and isinstance(value, str):
            given[key] = map_from_json(value)
    for key, value in given.items():  # TVM writes some truth values as 0 and 1
        if primitive.signature.parameters[key].annotation == "bool":
            given[key] = bool(value)
    for key, parameter in primitive.signature.parameters.items():
        if key not in given and parameter.default is parameter.empty:
            raise _malformed(name, inputs)
    return {key: given[key] for key in primitive.signature.parameters if key in given}


def _malformed(name: str, inputs: Sequence[Any]) -> ScheduleError:
    return ScheduleError(f"{name} with {len(inputs)} inputs is no instruction", rule="trace.P2")


def _collect(keys: Sequence[str], inputs: Sequence[Any], primitive: Primitive) -> dict[str, Any]:
    """Inputs by parameter: a parameter that takes a list gets all the inputs that the others leave."""
    types = {key: str(primitive.signature.parameters[key].annotation) for key in keys}
    listed = [key for key in keys if types[key].startswith("list") and key not in OPTIONAL]
    if not listed:
        given = dict(zip(keys, inputs, strict=False))
        return {key: value or None if key in OPTIONAL else value for key, value in given.items()}
    at, rest = keys.index(listed[0]), len(inputs) - len(keys) + 1
    if rest < 0:
        raise _malformed(primitive.name, inputs)
    values: list[Any] = [*inputs[:at], list(inputs[at : at + rest]), *inputs[at + rest :]]
    return dict(zip(keys, values, strict=True))


def _plain(value: Any) -> Any:
    """TVM hands out its own numbers: those inside as Python's."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return getattr(value, "value", value)


def _value(value: Any, env: Mapping[str, Any], inside: bool = False) -> Any:
    """An input; ``inside`` a mapping, strings that say nothing else are themselves."""
    if isinstance(value, list):
        return [_value(item, env, inside) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _value(item, env, True) for key, item in value.items()}
    if not isinstance(value, str):
        return _plain(value)
    if value in env:
        return env[value]
    if value == "None":
        return None
    if value.startswith('"'):
        return json.loads(value)
    if value.startswith("("):
        return expression(value, {name: rv for name, rv in env.items() if isinstance(rv, ExprRV)})
    if value.startswith("{"):  # an object of TVM in its own JSON: the primitive reads it
        return value
    if inside:
        return value
    raise ScheduleError(f"no instruction hands out {value!r}", rule="trace.P3")
