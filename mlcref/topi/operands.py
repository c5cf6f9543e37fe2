"""What the operators share: how their operands are checked, and how a tensor is described element by element."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.arith import Simplifier
from mlcref.errors import MlcrefError
from mlcref.ir import BufferLoad, Call, Const, Expr, ExprLike, Node, Select, Var, any_node, as_expr, map_children
from mlcref.te import Axis, Reduce, Tensor, compute
from mlcref.te.axis import Operand

ELEMWISE, BROADCAST, INJECTIVE, REDUCE = "elemwise", "broadcast", "injective", "comm_reduce"
"""Tags of the computes, as in TVM."""

Shape = Sequence[ExprLike]
Index = Any
"""An index, or what stands for one, in the function of a compute."""


class OperatorError(MlcrefError, ValueError):
    """Operands or parameters that an operator is not defined on; ``rule`` is one of those of :mod:`mlcref.topi`."""


def number(value: ExprLike, role: str) -> int:
    """``value`` as an int; raises OperatorError (topi.O5) where it is not known before the program runs.

    >>> number(3, "the stride")
    3
    """
    expr = as_expr(value)
    if not isinstance(expr, Const) or dt.is_float(expr.type):
        raise OperatorError(f"{role} must be a known integer, not {expr!r}", rule="topi.O5")
    return int(expr.value)


def numbers(values: ExprLike | Sequence[ExprLike], count: int, role: str) -> tuple[int, ...]:
    """``count`` known integers: given one by one, or one for all of them. Raises OperatorError (topi.O3, topi.O5).

    >>> numbers(2, 3, "strides"), numbers((1, 2), 2, "strides")
    ((2, 2, 2), (1, 2))
    """
    given = list(values) if isinstance(values, tuple | list) else [values] * count
    if len(given) == 1 and count > 1:
        given *= count
    if len(given) != count:
        raise OperatorError(f"{role} are {len(given)} numbers, {count} are needed", rule="topi.O3")
    return tuple(number(value, role) for value in given)


def same(a: ExprLike, b: ExprLike) -> bool | None:
    """Whether two extents are equal; None where that depends on the sizes of the call.

    >>> n = Var("n")
    >>> same(3, 3), same(3, 4), same(n, n + 0), same(n, 3)
    (True, False, True, None)
    """
    difference = Simplifier({}).simplify(as_expr(a) - as_expr(b))
    return int(difference.value) == 0 if isinstance(difference, Const) else None


def fits(a: ExprLike, b: ExprLike, what: str) -> None:
    """Check that two extents are equal as far as that is known; raises OperatorError (topi.O1) saying ``what``."""
    if same(a, b) is False:
        raise OperatorError(f"{what}: {told((a,))} and {told((b,))}", rule="topi.O1")


def told(shape: Shape) -> str:
    """A shape for messages."""
    return " x ".join(str(e.value) if isinstance(e, Const) else repr(e) for e in map(as_expr, shape)) or "no dimensions"


def dimensions(x: Tensor, ndim: int, name: str) -> tuple[Expr, ...]:
    """The shape of an operand that must have ``ndim`` dimensions; raises OperatorError (topi.O1)."""
    if x.ndim != ndim:
        raise OperatorError(f"{name} takes {ndim} dimensions, {x.name} has {x.ndim}", rule="topi.O1")
    return x.shape


def axis_of(axis: ExprLike, ndim: int, name: str) -> int:
    """``axis`` counted from the front; raises OperatorError (topi.O2) where there is none.

    >>> axis_of(-1, 3, "softmax")
    2
    """
    position = number(axis, f"the axis of {name}")
    if not -ndim <= position < ndim:
        raise OperatorError(f"{name} over axis {position} of {ndim} dimensions", rule="topi.O2")
    return position % ndim


def axes_of(axis: ExprLike | Sequence[ExprLike] | None, ndim: int, name: str) -> tuple[int, ...]:
    """Distinct axes counted from the front, in order; all of them for None. Raises OperatorError (topi.O2).

    >>> axes_of([-1, 0], 3, "sum"), axes_of(None, 2, "sum")
    ((0, 2), (0, 1))
    """
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else [axis]
    found = [axis_of(each, ndim, name) for each in given]
    if len(set(found)) != len(found):
        raise OperatorError(f"{name} is given an axis twice: {found}", rule="topi.O2")
    return tuple(sorted(found))


def one_of(value: str, options: Sequence[str], role: str) -> str:
    """``value`` where it is one of ``options``; raises OperatorError (topi.O3) otherwise."""
    if value not in options:
        raise OperatorError(f"{role} is {value!r}, not one of {', '.join(options)}", rule="topi.O3")
    return value


def spatial_axes(layout: str, ndim: int, name: str, letters: str = "NC") -> list[int]:
    """Where the spatial dimensions D, H, W stand in a layout such as "NCHW", in this order; ``letters`` are its others.

    Raises OperatorError (topi.O3) for a layout that does not have ``ndim`` dimensions with these letters.

    >>> spatial_axes("NHWC", 4, "conv2d")
    [1, 2]
    """
    spatial = [letter for letter in "DHW" if letter in layout]
    wanted = "DHW"[5 - ndim :] if 3 <= ndim <= 5 else ""
    if "".join(spatial) != wanted or sorted(layout) != sorted(letters + wanted):
        raise OperatorError(f"the layout of {name} is {layout!r} for {ndim} dimensions", rule="topi.O3")
    return [layout.index(letter) for letter in spatial]


def floats(x: Tensor, name: str) -> None:
    """Check that ``x`` holds floats; raises OperatorError (topi.O4)."""
    if not dt.is_float(x.dtype):
        raise OperatorError(f"{name} is defined on floats, not on {x.dtype}", rule="topi.O4", hint="topi.cast it first")


def product(extents: Sequence[ExprLike]) -> Expr:
    """The number of elements of a shape.

    >>> product((2, 3)).value
    6
    """
    result = as_expr(1)
    for extent in extents:
        result = result * extent
    return Simplifier({}).simplify(result)


def flat(indices: Sequence[ExprLike], shape: Shape) -> Expr:
    """The position of an element in row-major order.

    >>> flat((1, 2), (3, 4)).value
    6
    """
    position = as_expr(0)
    for index, extent in zip(indices, shape, strict=True):
        position = position * extent + index
    return position


def unflat(position: ExprLike, shape: Shape) -> list[Expr]:
    """The indices of the element at a row-major position."""
    rest = as_expr(position)
    indices: list[Expr] = []
    for extent in reversed(list(shape)[1:]):
        indices.append(rest % extent)
        rest = rest // extent
    return [*([rest] if len(shape) else []), *reversed(indices)]


def each(shape: Shape, value: Callable[..., Any], name: str, tag: str = INJECTIVE, *, axes: str | Sequence[str] = "ax",
         attrs: dict[str, Any] | None = None) -> Tensor:  # fmt: skip
    """The tensor of ``shape`` whose elements are ``value(*indices)``. Its loops are called ``axes``, or ``axes`` and a
    number. Indices and conditions that read no memory are simplified.
    """
    names = [f"{axes}{d}" for d in range(len(shape))] if isinstance(axes, str) else axes

    def element(*indices: Index) -> Any:
        domain = dict(zip(indices, map(as_expr, shape), strict=True))
        result = value(*indices)
        return result if isinstance(result, tuple | list) else simplified(result, domain)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    element.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(each_name, kind) for each_name in names]
    )
    return compute(tuple(shape), element, name=name, tag=tag, attrs=attrs)


def simplified(value: Any, domain: dict[Var, Expr]) -> Expr:
    """``value`` with its indices and conditions simplified; arithmetic on elements stays as it is."""
    expr = as_expr(value.as_expr() if isinstance(value, Operand) else value)
    if isinstance(expr, Reduce):
        domain = domain | {axis.var: axis.dom.extent for axis in expr.axis if _starts_at_zero(axis)}
    simplifier = Simplifier(domain)

    def tidy(node: Node) -> Node:
        if isinstance(node, BufferLoad):
            return BufferLoad(node.buffer, tuple(index(part) for part in node.indices))
        if isinstance(node, Call) and node.op == "if_then_else":
            return _chosen(index(node.args[0]), tidy(node.args[1]), tidy(node.args[2]), node)
        if isinstance(node, Select):
            return Select(index(node.condition), tidy(node.true_value), tidy(node.false_value))  # type: ignore[arg-type]
        return map_children(tidy, node)

    def index(part: Expr) -> Expr:
        return map_children(tidy, part) if any_node(part, BufferLoad) else simplifier.simplify(part)

    result = tidy(expr)
    assert isinstance(result, Expr)
    return result


def _starts_at_zero(axis: Axis) -> bool:
    return isinstance(axis.dom.min, Const) and axis.dom.min.value == 0


def _chosen(condition: Expr, yes: Node, no: Node, node: Call) -> Node:
    if isinstance(condition, Const):
        return yes if condition.value else no
    assert isinstance(yes, Expr) and isinstance(no, Expr)
    return Call("if_then_else", (condition, yes, no), node.type)
