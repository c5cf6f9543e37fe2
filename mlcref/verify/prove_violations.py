"""Answers about rules: sets of violations, what their emptiness proves, and where they refute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from mlcref.verify.prove_affine import NotAffine, type_range
from mlcref.verify.prove_isl import isl
from mlcref.verify.prove_model import Model, Place

PROVED, REFUTED, UNKNOWN = "PROVED", "REFUTED", "UNKNOWN"
_SMALL = (1, 2, 3, 5, 9, 17, 65, 2**20)


@dataclass(frozen=True)
class Proof:
    """The answer about one rule. ``status`` is "PROVED", "REFUTED" or "UNKNOWN".

    Of a refutation, ``sizes`` are the values of shape variables and scalar parameters, ``instance`` the values of the
    loop variables, ``other`` those of the second instance where two conflict. ``detail`` says what was found, or why
    nothing is known.
    """

    rule: str
    status: str
    detail: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    instance: Mapping[str, int] = field(default_factory=dict)
    other: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.status == PROVED

    def __str__(self) -> str:
        parts = [f"{self.rule}: {self.status}", self.detail]
        for title, values in (("sizes", self.sizes), ("at", self.instance), ("and", self.other)):
            if values:
                parts.append(f"{title} " + ", ".join(f"{name}={value}" for name, value in values.items()))
        return "; ".join(part for part in parts if part)


class Unclear(Exception):
    """A question that the model does not answer; the message says why."""


@dataclass
class Violation:
    """A set of instances (or a relation between instances) that would break a rule. ``certain``: does each of them?
    ``places`` are those of the instances."""

    found: isl.Set | isl.Map
    what: str
    places: tuple[Place, ...]
    certain: bool = True


Check = Callable[[Model], Iterator[Violation]]


def judge(rule: str, model: Model, check: Check) -> Proof:
    """Look for a violation; the first certain one refutes."""
    doubt = ""
    try:
        for violation in check(model):
            if violation.found.is_empty():
                continue
            if violation.certain:
                return refuted(rule, model, violation)
            doubt = doubt or f"not known: {violation.what}"
    except (Unclear, NotAffine) as error:
        return Proof(rule, UNKNOWN, str(error))
    return Proof(rule, UNKNOWN, doubt) if doubt else Proof(rule, PROVED)


def refuted(rule: str, model: Model, violation: Violation) -> Proof:
    """The refutation with a concrete instance, at small sizes where there are some."""
    wrapped = violation.found.wrap() if isinstance(violation.found, isl.Map) else violation.found
    found = _small(model, wrapped)
    if found is None:
        return Proof(rule, UNKNOWN, f"only at sizes beyond their types: {violation.what}")
    point = found.sample_point()
    names = found.get_var_names(isl.dim_type.param)
    sizes = {model.names[name]: _coordinate(point, isl.dim_type.param, k) for k, name in enumerate(names)}
    values = [_coordinate(point, isl.dim_type.set, k) for k in range(found.dim(isl.dim_type.set))]
    instances = []
    for place in violation.places:
        instances.append(place.values(values[: len(place.dims)]))
        values = values[len(place.dims) :]
    return Proof(rule, REFUTED, violation.what, sizes, *instances)


def _coordinate(point: isl.Point, kind: isl.dim_type, k: int) -> int:
    value: int = point.get_coordinate_val(kind, k).to_python()
    return value


def _small(model: Model, found: isl.Set) -> isl.Set | None:
    """``found`` with parameters that are as small as it allows, and inside of their types."""
    if not model.params:
        return found
    for limit in _SMALL:
        near = isl.Set(model.text(" : " + " and ".join(f"-{limit} <= {name} <= {limit}" for name in model.params)))
        restricted = found.intersect_params(near)
        if not restricted.is_empty():
            return restricted
    limits = {var: type_range(var.type) for var in (*model.func.shape_vars(), *model.func.scalars)}
    bounds = [limits[var] for var in limits if var.name in model.names.values()]
    low, high = max(b[0] for b in bounds), min(b[1] for b in bounds)
    near = isl.Set(model.text(" : " + " and ".join(f"{low} <= {name} <= {high}" for name in model.params)))
    restricted = found.intersect_params(near)
    return None if restricted.is_empty() else restricted
