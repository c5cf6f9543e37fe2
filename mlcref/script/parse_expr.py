"""Expressions of scripts: from the Python syntax tree to IR expressions and plain Python values.

Nothing of the text is executed: constants, arithmetic, names, attributes, subscripts and calls of registered
functions are all there is. Numbers stay Python numbers until they meet an expression.
"""

from __future__ import annotations

import ast
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Number
from types import ModuleType
from typing import Any, TypeVar

from mlcref import dtype as dt
from mlcref import ir
from mlcref.errors import MlcrefError
from mlcref.ir import Buffer, BufferLoad, BufferRegion, Expr, Range, Var, as_expr, binary
from mlcref.ir.expr import divide, negate
from mlcref.script import forms
from mlcref.script.buffer_methods import METHODS, BufferMethod, OpaqueName, offset_of
from mlcref.script.dialects import OPAQUE_NAMESPACES, OPAQUE_PREFIXES, UNSUPPORTED
from mlcref.script.expression_names import NODES, as_condition, if_then_else
from mlcref.script.macros import MAX_NODES, Closure, InlineCall, Macro, bind_arguments, tree_size
from mlcref.script.registry import may_call
from mlcref.script.scope import PYTHON_FUNCTIONS, Scope, did_you_mean
from mlcref.script.source import Source
from mlcref.script.statement_names import alloc_buffer, decl_buffer, match_buffer, sblock_alloc_buffer
from mlcref.script.type_names import BufferName, HandleName, LetName

_BINARY: dict[type[ast.operator], tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Expr]]] = {
    ast.Add: (operator.add, lambda a, b: binary(ir.Add, a, b)),
    ast.Sub: (operator.sub, lambda a, b: binary(ir.Sub, a, b)),
    ast.Mult: (operator.mul, lambda a, b: binary(ir.Mul, a, b)),
    ast.Div: (operator.truediv, divide),
    ast.FloorDiv: (operator.floordiv, lambda a, b: binary(ir.FloorDiv, a, b)),
    ast.Mod: (operator.mod, lambda a, b: binary(ir.FloorMod, a, b)),
    ast.LShift: (operator.lshift, lambda a, b: ir.call("shift_left", a, b)),
    ast.RShift: (operator.rshift, lambda a, b: ir.call("shift_right", a, b)),
    ast.BitAnd: (operator.and_, lambda a, b: ir.call("bitwise_and", a, b)),
    ast.BitOr: (operator.or_, lambda a, b: ir.call("bitwise_or", a, b)),
    ast.BitXor: (operator.xor, lambda a, b: ir.call("bitwise_xor", a, b)),
    ast.Pow: (operator.pow, lambda a, b: ir.call("pow", a, b)),
}

_COMPARE: dict[type[ast.cmpop], tuple[Callable[[Any, Any], Any], type[ir.Binary]]] = {
    ast.Lt: (operator.lt, ir.LT),
    ast.LtE: (operator.le, ir.LE),
    ast.Gt: (operator.gt, ir.GT),
    ast.GtE: (operator.ge, ir.GE),
    ast.Eq: (operator.eq, ir.EQ),
    ast.NotEq: (operator.ne, ir.NE),
}

_LIMIT = 4096
"""Most bits of a Python number, most items of a sequence."""
_MAX_DEPTH = 32

_CALLABLE = BufferMethod | OpaqueName | HandleName | forms.FunctionName

_BUFFER_MAKERS = (match_buffer, alloc_buffer, sblock_alloc_buffer, decl_buffer)

_BUILD_ERRORS = (MlcrefError, TypeError, ValueError, ArithmeticError)


def symbolic(value: Any) -> bool:
    """Is ``value`` part of the program (and not a Python value of the parser)?"""
    return isinstance(value, Expr) or hasattr(value, "as_expr")


class Budget:
    """What macros and lambdas of one text may still read, however they call each other."""

    def __init__(self) -> None:
        self.depth, self.left = 0, 100_000

    @contextmanager
    def inside(self, source: Source, node: ast.AST) -> Iterator[None]:
        """A call of a macro or a lambda."""
        if self.depth >= _MAX_DEPTH:
            raise source.error(node, f"macros and lambdas call each other more than {_MAX_DEPTH} deep")
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def spend(self, source: Source, node: ast.AST) -> None:
        """One expression more of a macro or a lambda."""
        self.left -= 1
        if self.left < 0:
            raise source.error(node, "macros and lambdas of this text read more than 100000 expressions")


