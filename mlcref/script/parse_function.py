"""Tensor programs: from the Python syntax tree of a function to a ``PrimFunc``."""

from __future__ import annotations

import ast
from typing import Any

from mlcref import ir
from mlcref.errors import MlcrefError
from mlcref.ir import Attrs, Buffer, PrimFunc, Stmt, Var
from mlcref.script import forms
from mlcref.script.parse_bind import BlockParts, named
from mlcref.script.parse_tir import StatementParser
from mlcref.script.type_names import DataTypeName, HandleName


class FunctionParser(StatementParser):
    """Parses one function."""

    def function(self, node: ast.FunctionDef) -> PrimFunc:
        """The tensor program that ``node`` defines."""
        for arg in node.args.posonlyargs + node.args.args:
            self.parameter(arg)
        if node.args.vararg or node.args.kwarg or node.args.kwonlyargs or node.args.defaults:
            raise self.source.unsupported(node, "parameters of a tensor program are plain names without defaults")
        root = BlockParts("root", node)
        self.blocks.append(root)
        body = self.root_realize(root, node.body) if self.options.schedulable else self.statements(node.body)
        func = PrimFunc(self.finish_params(node), body, Attrs(self.function_attrs(node.name)))
        if self.options.check_well_formed:
            self.check(func, node)
        return func

    def parameter(self, arg: ast.arg) -> None:
        if arg.annotation is None:
            if arg.arg in ("self", "cls") and not self.params:
                return
            raise self.source.error(
                arg, f"parameter {arg.arg} has no type", 'write T.Buffer((128,), "float32") or T.int32'
            )
        annotation = arg.annotation
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = self.inner_annotation(annotation)
        value = self.evaluate.value(annotation)
        if isinstance(value, Buffer):
            self.params[arg.arg] = buffer = named(value, arg.arg)
            self.scope.define(arg.arg, buffer)
        elif isinstance(value, DataTypeName):
            self.params[arg.arg] = var = Var(arg.arg, value.dtype)
            self.scope.define(arg.arg, var)
        elif isinstance(value, HandleName) or (isinstance(value, Var) and value.dtype == "handle"):
            self.params[arg.arg] = None
            self.scope.define(arg.arg, forms.HandleParameter(arg.arg))
        else:
            raise self.source.error(annotation, f"{ast.unparse(annotation)} is no type of a parameter")

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
            if arg.arg in self.params and self.params[arg.arg] is None:
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
