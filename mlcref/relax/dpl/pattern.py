"""Patterns of expressions, and how they match through bindings; edges between patterns are kept by a context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlcref import dtype as dt
from mlcref.arith import same_info, same_shape
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.ir import GlobalVar, graph
from mlcref.ir.base import Node

Bindings = Mapping[graph.Var, graph.GraphExpr]
Found = dict["DFPattern", Any]


@dataclass(frozen=True)
class Edge:
    """``user`` matches a call with what ``used`` matches among its inputs: as number ``index``, anywhere if -1; with
    ``only``, nothing else uses it."""

    used: DFPattern
    user: DFPattern
    index: int = -1
    only: bool = False


class Recorder:
    """What is written while it is open: patterns that are no part of another one, and edges."""

    def __init__(self) -> None:
        self.roots: dict[DFPattern, None] = {}
        self.edges: list[Edge] = []

    def add(self, pattern: DFPattern, parts: Iterable[DFPattern]) -> None:
        """Enter a new pattern in the place of its parts."""
        for part in parts:
            self.roots.pop(part, None)
        self.roots[pattern] = None


_stacks = threading.local()


def recorders() -> list[Recorder]:
    """Those of this thread that are open; the last one is written to."""
    found: list[Recorder] = _stacks.__dict__.setdefault("open", [])
    return found


def _entered(pattern: DFPattern, *parts: DFPattern) -> None:
    if recorders():
        recorders()[-1].add(pattern, parts)


def _connected(left: DFPattern | PatternSeq, right: Any, index: int, only: bool) -> PatternSeq:
    if not isinstance(right, DFPattern | PatternSeq):
        raise TypeMismatch(f"an edge joins patterns, not {type(right).__name__}")
    if not recorders():
        hint = "with PatternContext() as ctx:"
        raise MlcrefError("an edge between patterns is written inside a context", rule="relax.dpl", hint=hint)
    before, after = PatternSeq.of(left), PatternSeq.of(right)
    recorders()[-1].edges.append(Edge(before.patterns[-1], after.patterns[0], index, only))
    return PatternSeq((*before.patterns, *after.patterns))


class DFPattern:
    """A pattern. ``p(x, y)`` is a call of what ``p`` matches; ``p | q``, ``p & q`` and ``~p`` combine patterns."""

    def test(self, expr: Node, values: Bindings, found: Found) -> bool:
        """Does ``expr`` match? What the parts of the pattern match is entered in ``found``."""
        raise NotImplementedError

    def find(self, expr: Node, values: Bindings, found: Found) -> bool:
        """Does ``expr``, or the value of the variable that it is, match? ``found`` gets ``expr``, if so."""
        if self in found:
            return found[self] is expr
        trial = dict(found)
        if not self.test(expr, values, trial) and not self._value_matches(expr, values, trial := dict(found)):
            return False
        found.update(trial)
        found[self] = expr
        return True

    def _value_matches(self, expr: Node, values: Bindings, found: Found) -> bool:
        value = values.get(expr) if isinstance(expr, graph.Var) else None
        return value is not None and self._through(value, values, found)

    def _through(self, expr: Node, values: Bindings, found: Found) -> bool:
        """Does ``expr`` match, or what the variables that it stands for are bound to?"""
        return self.test(expr, values, found) or self._value_matches(expr, values, found)

    def match(self, expr: Node, var2val: Bindings | None = None) -> bool:
        """Does ``expr`` match? ``var2val`` has the values of variables: ``relax.analysis.get_var2val(func)``."""
        return self.find(expr, var2val or {}, {})

    def extract_matched_expr(self, expr: Node, var2val: Bindings | None = None) -> Found | None:
        """What each part of the pattern matches in ``expr``; None when it does not match."""
        found: Found = {}
        return found if self.find(expr, var2val or {}, found) else None

    def __call__(self, *args: DFPattern, varg_default_wildcard: bool = False) -> CallPattern:
        return CallPattern(self, args, varg_default_wildcard)

    def __or__(self, other: DFPattern) -> DFPattern:
        return _Any((self, other))

    def __and__(self, other: DFPattern) -> DFPattern:
        return _All((self, other))

    def __invert__(self) -> DFPattern:
        return _Not(self)

    def optional(self, option: Callable[[DFPattern], DFPattern]) -> DFPattern:
        """This pattern, or ``option`` of it."""
        return self | option(self)

    def has_attr(self, attrs: Mapping[str, Any]) -> DFPattern:
        """This pattern, with attributes of these values; lists and tuples are alike."""
        return self & _Check(lambda expr: _has_attrs(expr, attrs))

    def has_dtype(self, dtype: str) -> DFPattern:
        """This pattern, of a tensor of ``dtype``."""
        wanted = dt.canonical(dtype)
        return self & _Check(lambda expr: getattr(_info(expr), "dtype", None) == wanted)

    def has_shape(self, shape: Sequence[Any]) -> DFPattern:
        """This pattern, of a tensor of ``shape``."""
        wanted = graph.ShapeExpr(shape).values
        return self & _Check(lambda expr: _has_shape(_info(expr), wanted))

    def has_struct_info(self, struct_info: graph.StructInfo) -> DFPattern:
        """This pattern, of a value of ``struct_info``."""
        return self & _Check(lambda expr: same_info(_info(expr), struct_info))

    def used_by(self, other: DFPattern | PatternSeq, index: int = -1) -> PatternSeq:
        """In a ``PatternContext``: a call that ``other`` matches has what this matches for its input ``index`` (for one
        of them, if -1). Also written ``p ^ q``."""
        return _connected(self, other, index, only=False)

    def only_used_by(self, other: DFPattern | PatternSeq, index: int = -1) -> PatternSeq:
        """As ``used_by``, and nothing else uses it. Also written ``p >> q``."""
        return _connected(self, other, index, only=True)

    def __xor__(self, other: DFPattern | PatternSeq) -> PatternSeq:
        return _connected(self, other, -1, only=False)

    def __rshift__(self, other: DFPattern | PatternSeq) -> PatternSeq:
        return _connected(self, other, -1, only=True)

    def fork_to(self, *others: DFPattern | PatternSeq) -> None:
        """``used_by`` of each of ``others``."""
        for other in others:
            self.used_by(other)


class PatternSeq:
    """Patterns with edges from each to the next, as ``p >> q >> r`` makes them. Source: ``relax.dpl.PatternSeq``."""

    def __init__(self, patterns: Sequence[DFPattern]) -> None:
        self.patterns = tuple(patterns)

    @staticmethod
    def of(item: DFPattern | PatternSeq) -> PatternSeq:
        """``item`` as a sequence."""
        return item if isinstance(item, PatternSeq) else PatternSeq((item,))

    def used_by(self, other: DFPattern | PatternSeq, index: int = -1) -> PatternSeq:
        """``used_by`` of the last pattern."""
        return _connected(self, other, index, only=False)

    def only_used_by(self, other: DFPattern | PatternSeq, index: int = -1) -> PatternSeq:
        """``only_used_by`` of the last pattern."""
        return _connected(self, other, index, only=True)

    def __xor__(self, other: DFPattern | PatternSeq) -> PatternSeq:
        return _connected(self, other, -1, only=False)

    def __rshift__(self, other: DFPattern | PatternSeq) -> PatternSeq:
        return _connected(self, other, -1, only=True)

    def __getitem__(self, index: int) -> DFPattern:
        return self.patterns[index]

    def __len__(self) -> int:
        return len(self.patterns)


def _info(expr: Node) -> graph.StructInfo:
    return expr.struct_info if isinstance(expr, graph.GraphExpr) else graph.ObjectStructInfo()


def _has_shape(info: graph.StructInfo, wanted: Sequence[Any]) -> bool:
    return isinstance(info, graph.TensorStructInfo) and info.shape is not None and same_shape(info.shape.values, wanted)


def _has_attrs(expr: Node, attrs: Mapping[str, Any]) -> bool:
    own = expr.attrs if isinstance(expr, graph.Call | graph.Function) else {}
    return all(name in own and _plain(own[name]) == _plain(value) for name, value in attrs.items())


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, tuple | list) else value


class _Check(DFPattern):
    """Whatever ``holds`` is true of."""

    def __init__(self, holds: Callable[[Node], bool]) -> None:
        self.holds = holds

    def test(self, expr: Node, values: Bindings, found: Found) -> bool:
        return self.holds(expr)


class _Any(DFPattern):
    def __init__(self, options: tuple[DFPattern, ...]) -> None:
        self.options = options
        _entered(self, *options)

    def test(self, expr: Node, values: Bindings, found: Found) -> bool:
        return any(option.find(expr, values, found) for option in self.options)


class _All(DFPattern):
    def __init__(self, parts: tuple[DFPattern, ...]) -> None:
        self.parts = parts
        _entered(self, *parts)

    def test(self, expr: Node, values: Bindings, found: Found) -> bool:
        return all(part.find(expr, values, found) for part in self.parts)


class _Not(DFPattern):
    def __init__(self, pattern: DFPattern) -> None:
        self.pattern = pattern
        _entered(self, pattern)

    def test(self, expr: Node, values: Bindings, found: Found) -> bool:
        return not self.pattern.find(expr, values, dict(found))

    def _value_matches(self, expr: Node, values: Bindings, found: Found) -> bool:
        return False


class CallPattern(DFPattern):
    """A call of what ``callee`` matches with ``args``; with ``any_more``, further arguments may follow."""

    def __init__(self, callee: DFPattern, args: Sequence[DFPattern], any_more: bool = False) -> None:
        for arg in args:
            if not isinstance(arg, DFPattern):
                raise TypeMismatch(f"the arguments of a pattern are patterns, not {type(arg).__name__}")
        self.callee, self.args, self.any_more = callee, tuple(args), any_more
        _entered(self, callee, *args)

    def test(self, expr: Node, values: Bindings, found: Found) -> bool:
        if not isinstance(expr, graph.Call) or not self.callee.find(expr.op, values, found):
            return False
        enough = len(self.args) <= len(expr.args) if self.any_more else len(self.args) == len(expr.args)
        return enough and all(
            arg.find(given, values, found) for arg, given in zip(self.args, expr.args, strict=False)
        )


class _TuplePattern(DFPattern):
    def __init__(self, fields: Sequence[DFPattern], unordered: bool) -> None:
        self.fields, self.unordered = tuple(fields), unordered
        _entered(self, *fields)

    def test(self, expr: Node, values: Bindings, found: Found) -> bool:
        if not isinstance(expr, graph.Tuple) or len(expr.fields) != len(self.fields):
            return False
        if not self.unordered:
            pairs = zip(self.fields, expr.fields, strict=True)
            return all(pattern.find(field, values, found) for pattern, field in pairs)
        return self._assigned(self.fields, list(expr.fields), values, found)

    def _assigned(
        self, patterns: Sequence[DFPattern], fields: list[graph.GraphExpr], values: Bindings, found: Found
    ) -> bool:
        """Can each pattern get a field of its own?"""
        if not patterns:
            return True
        for k, field in enumerate(fields):
            trial = dict(found)
            if patterns[0].find(field, values, trial) and self._assigned(
                patterns[1:], fields[:k] + fields[k + 1 :], values, trial
            ):
                found.update(trial)
                return True
        return False


class _FieldPattern(DFPattern):
    def __init__(self, whole: DFPattern, index: int | None) -> None:
        self.whole, self.index = whole, index
        _entered(self, whole)

    def test(self, expr: Node, values: Bindings, found: Found) -> bool:
        if not isinstance(expr, graph.TupleGetItem) or self.index not in (None, expr.index):
            return False
        return self.whole.find(expr.tuple_value, values, found)


COMPOSITES = (CallPattern, _TuplePattern, _FieldPattern)
"""The patterns of what is computed from parts."""


def wildcard() -> DFPattern:
    """Anything. Each call makes a pattern of its own.

    >>> from mlcref import relax
    >>> x = relax.Var("x", relax.TensorStructInfo((2,), "float32"))
    >>> is_op("relax.exp")(wildcard()).match(relax.op.exp(x))
    True
    """
    return _Check(lambda expr: True)


def is_op(op_name: str) -> DFPattern:
    """The operator ``op_name``; raises ``MlcrefError`` where there is none."""
    op = graph.Op.get(op_name)
    return _Check(lambda expr: expr is op)


def is_const() -> DFPattern:
    """A constant."""
    return _Check(lambda expr: isinstance(expr, graph.Constant))


def is_var(name: str = "") -> DFPattern:
    """A variable, of that name unless it is empty."""
    return _Check(lambda expr: isinstance(expr, graph.Var) and name in ("", expr.name_hint))


def is_dfv(name: str = "") -> DFPattern:
    """A variable of a dataflow block."""
    return _Check(lambda expr: isinstance(expr, graph.DataflowVar) and name in ("", expr.name_hint))


def is_gv(name: str = "") -> DFPattern:
    """A function of the module."""
    return _Check(lambda expr: isinstance(expr, GlobalVar) and name in ("", expr.name_hint))


def is_expr(expr: Node) -> DFPattern:
    """``expr`` itself; a constant of the same content is one, too."""
    if isinstance(expr, graph.Constant):
        data = expr.data
        return _Check(lambda other: isinstance(other, graph.Constant) and _same_array(data, other.data))
    return _Check(lambda other: other is expr)


def _same_array(a: Any, b: Any) -> bool:
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def is_shape(shape: Sequence[Any]) -> DFPattern:
    """The shape ``shape`` as a value."""
    wanted = graph.ShapeExpr(shape).values
    return _Check(lambda expr: isinstance(expr, graph.ShapeExpr) and same_shape(expr.values, wanted))


def is_tuple(fields: Sequence[DFPattern], unordered: bool = False) -> DFPattern:
    """A tuple of ``fields``, in any order if ``unordered``."""
    return _TuplePattern(fields, unordered)


def is_tuple_get_item(tuple_value: DFPattern, index: int | None = None) -> DFPattern:
    """Field ``index`` (any, if None) of a tuple."""
    return _FieldPattern(tuple_value, index)


def _extern(name: str) -> DFPattern:
    return _Check(lambda expr: isinstance(expr, graph.ExternFunc) and expr.global_symbol == name)


def is_call_tir(func_name: str, args: Sequence[DFPattern] | DFPattern | None = None) -> DFPattern:
    """``call_tir`` of the tensor program ``func_name`` with ``args`` (any, if None)."""
    return _destination(is_op("relax.call_tir"), is_gv(func_name) | _extern(func_name), args)


def is_call_dps_packed(func_name: str, args: Sequence[DFPattern] | DFPattern | None = None) -> DFPattern:
    """``call_dps_packed`` of the function ``func_name`` with ``args`` (any, if None)."""
    return _destination(is_op("relax.call_dps_packed"), _extern(func_name) | is_gv(func_name), args)


def _destination(op: DFPattern, callee: DFPattern, args: Sequence[DFPattern] | DFPattern | None) -> DFPattern:
    given = wildcard() if args is None else args if isinstance(args, DFPattern) else is_tuple(args)
    return op(callee, given, varg_default_wildcard=True)


def make_fused_bias_activation_pattern(
    op_name: str, with_bias: bool = False, activation: str | None = None
) -> DFPattern:
    """A call of ``op_name`` with two operands, then ``relax.add`` of a bias if asked for, then ``activation``.

    Source: ``relax.dpl.make_fused_bias_activation_pattern``.

    >>> pattern = make_fused_bias_activation_pattern("relax.matmul", activation="relax.nn.relu")
    """
    found: DFPattern = is_op(op_name)(wildcard(), wildcard())
    found = is_op("relax.add")(found, wildcard()) if with_bias else found
    return is_op(activation)(found) if activation else found
