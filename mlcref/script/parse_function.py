"""Tensor programs: from the Python syntax tree of a function to a ``PrimFunc``."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlcref import ir
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.ir import Attrs, Buffer, PrimFunc, Stmt, Var
from mlcref.script import forms
from mlcref.script.parse_bind import BlockParts, named
from mlcref.script.parse_tir import StatementParser
from mlcref.script.type_names import DATA_TYPES, DataTypeName, HandleName


class FunctionParser(StatementParser):
    """Parses one function."""

    def function(self, node: ast.FunctionDef) -> PrimFunc:
        """The tensor program that ``node`` defines."""
        declared = _declared(node.body)
        if self.options.schedulable and _is_flat(node):
            self.options = replace(self.options, schedulable=False)
        self.last = node.body[-1]
        self.result_type = self.evaluate.build(node, result_type, node)
        self.reassigned = _reassigned(node)
        for arg in node.args.posonlyargs + node.args.args:
            self.parameter(arg, declared)
        if node.args.vararg or node.args.kwarg or node.args.kwonlyargs or node.args.defaults:
            raise self.source.unsupported(node, "parameters of a tensor program are plain names without defaults")
        root = BlockParts("root", node)
        self.blocks.append(root)
        body = self.root_realize(root, node.body) if self.options.schedulable else self.statements(node.body)
        if self.result_type is not None and not self.returns:
            place = node.returns or node
            raise self.source.error(place, f"{node.name} is declared to return {self.result_type}, and never does")
        func = PrimFunc(self.finish_params(node), body, Attrs(self.function_attrs(node.name)))
        if self.options.check_well_formed:
            self.check(func, node)
        return func

    def parameter(self, arg: ast.arg, declared: Mapping[str, ast.Call]) -> None:
        if arg.annotation is None:
            if arg.arg in ("self", "cls") and not self.params:
                return
            raise self.source.error(
                arg, f"parameter {arg.arg} has no type", 'write T.Buffer((128,), "float32") or T.int32'
            )
        annotation = arg.annotation
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = self.inner_annotation(annotation)
        value = self.evaluate.value(self.with_named_dims(annotation, declared))
        if isinstance(value, Buffer):
            self.params[arg.arg] = buffer = named(value, arg.arg)
            self.scope.define(arg.arg, buffer)
        elif isinstance(value, DataTypeName):
            self.params[arg.arg] = var = Var(arg.arg, value.dtype)
            self.scope.define(arg.arg, var)
        elif isinstance(value, HandleName) or (isinstance(value, Var) and value.dtype == "handle"):
            self.params[arg.arg] = None
            self.scope.define(arg.arg, forms.HandleParameter(arg.arg, Var(arg.arg, "handle")))
        else:
            raise self.source.error(annotation, f"{ast.unparse(annotation)} is no type of a parameter")

    def with_named_dims(self, annotation: ast.expr, declared: Mapping[str, ast.Call]) -> ast.expr:
        """``T.Buffer(("n", 4))`` as ``T.Buffer((n, 4))`` of the n that the body declares: ``n = T.int32()``."""
        if not isinstance(annotation, ast.Call):
            return annotation
        args = [self.named_dims(arg, declared) for arg in annotation.args]
        options = [
            ast.keyword(k.arg, self.named_dims(k.value, declared, alone=k.arg == "elem_offset"))
            for k in annotation.keywords
        ]
        return ast.copy_location(ast.Call(annotation.func, args, options), annotation)

    def named_dims(self, node: ast.expr, declared: Mapping[str, ast.Call], alone: bool = False) -> ast.expr:
        if isinstance(node, ast.Tuple | ast.List):
            dims: list[ast.expr] = [self.named_dim(dim, declared) for dim in node.elts]
            return ast.copy_location(ast.Tuple(dims, ast.Load()), node)
        if isinstance(node, ast.Name) and node.id in declared and node.id not in self.scope:
            self.declare_dim(node.id, declared)
        return self.named_dim(node, declared) if alone else node

    def declare_dim(self, name: str, declared: Mapping[str, ast.Call]) -> None:
        if name not in self.dims:
            self.dims[name] = Var(name, self.evaluate.expr(declared[name]).dtype)
            self.scope.define(name, self.dims[name])

    def named_dim(self, dim: ast.expr, declared: Mapping[str, ast.Call]) -> ast.expr:
        if not isinstance(dim, ast.Constant) or not isinstance(dim.value, str):
            for part in ast.walk(dim):
                if isinstance(part, ast.Name) and part.id in declared and part.id not in self.scope:
                    self.declare_dim(part.id, declared)
            return dim
        name = dim.value
        if not name.isidentifier():
            raise self.source.error(dim, f"dimension {name!r} is no name", 'write a name: T.Buffer(("n",))')
        if name in declared:
            self.declare_dim(name, declared)
        elif not isinstance(self.scope.frames[-1].get(name), Var):
            self.scope.define(name, Var(name, "int32"))
        return ast.copy_location(ast.Name(name, ast.Load()), dim)

    def inner_annotation(self, annotation: ast.Constant) -> ast.expr:
        """The expression in an annotation written as a string."""
        try:
            inner = ast.parse(str(annotation.value), mode="eval").body
        except SyntaxError:
            raise self.source.error(annotation, "this annotation is no expression") from None
        for part in ast.walk(inner):
            ast.copy_location(part, annotation)
        return inner

    def finish_params(self, node: ast.FunctionDef) -> tuple[Buffer | Var, ...]:
        for arg in node.args.args:
            pointer = self.scope.frames[0].get(arg.arg)
            if isinstance(pointer, forms.HandleParameter) and pointer.used:
                self.params[arg.arg] = pointer.var
            elif arg.arg in self.params and self.params[arg.arg] is None:
                what = f"handle parameter {arg.arg} is never matched to a buffer"
                raise self.source.error(arg, what, f"write A = T.match_buffer({arg.arg}, shape, dtype)")
        return tuple(param for param in self.params.values() if param is not None)

    def function_attrs(self, name: str) -> dict[str, Any]:
        named = {} if self.options.private or "global_symbol" in self.attrs else {"global_symbol": name}
        return {**named, **self.attrs}

    def check(self, func: PrimFunc, node: ast.FunctionDef) -> None:
        """Well-formedness, reported at the statement it is about."""
        try:
            ir.wellformed(func, "schedulable" if self.options.schedulable else "blockless")
        except MlcrefError as error:
            place = self.place_of(error.marks[0][0]) if error.marks else None
            raise self.source.error(place or node, error.what, error.hint, rule=error.rule) from error

    def place_of(self, marked: object) -> ast.AST | None:
        """Where the innermost statement around a node stands in the text."""
        around = [stmt for stmt in self.origin if any(node is marked for node in ir.walk(stmt))]
        return self.origin[min(around, key=lambda stmt: sum(1 for _ in ir.walk(stmt)))] if around else None

    def root_realize(self, root: BlockParts, body: list[ast.stmt]) -> Stmt:
        """The body as a root block; one that the program writes itself is taken as it is."""
        stmt = self.statements(body)
        explicit = isinstance(stmt, ir.BlockRealize) and stmt.block.name == "root" and not stmt.iter_values
        return stmt if explicit and not root.alloc_buffers else self.realize(root, stmt, {"reads": (), "writes": ()})


def result_type(node: ast.FunctionDef) -> str | None:
    """The type of the value that a function is declared to return: ``-> T.int32``; None for none."""
    returns = node.returns
    if returns is None or (isinstance(returns, ast.Constant) and returns.value is None):
        return None
    name = scalar_type(returns)
    if name is None:
        raise TypeMismatch(f"{node.name} is declared to return {ast.unparse(returns)[:40]}, which is no data type")
    return name


def scalar_type(annotation: ast.expr | None) -> str | None:
    """The data type that an annotation of the form ``T.int32`` says; None for other annotations."""
    name = annotation.attr if isinstance(annotation, ast.Attribute) else ""
    return DATA_TYPES[name].dtype if name in DATA_TYPES else None


def module_name(node: ast.ClassDef) -> forms.ModuleName:
    """The tensor programs of a module as its functions call them."""
    found: dict[str, forms.FunctionName] = {}
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and _is_prim_func(part):
            params = tuple(scalar_type(arg.annotation) for arg in part.args.args)
            found[part.name] = forms.FunctionName(part.name, params, scalar_type(part.returns) or "void")
    return forms.ModuleName(node.name, found)


def _is_prim_func(node: ast.FunctionDef) -> bool:
    decorator = node.decorator_list[-1] if node.decorator_list else None
    path = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(path, ast.Attribute) and path.attr == "prim_func"


_FLAT = ("allocate", "allocate_const")


def _is_flat(node: ast.FunctionDef) -> bool:
    """Does a function allocate by pointers and have no blocks? Then it is flat, whatever its decorator says."""
    names = {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    return not names.isdisjoint(_FLAT) and names.isdisjoint(("block", "sblock"))


def _reassigned(node: ast.FunctionDef) -> set[ast.AST]:
    """The annotated assignments to names that statements after them, in their list, assign again."""
    found: set[ast.AST] = set()
    _assigned(node.body, found)
    return found


def _assigned(body: list[ast.stmt], found: set[ast.AST]) -> set[str]:
    """The names that the statements assign without an annotation; fills ``found``."""
    later: set[str] = set()
    for stmt in reversed(body):
        if isinstance(stmt, ast.AnnAssign) and isinstance(stmt.target, ast.Name) and stmt.target.id in later:
            found.add(stmt)
        single = [stmt.target] if isinstance(stmt, ast.AugAssign) else []
        targets = stmt.targets if isinstance(stmt, ast.Assign) else single
        later.update(target.id for target in targets if isinstance(target, ast.Name))
        for part in (getattr(stmt, "body", []), getattr(stmt, "orelse", [])):
            later |= _assigned(part, found)
    return later


def _declared(body: list[ast.stmt]) -> dict[str, ast.Call]:
    """What the statements assign to each name where it is a call without arguments: ``n, m = T.int64(), T.int64()``."""
    found: dict[str, ast.Call] = {}
    for stmt in body:
        if isinstance(stmt, ast.Assign):
            target, value = stmt.targets[0], stmt.value
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            calls = value.elts if isinstance(value, ast.Tuple) else [value]
            for name, call in zip(names, calls, strict=False):
                if isinstance(name, ast.Name) and isinstance(call, ast.Call) and not call.args:
                    found.setdefault(name.id, call)
    return found