class Evaluator:
    """Evaluates expressions of one text in a scope."""

    def __init__(self, source: Source, scope: Scope, budget: Budget | None = None) -> None:
        self.source = source
        self.scope = scope
        self.budget = Budget() if budget is None else budget
        self.matched: set[Buffer] = set()

    def value(self, node: ast.expr) -> Any:
        """What ``node`` stands for: an expression, a record of ``T``, a Python value. Raises ``ScriptError``."""
        if self.budget.depth:
            self.budget.spend(self.source, node)
        visit = _VISIT.get(type(node))
        if visit is None:
            raise self.source.unsupported(node, f"{_describe(node)} cannot be used in a script")
        return visit(self, node)

    def expr(self, node: ast.expr) -> Expr:
        """``node`` as an expression of the program."""
        value = self.value(node)
        result: Expr = self.build(node, as_expr, value)
        return result

    def condition(self, node: ast.expr) -> Expr:
        """``node`` as an expression of type bool."""
        result: Expr = self.build(node, as_condition, self.value(node))
        return result

    def build(self, node: ast.AST, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """``make(*args)``; an error that it raises is placed at ``node``."""
        try:
            return make(*args, **options)
        except _BUILD_ERRORS as error:
            raise self.source.located(node, error) from error

    def visit_constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, bytes | complex):
            raise self.source.error(node, f"{node.value!r} is no value of a script")
        return node.value

    def visit_name(self, node: ast.Name) -> Any:
        try:
            value = self.scope.lookup(node.id)
            if isinstance(value, TypeVar):
                value = self.scope.frames[0][node.id] = Var(value.__name__, "int64")
            return value.as_expr() if isinstance(value, forms.Cell) else value
        except KeyError:
            hint = did_you_mean(node.id, self.scope.names())
            raise self.source.error(node, f"{node.id} is not defined", hint, rule="script.name") from None

    def visit_tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.items(node.elts))

    def visit_list(self, node: ast.List) -> Any:
        return self.items(node.elts)

    def items(self, nodes: Sequence[ast.expr]) -> list[Any]:
        """The values of ``nodes``, ``*x`` spread out."""
        values: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                spread = self.value(node.value)
                if not isinstance(spread, tuple | list):
                    raise self.source.error(node, "only a tuple or a list can be spread with *")
                values.extend(spread)
            else:
                values.append(self.value(node))
        return values

    def visit_dict(self, node: ast.Dict) -> Any:
        if any(key is None for key in node.keys):
            raise self.source.unsupported(node, "** in a dictionary")
        return {self.value(key): self.value(value) for key, value in zip(node.keys, node.values, strict=True) if key}

    def visit_attribute(self, node: ast.Attribute) -> Any:
        base = self.value(node.value)
        if isinstance(base, ModuleType) and hasattr(base, "__all__") and base.__name__.startswith(__package__ + "."):
            return self.namespace_name(base, node)
        if isinstance(base, Buffer):
            return self.buffer_attribute(base, node)
        if isinstance(base, forms.ModuleName) and node.attr in base.functions:
            return base.functions[node.attr]
        if isinstance(base, OpaqueName) and not node.attr.startswith("_"):
            return OpaqueName(f"{base.name}.{node.attr}")
        if isinstance(base, Expr) and node.attr not in ("dtype", "astype"):
            raise self.source.error(node, f"an expression has no attribute {node.attr!r}")
        if node.attr.startswith("_") or not hasattr(base, node.attr):
            known = [name for name in dir(base) if not name.startswith("_")]
            raise self.source.error(
                node, f"no attribute {node.attr!r} here", did_you_mean(node.attr, known), rule="script.name"
            )
        return getattr(base, node.attr)

    def namespace_name(self, module: ModuleType, node: ast.Attribute) -> Any:
        spelling = ast.unparse(node)
        if node.attr in module.__all__:
            return getattr(module, node.attr)
        if node.attr in OPAQUE_NAMESPACES or node.attr.startswith(OPAQUE_PREFIXES):
            return OpaqueName(node.attr)
        if node.attr in UNSUPPORTED:
            raise self.source.unsupported(node, f"{spelling} is not supported")
        hint = did_you_mean(node.attr, list(module.__all__))
        raise self.source.error(node, f"{spelling} is unknown", hint, rule="script.name")

    def buffer_attribute(self, buffer: Buffer, node: ast.Attribute) -> Any:
        if node.attr == "data":
            return forms.DataOf(buffer)
        if node.attr == "elem_offset":
            return offset_of(buffer, buffer in self.matched)
        if node.attr in ("shape", "strides", "dtype", "ndim", "scope", "align", "offset_factor"):
            return getattr(buffer, node.attr)
        if node.attr in METHODS:
            return BufferMethod(node.attr, buffer, buffer in self.matched)
        if node.attr in ("offset_of", "elem_offset_of", "ptr_to", "permute", "get_flattened_buffer", "with_dtype"):
            raise self.source.unsupported(node, f"Buffer.{node.attr} is not supported")
        raise self.source.error(node, f"a buffer has no attribute {node.attr!r}", rule="script.name")

    def visit_subscript(self, node: ast.Subscript) -> Any:
        base = self.value(node.value)
        if isinstance(base, Buffer):
            return self.access(base, node)
        index = self.value(node.slice)
        if isinstance(base, BufferName | LetName):
            return self.build(node, base.__getitem__, index)
        if not isinstance(base, tuple | list | str | Mapping):
            raise self.source.error(node.value, f"{ast.unparse(node.value)} cannot be indexed")
        try:
            return base[int(index) if isinstance(index, ir.Const) else index]
        except (LookupError, TypeError) as error:
            raise self.source.error(node.slice, f"no item {index!r}") from error

    def access(self, buffer: Buffer, node: ast.Subscript) -> BufferLoad | forms.BufferSlice:
        """``A[i, j]``, or a slice of ``A``."""
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if len(parts) != len(buffer.shape):
            what = f"{buffer.name} has {len(buffer.shape)} dimensions but is indexed with {len(parts)}"
            raise self.source.error(node, what, rule="script.rank")
        if not any(isinstance(part, ast.Slice) for part in parts):
            return BufferLoad(buffer, tuple([self.index(buffer, part) for part in parts]))
        dims = [self.dimension(buffer, k, part) for k, part in enumerate(parts)]
        steps = [self.step(part.step) for part in parts if isinstance(part, ast.Slice) and part.step]
        sliced = tuple(isinstance(part, ast.Slice) for part in parts)
        return forms.BufferSlice(BufferRegion(buffer, tuple(dims)), sliced, steps[0] if steps else 1)

    def index(self, buffer: Buffer, node: ast.expr) -> Expr:
        expr = self.expr(node)
        if not dt.is_integer(expr.dtype):
            raise self.source.error(
                node, f"an index of {buffer.name} is {expr.dtype}, not an integer", rule="script.index"
            )
        return expr

    def step(self, node: ast.expr) -> int:
        """The step of a slice: a number."""
        number = ir.constant(self.expr(node))
        if number is None:
            raise self.source.error(node, "the step of a slice is a number")
        return number

    def dimension(self, buffer: Buffer, k: int, node: ast.expr) -> Range:
        """The range of one dimension of a slice."""
        if not isinstance(node, ast.Slice):
            return forms.point(self.index(buffer, node))
        start = 0 if node.lower is None else self.value(node.lower)
        stop = buffer.shape[k] if node.upper is None else self.value(node.upper)
        dim: Range = self.build(node, forms.span, start, stop)
        return dim

    def visit_call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "Let":
            return self.let(node)
        function = self.value(node.func)
        args = self.items(node.args)
        options = {keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg is not None}
        if len(options) != len(node.keywords):
            raise self.source.unsupported(node, "** in a call")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "scope" and isinstance(function, str):
            return function
        if isinstance(function, Macro):
            return self.build(node, self.inline_call, function, args, options)
        if isinstance(function, Closure):
            return self.build(node, self.apply, node, function, args, options)
        if isinstance(function, BufferName) or any(function is maker for maker in _BUFFER_MAKERS):
            args = [self.with_dims(arg) for arg in args]
            options = {key: self.with_dims(value) for key, value in options.items()}
            if isinstance(options.get("elem_offset"), str):
                options["elem_offset"] = self.dim(options["elem_offset"])
        self.check_callable(function, node, args)
        if may_call(function):
            self.check_arguments(function, node, args, options)
        return self.build(node, function, *args, **options)

    def check_callable(self, function: Any, node: ast.Call, args: Sequence[Any]) -> None:
        method = isinstance(getattr(function, "__self__", None), Expr) and getattr(function, "__name__", "") == "astype"
        python = any(function is f for f in PYTHON_FUNCTIONS.values())
        if python and any(symbolic(arg) for arg in args):
            name = ast.unparse(node.func)
            raise self.source.error(
                node, f"{name}() works on numbers known to the parser", f"write T.{name} for expressions"
            )
        if not (may_call(function) or method or python or isinstance(function, _CALLABLE)):
            name = ast.unparse(node.func)
            raise self.source.unsupported(
                node.func, f"{name} cannot be called in a script", "a script calls only names of T"
            )

    def check_arguments(self, function: Any, node: ast.Call, args: Sequence[Any], options: Mapping[str, Any]) -> None:
        try:
            inspect.signature(function).bind(*args, **options)
        except TypeError as error:
            raise self.source.error(node, f"{ast.unparse(node.func)}: {error}", rule="script.arguments") from None

    def with_dims(self, value: Any) -> Any:
        """Tuples of dimensions with variables in place of names: ``strides=("s0", "s1")`` of a buffer."""
        if not isinstance(value, tuple | list):
            return value
        return tuple(self.dim(part) if isinstance(part, str) else part for part in value)

    def dim(self, name: str) -> Any:
        """The variable called ``name``; a new one where there is none."""
        known = self.scope.frames[-1].get(name)
        if not isinstance(known, Var):
            known = Var(name, "int32")
            self.scope.define(name, known)
        return known

    def visit_lambda(self, node: ast.Lambda) -> Closure:
        spec = node.args
        if spec.vararg or spec.kwarg or spec.kwonlyargs or spec.defaults or spec.posonlyargs:
            raise self.source.unsupported(node, "parameters of a lambda are plain names without defaults")
        frames = list(self.scope.frames)

        def evaluate(values: Mapping[str, Any]) -> Any:
            outer, self.scope.frames = self.scope.frames, [*frames, dict(values)]
            try:
                with self.budget.inside(self.source, node):
                    return self.value(node.body)
            finally:
                self.scope.frames = outer

        return Closure(tuple(arg.arg for arg in spec.args), evaluate)

    def apply(self, node: ast.Call, closure: Closure, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """The value of a lambda."""
        if options:
            raise self.source.unsupported(node, "arguments of a lambda by name")
        self.check_size(args)
        return closure(*args)

    def check_size(self, value: Any) -> None:
        """Names of the parser share what they stand for; written out it must stay small."""
        if tree_size(value) > MAX_NODES:
            raise MlcrefError(f"an expression of more than {MAX_NODES} nodes", rule="script.size")

    def inline_call(self, macro: Macro, args: Sequence[Any], options: Mapping[str, Any]) -> InlineCall:
        """A macro with its arguments, for the statement parser."""
        defaults = Evaluator(macro.source, Scope(macro.env or {}), self.budget).items(macro.node.args.defaults)
        self.check_size((*args, *options.values()))
        return InlineCall(macro, bind_arguments(macro, args, options, defaults))

    def let(self, node: ast.Call) -> Expr:
        """``T.Let(body, where={x: value})``: ``x`` is bound here."""
        where = next((keyword.value for keyword in node.keywords if keyword.arg == "where"), None)
        if (
            len(node.args) != 1
            or not isinstance(where, ast.Dict)
            or not all(isinstance(key, ast.Name) for key in where.keys)
        ):
            raise self.source.error(node, "a let expression is written T.Let(body, where={x: value})")
        bound: list[tuple[Var, Expr]] = []
        with self.scope.frame():
            for key, part in zip(where.keys, where.values, strict=True):
                assert isinstance(key, ast.Name)
                value = self.expr(part)
                bound.append((Var(key.id, value.dtype), value))
                self.scope.define(key.id, bound[-1][0])
            result = self.expr(node.args[0])
        for var, value in reversed(bound):
            result = ir.Let(var, value, result)
        return result

    def visit_binary(self, node: ast.BinOp) -> Any:
        if type(node.op) not in _BINARY:
            raise self.source.unsupported(node, f"operator {type(node.op).__name__} cannot be used in a script")
        return self.arithmetic(node, node.op, self.value(node.left), self.value(node.right))

    def arithmetic(self, node: ast.AST, op: ast.operator, a: Any, b: Any) -> Any:
        """``a op b``: nodes for expressions, Python's arithmetic for numbers."""
        python, build = _BINARY[type(op)]
        if symbolic(a) or symbolic(b):
            return self.build(node, build, a, b)
        sequences = isinstance(op, ast.Add) and isinstance(a, tuple | list | str) and type(a) is type(b)
        if not sequences and not (isinstance(a, Number) and isinstance(b, Number)):
            raise self.source.error(node, f"no arithmetic between {_describe_value(a)} and {_describe_value(b)}")
        if not sequences and _bits(op, a, b) > _LIMIT:
            raise self.source.error(node, f"numbers of the parser have at most {_LIMIT} bits")
        if sequences and len(a) + len(b) > _LIMIT:
            raise self.source.error(node, f"sequences of the parser have at most {_LIMIT} items")
        return self.build(node, python, a, b)

    def visit_unary(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if not symbolic(value):
            return self.build(node, _PYTHON_UNARY[type(node.op)], value)
        return self.build(node, _UNARY[type(node.op)], value)

    def visit_boolean(self, node: ast.BoolOp) -> Any:
        values = [self.value(part) for part in node.values]
        if not any(symbolic(value) for value in values):
            return all(values) if isinstance(node.op, ast.And) else any(values)
        kind = ir.And if isinstance(node.op, ast.And) else ir.Or
        exprs = [self.build(part, as_condition, value) for part, value in zip(node.values, values, strict=True)]
        result = exprs[0]
        for expr in exprs[1:]:
            result = self.build(node, NODES[kind.__name__], result, expr)
        return result

    def visit_compare(self, node: ast.Compare) -> Any:
        operands = [self.value(part) for part in (node.left, *node.comparators)]
        results = [self.comparison(node, op, a, b) for op, a, b in zip(node.ops, operands, operands[1:], strict=False)]
        if not any(symbolic(result) for result in results):
            return all(results)
        return ir.conjunction([as_expr(result) for result in results])

    def comparison(self, node: ast.Compare, op: ast.cmpop, a: Any, b: Any) -> Any:
        if type(op) not in _COMPARE:
            raise self.source.unsupported(node, f"comparison {type(op).__name__} cannot be used in a script")
        python, kind = _COMPARE[type(op)]
        if symbolic(a) or symbolic(b):
            return self.build(node, binary, kind, a, b)
        return self.build(node, python, a, b)

    def visit_choice(self, node: ast.IfExp) -> Any:
        test = self.value(node.test)
        if not symbolic(test):
            return self.value(node.body if test else node.orelse)
        return self.build(node, if_then_else, test, self.value(node.body), self.value(node.orelse))


def _bits(op: ast.operator, a: Any, b: Any) -> int:
    """A bound of the bits that the result of an operation has."""
    if not (isinstance(a, int) and isinstance(b, int)):
        return 0
    width, other = a.bit_length(), b.bit_length()
    if isinstance(op, ast.Pow | ast.LShift):
        return width + b if isinstance(op, ast.LShift) else width * b if width > 1 else 0
    return width + other


def _invert(value: Any) -> Expr:
    return ~as_expr(value)


def _not(value: Any) -> Expr:
    return ir.Not(as_condition(value))


_PYTHON_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_, ast.Invert: operator.inv,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: negate, ast.UAdd: as_expr, ast.Not: _not, ast.Invert: _invert,
}  # fmt: skip

_VISIT: dict[type[ast.expr], Callable[[Evaluator, Any], Any]] = {
    ast.Constant: Evaluator.visit_constant, ast.Name: Evaluator.visit_name, ast.Tuple: Evaluator.visit_tuple,
    ast.List: Evaluator.visit_list,
    ast.Dict: Evaluator.visit_dict, ast.Attribute: Evaluator.visit_attribute, ast.Subscript:
    Evaluator.visit_subscript, ast.Call: Evaluator.visit_call,
    ast.BinOp: Evaluator.visit_binary, ast.UnaryOp: Evaluator.visit_unary, ast.BoolOp: Evaluator.visit_boolean,
    ast.Compare: Evaluator.visit_compare,
    ast.IfExp: Evaluator.visit_choice, ast.Lambda: Evaluator.visit_lambda,
}  # fmt: skip


def _describe(node: ast.expr) -> str:
    words = {
        ast.ListComp: "a list comprehension",
        ast.JoinedStr: "an f-string",
        ast.Slice: "a slice",
    }
    return words.get(type(node), type(node).__name__)


def _describe_value(value: Any) -> str:
    return "a buffer without index" if isinstance(value, Buffer) else type(value).__name__


def macro_of(node: ast.FunctionDef, source: Source, evaluate: Evaluator, env: Mapping[str, Any]) -> Macro | None:
    """The macro that a definition under ``@T.macro`` or ``@T.inline`` is; None for other definitions."""
    decorator = node.decorator_list[0] if len(node.decorator_list) == 1 else None
    path = decorator.func if isinstance(decorator, ast.Call) else decorator
    if not isinstance(path, ast.Attribute) or path.attr not in ("macro", "inline"):
        return None
    options = {k.arg: evaluate.value(k.value) for k in decorator.keywords} if isinstance(decorator, ast.Call) else {}
    if set(options) - {"hygienic"}:
        raise source.unsupported(node, "an option of a macro other than hygienic=")
    return Macro(node, source, env if options.get("hygienic", True) else None)
