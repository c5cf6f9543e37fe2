"""The JSON form of verdicts: schema "mlcref.verdict/1". ``docs/contract.md`` lists the fields; a test compares.

JSON has no NaN, no infinity and no arrays of a data type: ``{"float": "nan"}`` (or ``inf``, ``-inf``, ``-0.0``), and
``{"dtype": "float32", "shape": [2], "values": [...]}`` with the elements in row-major order. Numbers of every type
survive the way there and back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from mlcref import dtype as dt

SCHEMA = "mlcref.verdict/1"

VERDICT_FIELDS = (
    "schema", "status", "detail", "p_miss", "seed", "trials", "findings", "counterexample", "exit_code",
)  # fmt: skip
FINDING_FIELDS = ("rule", "severity", "what", "report")
COUNTEREXAMPLE_FIELDS = (
    "arguments", "names", "seed", "trial", "buffer", "indices", "expected", "got", "tolerance", "domain", "programs",
    "poison", "trials", "statement", "iteration", "step", "trace", "report", "replay",
)  # fmt: skip


def encoded(value: Any) -> Any:
    """``value`` in terms of JSON.

    >>> encoded(float("nan")), encoded(np.array([1, 2], "int8"))
    ({'float': 'nan'}, {'dtype': 'int8', 'shape': [2], 'values': [1, 2]})
    """
    if isinstance(value, np.ndarray):
        is_float = dt.is_float(value.dtype.name)
        flat = value.ravel().astype(np.float64 if is_float else value.dtype).tolist()
        return {"dtype": value.dtype.name, "shape": list(value.shape), "values": [encoded(x) for x in flat]}
    if isinstance(value, np.generic):
        return encoded(value.item())
    if isinstance(value, float):
        plain = math.isfinite(value) and (value != 0 or math.copysign(1, value) > 0)
        return float(value) if plain else {"float": repr(float(value))}
    if isinstance(value, Mapping):
        return {str(name): encoded(x) for name, x in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [encoded(x) for x in value]
    return value


def decoded(value: Any) -> Any:
    """The value that :func:`encoded` describes; sequences are lists.

    >>> decoded({"float": "-inf"}), decoded(encoded(np.array([1.5], "float32")))
    (-inf, array([1.5], dtype=float32))
    """
    if isinstance(value, list):
        return [decoded(x) for x in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"float"}:
        return float(value["float"])
    if set(value) == {"dtype", "shape", "values"}:
        numbers = [decoded(x) for x in value["values"]]
        numpy_type = dt.numpy_dtype(value["dtype"])
        wide = np.float64 if dt.is_float(value["dtype"]) else numpy_type
        return np.array(numbers, wide).astype(numpy_type).reshape(value["shape"])
    return {name: decoded(x) for name, x in value.items()}


def fields_of(record: Any, exclude: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass in terms of JSON."""
    return {f.name: encoded(getattr(record, f.name)) for f in fields(record) if f.name not in exclude}


def checked(form: Mapping[str, Any] | str) -> dict[str, Any]:
    """The fields of a verdict, if ``form`` has the schema and exactly its fields; otherwise ``ValueError``.

    >>> checked('{"schema": "mlcref.verdict/9"}')
    Traceback (most recent call last):
    ValueError: the schema is 'mlcref.verdict/9', not 'mlcref.verdict/1'
    """
    made: dict[str, Any] = dict(json.loads(form) if isinstance(form, str) else form)
    if made.get("schema") != SCHEMA:
        raise ValueError(f"the schema is {made.get('schema')!r}, not {SCHEMA!r}")
    _has_fields("verdict", made, VERDICT_FIELDS)
    for finding in made["findings"]:
        _has_fields("finding", finding, FINDING_FIELDS)
    example = made["counterexample"]
    if example is not None:
        _has_fields("counterexample", example, COUNTEREXAMPLE_FIELDS)
        if example["report"] is not None:
            _has_fields("finding", example["report"], FINDING_FIELDS)
    return made


def _has_fields(what: str, found: Mapping[str, Any], expected: Sequence[str]) -> None:
    missing, unknown = set(expected) - set(found), set(found) - set(expected)
    if missing or unknown:
        raise ValueError(f"a {what} of {SCHEMA} misses the fields {sorted(missing)}, and has unknown {sorted(unknown)}")
