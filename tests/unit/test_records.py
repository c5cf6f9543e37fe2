"""Records are what ``dataclasses.dataclass`` would have made."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from typing import Any

import pytest

from mlcref import ir, records


def classes(dataclass: Any) -> dict[str, Any]:
    """The same definitions by either decorator."""

    @dataclass(frozen=True, slots=True)
    class Pair:
        x: int
        y: list[int] = field(default_factory=list)
        note: str = field(default="", compare=False, repr=False)

    @dataclass(frozen=True)
    class Named:
        """Says its own name."""

        name: str
        length: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "length", len(self.name))

        def __repr__(self) -> str:
            return f"<{self.name}>"

    @dataclass(frozen=True)
    class Title(Named):
        rank: float = 0.5

        def __eq__(self, other: object) -> bool:
            return self is other

    @dataclass(frozen=True, slots=True, eq=False, repr=False)
    class Alone:
        one: object = None

    @dataclass(frozen=True)
    class Empty:
        pass

    return {made.__name__: made for made in (Pair, Named, Title, Alone, Empty)}


PROPERTIES: list[Callable[[dict[str, Any]], object]] = [
    lambda made: repr(made["Pair"](1)),
    lambda made: repr(made["Title"]("a", 2.0)),
    lambda made: repr(made["Empty"]()),
    lambda made: made["Pair"](1) == made["Pair"](1, [], "other"),
    lambda made: made["Pair"](1) == made["Pair"](1, [2]),
    lambda made: made["Pair"](1).__eq__(3),
    lambda made: made["Pair"](y=[1], x=2).y,
    lambda made: made["Pair"](1).y is made["Pair"](1).y,
    lambda made: hash(made["Named"]("a")) == hash(made["Named"]("a")),
    lambda made: hash(made["Title"]("a")) == hash(made["Title"]("a")),
    lambda made: made["Title"]("a") == made["Title"]("a"),
    lambda made: made["Title"]("abc").length,
    lambda made: made["Named"]("a") == made["Title"]("a"),
    lambda made: made["Alone"](1) == made["Alone"](1),
    lambda made: made["Empty"]() == made["Empty"](),
    lambda made: made["Named"].__doc__,
    lambda made: made["Pair"].__match_args__,
    lambda made: made["Pair"].__slots__,
    lambda made: [(f.name, f.type, f.compare) for f in dataclasses.fields(made["Title"])],
    lambda made: repr(dataclasses.replace(made["Pair"](1), x=5)),
    lambda made: dataclasses.asdict(made["Pair"](1, [2])),
    lambda made: repr(copy.deepcopy(made["Pair"](1, [2]))),
    lambda made: copy.copy(made["Named"]("ab")).length,
]


@pytest.mark.parametrize("number", range(len(PROPERTIES)))
def test_a_record_is_like_a_dataclass(number: int) -> None:
    ours, theirs = classes(records.dataclass), classes(dataclasses.dataclass)
    assert str(PROPERTIES[number](ours)) == str(PROPERTIES[number](theirs))


@pytest.mark.parametrize("dataclass", [records.dataclass, dataclasses.dataclass])
@pytest.mark.parametrize(
    ("use", "error", "match"),
    [
        (lambda made: setattr(made["Pair"](1), "x", 2), FrozenInstanceError, "cannot assign to field 'x'"),
        (lambda made: delattr(made["Named"]("a"), "name"), FrozenInstanceError, "cannot delete field 'name'"),
        (lambda made: made["Pair"](), TypeError, r"Pair\.__init__\(\) missing 1 required positional argument: 'x'"),
        (lambda made: made["Pair"](1, z=2), TypeError, r"__init__\(\) got an unexpected keyword argument 'z'"),
        (lambda made: hash(made["Pair"](1)), TypeError, "unhashable type: 'list'"),
    ],
)
def test_what_a_record_refuses(
    dataclass: Any, use: Callable[[Any], object], error: type[Exception], match: str
) -> None:
    made = classes(dataclass)
    with pytest.raises(error, match=match):
        use(made)


def test_records_can_be_pickled() -> None:
    range_ = ir.Range(ir.const(0), ir.const(4))
    assert repr(pickle.loads(pickle.dumps(range_))) == repr(range_)
    assert pickle.loads(pickle.dumps(ir.Target("cython").cpu)) == ir.Target("cython").cpu
