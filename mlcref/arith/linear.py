"""Linear forms: integer combinations of atoms, ``4*i + j // 2 + 3``.

An atom is a variable, a quotient ``form // d``, a remainder ``form % d`` with a positive constant d, or any other
expression, taken as it is. Terms keep the order in which they came; that is the order in which TVM prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlcref.ir import Add, Const, Expr, FloorDiv, FloorMod, Mul, Sub, Var, cast, const, variables
from mlcref.ir.base import FIELDS, Role

INDEX_TYPES = ("int32", "int64")
"""Types whose expressions are taken for integers without overflow. Everything else stays as it is."""


class Linear:
    """``constant + sum of coefficient * atom``; immutable. ``dtype`` is the type of the expression it becomes."""

    __slots__ = ("_key", "constant", "dtype", "terms")

    def __init__(self, terms: Mapping[Atom, int] | None = None, constant: int = 0, dtype: str = "int32") -> None:
        self.terms: dict[Atom, int] = {atom: k for atom, k in (terms or {}).items() if k}
        self.constant = constant
        self.dtype = dtype
        self._key: Any = None

    @property
    def key(self) -> Any:
        """Equal for forms that are equal term by term, in any order."""
        if self._key is None:
            self._key = (frozenset(self.terms.items()), self.constant)
        return self._key

    def __add__(self, other: Linear) -> Linear:
        terms = dict(self.terms)
        for atom, k in other.terms.items():
            terms[atom] = terms.get(atom, 0) + k
        dtype = self.dtype if self.dtype == other.dtype else max(self.dtype, other.dtype, key=_width)
        return Linear(terms, self.constant + other.constant, dtype)

    def __sub__(self, other: Linear) -> Linear:
        return self + other.scale(-1)

    def scale(self, factor: int) -> Linear:
        """This form times a number."""
        return Linear({a: k * factor for a, k in self.terms.items()}, self.constant * factor, self.dtype)

    def shift(self, offset: int) -> Linear:
        """This form plus a number."""
        return Linear(self.terms, self.constant + offset, self.dtype)

    def cast(self, dtype: str) -> Linear:
        """This form as an expression of another type."""
        return self if dtype == self.dtype else Linear(self.terms, self.constant, dtype)

    def only(self, keep: Callable[[Atom], bool]) -> Linear:
        """The terms whose atoms ``keep`` accepts, without the constant."""
        return Linear({a: k for a, k in self.terms.items() if keep(a)}, 0, self.dtype)

    def number(self) -> int | None:
        """The value of a form without terms, else None."""
        return None if self.terms else self.constant

    def atom(self) -> Atom | None:
        """The atom that this form is, alone and once, else None."""
        if len(self.terms) == 1 and not self.constant:
            ((atom, k),) = self.terms.items()
            return atom if k == 1 else None
        return None

    def variables(self) -> set[Var]:
        """Every variable in the form, those inside atoms too."""
        found: set[Var] = set()
        for atom in self.terms:
            found |= atom_variables(atom)
        return found

    def expr(self) -> Expr:
        """The expression of this form. Raises ``TypeMismatch`` when a coefficient does not fit the type."""
        result: Expr | None = None
        rest = self.constant
        if rest > 0 and next(iter(self.terms.values()), 1) < 0:
            result, rest = const(rest, self.dtype), 0
        for atom, k in self.terms.items():
            result = self._with_term(result, cast(self.dtype, atom_expr(atom)), k)
        if result is None:
            return const(rest, self.dtype)
        if rest == 0:
            return result
        return Add(result, const(rest, self.dtype)) if rest > 0 else Sub(result, const(-rest, self.dtype))

    def _with_term(self, before: Expr | None, atom: Expr, k: int) -> Expr:
        if before is None:
            return atom if k == 1 else Mul(atom, const(k, self.dtype))
        term = atom if abs(k) == 1 else Mul(atom, const(abs(k), self.dtype))
        return Add(before, term) if k > 0 else Sub(before, term)

    def __repr__(self) -> str:
        return f"Linear({self.expr()!r})"


class Quotient:
    """The atom ``form // divisor``; ``divisor`` is a positive number."""

    __slots__ = ("divisor", "form", "key")

    def __init__(self, form: Linear, divisor: int) -> None:
        self.form, self.divisor = form, divisor
        self.key = (type(self), form.key, divisor)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.key == getattr(other, "key", None)


class Remainder(Quotient):
    """The atom ``form % divisor``; ``divisor`` is a positive number."""

    __slots__ = ()


class Opaque:
    """An expression that is taken as it is. Two are equal when they read the same."""

    __slots__ = ("expr", "key")

    def __init__(self, expr: Expr) -> None:
        self.expr = expr
        self.key = expr_key(expr)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return type(other) is Opaque and self.key == other.key


Atom = Var | Quotient | Opaque


def _width(dtype: str) -> int:
    return INDEX_TYPES.index(dtype) if dtype in INDEX_TYPES else -1


def number(value: int, dtype: str = "int32") -> Linear:
    """The form that is a number."""
    return Linear({}, value, dtype)


def term(atom: Atom, dtype: str = "int32") -> Linear:
    """The form that is one atom."""
    return Linear({atom: 1}, 0, atom.type if isinstance(atom, Var) else dtype)


def atom_expr(atom: Atom) -> Expr:
    """The expression of an atom."""
    if isinstance(atom, Var):
        return atom
    if isinstance(atom, Opaque):
        return atom.expr
    op = FloorMod if isinstance(atom, Remainder) else FloorDiv
    return op(atom.form.expr(), const(atom.divisor, atom.form.dtype))


def atom_variables(atom: Atom) -> set[Var]:
    """Every variable in an atom."""
    if isinstance(atom, Var):
        return {atom}
    return atom.form.variables() if isinstance(atom, Quotient) else variables(atom.expr)


def reads_same(a: Any, b: Any) -> bool:
    """Are the keys of two expressions equal? (:func:`expr_key`)"""
    if a is b:
        return True
    kind = type(a)
    if kind is not type(b) or isinstance(a, Var):
        return False
    if kind is Const or kind not in FIELDS:
        return bool(expr_key(a) == expr_key(b))
    for name, role, _ in FIELDS[kind]:
        x, y = getattr(a, name), getattr(b, name)
        if role is not Role.CHILD:
            if not (x == y if role is Role.PLAIN else x is y):
                return False
        elif type(x) is not tuple:
            if not reads_same(x, y):
                return False
        elif len(x) != len(y) or not all(map(reads_same, x, y)):
            return False
    return True


def expr_key(node: Any) -> Any:
    """A hashable value that is equal for expressions that read the same: same operations on the same variables and
    buffers."""
    kind = type(node)
    if kind is Const:
        return (Const, node.type, repr(node.value))
    if isinstance(node, Var):
        return id(node)
    if kind not in FIELDS:
        return node
    parts: list[Any] = [kind]
    for name, role, _ in FIELDS[kind]:
        value = getattr(node, name)
        if role is Role.CHILD:
            parts.append(tuple([expr_key(v) for v in value]) if type(value) is tuple else expr_key(value))
        else:
            parts.append(value if role is Role.PLAIN else id(value))
    return tuple(parts)
