"""From decorated Python objects and from texts to modules and functions."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType, ModuleType
from typing import Any, TypeVar

from mlcref.errors import ScriptError
from mlcref.ir import BaseFunc, IRModule, PrimFunc
from mlcref.script.dialects import DIALECTS
from mlcref.script.macros import Macro
from mlcref.script.parse_bind import FunctionOptions
from mlcref.script.parse_expr import Evaluator, macro_of
from mlcref.script.parse_function import FunctionParser, module_name
from mlcref.script.registry import default_names, function_parser, namespaces
from mlcref.script.scope import Scope
from mlcref.script.source import Source, class_definition_of, definition_of

_DECORATOR_OPTIONS = {"private", "s_tir", "check_well_formed"}


def prim_func(func: Any = None, /, *, private: bool = False, s_tir: bool = True, check_well_formed: bool = True) -> Any:
    """Decorator: the tensor program that a Python function spells. In a class it waits for :func:`ir_module`.

    ``private`` leaves out the global symbol; ``s_tir=False`` reads a flat function, without blocks;
    ``check_well_formed`` checks the invariants of the IR. Raises ``ScriptError``.
    """
    return _decorator(func, FunctionOptions(private, s_tir, check_well_formed))


def tirx_prim_func(
    func: Any = None, /, *, private: bool = False, s_tir: bool = False, check_well_formed: bool = True
) -> Any:
    """:func:`prim_func` as TVM main spells it: flat unless ``s_tir=True``."""
    return _decorator(func, FunctionOptions(private, s_tir, check_well_formed))


def macro(func: Any = None, /, *, hygienic: bool = True) -> Any:
    """Decorator: statements with parameters, for scripts to call. Names mean what they mean around the definition;
    with ``hygienic=False``, around the call. Raises ``ScriptError``.

    >>> from mlcref.script import from_source
    >>> from_source('''
    ... @T.macro
    ... def double(A, i):
    ...     A[i] = A[i] * T.float32(2)
    ...
    ... @T.prim_func
    ... def f(A: T.Buffer((4,), "float32")):
    ...     double(A, 3)
    ... ''').name
    'f'
    """

    def read(function: Callable[..., Any]) -> Macro:
        node, source = definition_of(function)
        return Macro(node, source, environment(function) if hygienic else None)

    return read if func is None else read(func)


def inline(func: Any = None, /) -> Any:
    """:func:`macro` under the name that TVM main gives it."""
    return macro(func)


def _decorator(func: Any, options: FunctionOptions) -> Any:
    def parse_one(function: Callable[..., Any]) -> Any:
        if in_class(function):
            return function
        node, source = definition_of(function)
        return _parse_prim_func(node, source, environment(function), options)

    return parse_one if func is None else parse_one(func)


def in_class(function: Callable[..., Any]) -> bool:
    """Is ``function`` being defined in a class body?"""
    outer = function.__qualname__.rpartition(".")[0]
    return bool(outer) and not outer.endswith("<locals>")


def ir_module(cls: type | None = None, /, *, check_well_formed: bool = True) -> Any:
    """Decorator: the module whose functions a class spells. Raises ``ScriptError``."""

    def parse_class(cls: type) -> IRModule:
        members = [member for member in vars(cls).values() if inspect.isfunction(member)]
        if not members:
            return IRModule({})
        node, source = class_definition_of(cls, members[0])
        return _parse_module(node, source, environment(members[0]), check_well_formed)

    return parse_class if cls is None else parse_class(cls)


def environment(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The names that a script in ``function`` can use: its closure, what is local where it is defined, its globals."""
    frames: list[dict[str, Any]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(__package__ + "."):
        frame = frame.f_back
    while frame is not None and frame.f_globals is function.__globals__:
        frames.append(dict(frame.f_locals))
        frame = frame.f_back
    return ChainMap(_closure(function), *frames, function.__globals__)


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    """The names of enclosing functions that ``function`` uses, as far as they are bound yet."""
    bound: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the cell is empty: the class that is being defined, for one
            bound[name] = cell.cell_contents
    return bound


def from_source(text: str, env: Mapping[str, Any] | None = None, filename: str = "<script>") -> Any:
    """The module or function that ``text`` defines. The text is read, never executed.

    The text has one class or one function, after imports of ``tir``, ``ir``, ``relax`` from a package's ``script`` and
    assignments of constants. ``env`` has further names. Raises ``ScriptError``.

    >>> func = from_source('''
    ... @T.prim_func
    ... def main(A: T.Buffer((4,), "float32")):
    ...     for i in range(4):
    ...         A[i] = 0.0
    ... ''')
    >>> func.name
    'main'
    """
    source = Source(text, filename)
    names = {**default_names(), **_commented_imports(source)}
    scope = Scope(ChainMap(names, dict(env or {})))
    evaluate = Evaluator(source, scope)
    found: list[Any] = []
    for node in source.parse().body:
        if isinstance(node, ast.ClassDef):
            found.append(_parse_module(node, source, scope.env, True))
        elif isinstance(node, ast.FunctionDef) and (defined := macro_of(node, source, evaluate, scope.env)) is not None:
            names[node.name] = defined
        elif isinstance(node, ast.FunctionDef):
            found.append(_parse_function(node, source, scope.env, {}))
        else:
            _preamble(node, source, scope, names)
    if len(found) != 1:
        raise ScriptError(
            f"the text defines {len(found)} functions and classes, one is expected", filename=filename, line=1,
            column=1,
            rule="script.source", hint="put several functions into a class under @I.ir_module",
        )  # fmt: skip
    return found[0]


def parse(program: str, extra_vars: Mapping[str, Any] | None = None) -> Any:
    """:func:`from_source` under TVM's name."""
    return from_source(program, extra_vars)


_COMMENTED_IMPORT = re.compile(r"# (from [\w.]*script import [\w ,]+)")


def _commented_imports(source: Source) -> dict[str, Any]:
    """What the comments that the printer writes above a program import."""
    names: dict[str, Any] = {}
    for line in source.lines:
        match = _COMMENTED_IMPORT.fullmatch(line.strip())
        if match:
            names.update(_imported(Source(match[1], source.filename).parse().body[0]))
        elif line and not line.startswith("#"):
            break
    return names


def _imported(node: ast.stmt) -> dict[str, Any]:
    """Namespaces that ``from <package>.script import tir as T, …`` brings; empty for other statements."""
    if not isinstance(node, ast.ImportFrom) or (node.module or "").rpartition(".")[2] != "script":
        return {}
    return {a.asname or a.name: namespaces()[a.name] for a in node.names if a.name in namespaces()}


def _preamble(node: ast.stmt, source: Source, scope: Scope, names: dict[str, Any]) -> None:
    """A statement before the definition: an import, a docstring or the assignment of a constant."""
    names.update(_imported(node))
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        names[node.targets[0].id] = _type_var(node.value) or _evaluated(node.value, source, scope)
    elif not isinstance(node, ast.Import | ast.ImportFrom) and not _is_docstring(node):
        raise source.error(
            node, "a text has imports, constants and one definition", "this text is read, never executed"
        )


def _type_var(node: ast.expr) -> TypeVar | None:
    """``TypeVar("n")``: how TVM's printer declares an extent of type int64 above a function."""
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "TypeVar"
    if not named or len(node.args) != 1 or node.keywords:  # type: ignore[attr-defined]
        return None
    name = getattr(node.args[0], "value", None)  # type: ignore[attr-defined]
    return TypeVar(name) if isinstance(name, str) and name.isidentifier() else None


def _evaluated(node: ast.expr, source: Source, scope: Scope) -> Any:
    with deep_texts_refused(source, node):
        return Evaluator(source, scope).value(node)


@contextmanager
def deep_texts_refused(source: Source, node: ast.AST) -> Iterator[None]:
    """A text whose expressions nest deeper than Python's stack is an error of the text."""
    try:
        yield
    except RecursionError:
        what = "expressions or statements are nested too deeply"
        raise source.error(node, what, "name the parts", rule="script.depth") from None


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _parse_module(node: ast.ClassDef, source: Source, env: Mapping[str, Any], check_well_formed: bool) -> IRModule:
    """The module that a class spells."""
    names = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    functions: dict[str, BaseFunc] = {}
    attrs: dict[str, Any] = {}
    called = ChainMap({node.name: module_name(node)}, env)  # type: ignore[arg-type]
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            if part.name in functions:
                raise source.error(part, f"the module has two functions called {part.name}")
            functions[part.name] = _parse_function(part, source, env, names, check_well_formed, called)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            attrs.update(Evaluator(source, Scope(env)).value(part.value) or {})
        elif not isinstance(part, ast.Pass) and not _is_docstring(part):
            raise source.unsupported(part, f"{type(part).__name__} in the body of a module")
    return IRModule(functions, attrs)


def _parse_function(
    node: ast.FunctionDef,
    source: Source,
    env: Mapping[str, Any],
    names: Mapping[str, ast.FunctionDef],
    check_well_formed: bool = True,
    called: Mapping[str, Any] | None = None,
) -> BaseFunc:
    """One function, by the parser that its decorator names. Tensor programs also see ``called``, their module."""
    if not node.decorator_list:
        raise source.error(node, f"{node.name} has no decorator", "write @T.prim_func or @R.function above it")
    decorator = node.decorator_list[-1]
    call = decorator if isinstance(decorator, ast.Call) else None
    path = call.func if call else decorator
    if not isinstance(path, ast.Attribute):
        raise source.error(decorator, f"unknown decorator {ast.unparse(path)}", "write @T.prim_func or @R.function")
    namespace = _namespace_of(path.value, env)
    if path.attr == "prim_func":
        return _parse_prim_func(
            node, source, called or env, FunctionOptions(**_options(call, source, env, namespace, check_well_formed))
        )
    parser = function_parser(namespace)
    if path.attr != "function" or parser is None:
        raise source.unsupported(decorator, f"functions decorated with {ast.unparse(path)}")
    return parser(node, env, source, names)


def _parse_prim_func(
    node: ast.FunctionDef, source: Source, env: Mapping[str, Any], options: FunctionOptions
) -> PrimFunc:
    with deep_texts_refused(source, node):
        return FunctionParser(source, env, options).function(node)


def _namespace_of(node: ast.expr, env: Mapping[str, Any]) -> str:
    """The name of the namespace that a decorator's prefix means: "tir", "tirx", "relax"."""
    value = env.get(node.id) if isinstance(node, ast.Name) else None
    for name, module in namespaces().items():
        if value is module:
            return name
    if isinstance(value, ModuleType):
        return value.__name__.rpartition(".")[2]
    return ast.unparse(node).rpartition(".")[2]


def _options(
    call: ast.Call | None, source: Source, env: Mapping[str, Any], namespace: str, check_well_formed: bool
) -> dict[str, bool]:
    """The options of a decorator; what it does not say is the dialect's default."""
    schedulable = DIALECTS.get(namespace, DIALECTS["tir"]).schedulable_default
    options = {"s_tir": schedulable, "check_well_formed": check_well_formed}
    for keyword in call.keywords if call else ():
        if keyword.arg not in _DECORATOR_OPTIONS:
            raise source.unsupported(keyword.value, f"option {keyword.arg} of a function")
        options[keyword.arg] = bool(Evaluator(source, Scope(env)).value(keyword.value))
    options["schedulable"] = options.pop("s_tir")
    return options
