"""Statements of tensor programs: from the Python syntax tree to the IR."""

from __future__ import annotations

import ast
from collections import ChainMap
from collections.abc import Callable
from typing import Any

from mlcref import ir
from mlcref.arith.region import access_regions
from mlcref.ir import Attrs, BufferRegion, Expr, Node, Range, Stmt, Var
from mlcref.ir.typed_number import plain_attribute
from mlcref.script import forms
from mlcref.script.dialects import SCOPE, canonical_attribute
from mlcref.script.expression_names import as_condition
from mlcref.script.macros import InlineCall, Macro
from mlcref.script.parse_bind import BlockParts, NameBinder, Wrapper, fold
from mlcref.script.parse_expr import Evaluator, macro_of, symbolic
from mlcref.script.scope import Scope
from mlcref.script.statement_names import message_of, serial


class StatementParser(NameBinder):
    """Parses the statements of one function. ``calls`` counts the calls of macros, ``suffix`` ends the names of the
    blocks of the one that is read."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.calls: dict[Macro, int] = {}
        self.suffix = ""
        self.last: ast.stmt | None = None
        self.result_type: str | None = None
        self.returns = False

    def statements(self, nodes: list[ast.stmt]) -> Stmt:
        """The statements in order; those after a let or an allocation stand under it."""
        parts: list[Stmt | Wrapper] = []
        for node in nodes:
            part = self.statement(node)
            if part is not None:
                parts.append(part)
                if isinstance(part, Node):
                    self.origin.setdefault(part, node)
        return fold(parts)

    def body(self, nodes: list[ast.stmt]) -> Stmt:
        """Statements in a scope of their own."""
        with self.scope.frame():
            return self.statements(nodes)

    def statement(self, node: ast.stmt) -> Stmt | Wrapper | None:
        visit = _STATEMENT.get(type(node))
        if visit is None:
            raise self.source.unsupported(node, f"{type(node).__name__} statements cannot be used in a script")
        return visit(self, node)

    def expression(self, node: ast.Expr) -> Stmt | Wrapper | None:
        if isinstance(node.value, ast.Constant) and (isinstance(node.value.value, str) or node.value.value is ...):
            return None
        value = self.evaluate.value(node.value)
        handler = _RECORD.get(type(value))
        if handler is not None:
            return handler(self, value, node)
        if isinstance(value, Stmt):
            return value
        if isinstance(value, InlineCall):
            return self.inline(value, node)
        if isinstance(value, ir.Call):
            return ir.Evaluate(value)
        raise self.source.error(
            node, f"{ast.unparse(node)[:40]!r} is no statement", "evaluate an expression with T.evaluate(...)"
        )

    def definition(self, node: ast.FunctionDef) -> None:
        """``@T.inline`` or ``@T.macro`` in a function: it sees the names around it as they are when it is called."""
        macro = macro_of(node, self.source, self.evaluate, ChainMap(*reversed(self.scope.frames), self.scope.env))  # type: ignore[arg-type]
        if macro is None:
            raise self.source.unsupported(node, "a function in a function that is no @T.inline and no @T.macro")
        self.scope.define(node.name, macro)

    def inline(self, call: InlineCall, node: ast.stmt) -> Stmt:
        """The statements of a macro, with its parameters bound. Blocks of later calls get a number."""
        macro = call.macro
        calls = self.calls[macro] = self.calls.get(macro, -1) + 1
        outer = self.source, self.scope, self.evaluate, self.suffix
        scope = Scope(self.scope.env) if macro.env is None else Scope(macro.env)
        if macro.env is None:
            scope.frames = [*self.scope.frames]
        scope.frames.append(dict(call.values))
        with self.evaluate.budget.inside(self.source, node):
            evaluate = Evaluator(macro.source, scope, self.evaluate.budget)
            evaluate.matched = self.evaluate.matched
            self.source, self.scope, self.evaluate = macro.source, scope, evaluate
            self.suffix = f"_{calls}" if calls else ""
            try:
                return self.statements(macro.node.body)
            finally:
                self.source, self.scope, self.evaluate, self.suffix = outer

    def return_(self, node: ast.Return) -> Stmt | None:
        """``return e``. Without a value it may only stand where the function ends anyway."""
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            return self.returned(self.evaluate.expr(node.value), node)
        if node is not self.last:
            raise self.source.unsupported(node, "a return without a value before the end of the function")
        return None

    def returned(self, value: Expr, node: ast.stmt) -> Stmt:
        """The end of the function with ``value``, in the type that the function declares."""
        if value.dtype in ("handle", "void"):
            raise self.source.error(node, f"a tensor program returns a number, not a {value.dtype}")
        self.returns = True
        kind = self.result_type
        return ir.Return(value if kind is None else self.evaluate.build(node, ir.cast, kind, value))

    def record_return(self, value: forms.Returned, node: ast.Expr) -> Stmt:
        return self.returned(value.value, node)

    def pass_(self, node: ast.Pass) -> None:
        return None

    def break_(self, node: ast.Break) -> Stmt:
        return ir.Break()

    def continue_(self, node: ast.Continue) -> Stmt:
        return ir.Continue()

    def if_(self, node: ast.If) -> Stmt | None:
        test = self.evaluate.value(node.test)
        if not symbolic(test):
            taken = node.body if test else node.orelse
            return self.statements(taken) if taken else None
        condition = self.evaluate.condition(node.test)
        return ir.IfThenElse(condition, self.body(node.body), self.body(node.orelse) if node.orelse else None)

    def while_(self, node: ast.While) -> Stmt:
        if node.orelse:
            raise self.source.unsupported(node, "else of a loop")
        return ir.While(self.evaluate.condition(node.test), self.body(node.body))

    def assert_(self, node: ast.Assert) -> Stmt:
        message = self.evaluate.build(node, message_of, self.evaluate.value(node.msg)) if node.msg else ""
        return ir.AssertStmt(self.evaluate.condition(node.test), message)

    # Loops

    def for_(self, node: ast.For) -> Stmt:
        if node.orelse:
            raise self.source.unsupported(node, "else of a loop")
        loops = self.loops(node.iter)
        names = self.target_names(node.target)
        if len(names) != len(loops.ranges):
            raise self.source.error(
                node.target, f"{len(names)} loop variables for {len(loops.ranges)} loops", rule="script.loops"
            )
        variables = [Var(name, dim.extent.dtype) for name, dim in zip(names, loops.ranges, strict=True)]
        with self.scope.frame():
            for var, dim in zip(variables, loops.ranges, strict=True):
                self.scope.define(var.name, var)
                self.ranges[var] = dim
            body = self.statements(node.body)
        annotations = Attrs(plain_attribute(dict(loops.annotations or {})))
        for var, dim in zip(reversed(variables), reversed(loops.ranges), strict=True):
            body = ir.For(var, dim.min, dim.extent, loops.kind, body, loops.thread, annotations, loops.step)
            self.origin[body] = node
        return body

    def loops(self, node: ast.expr) -> forms.Loops:
        """What a ``for`` runs over."""
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "range"
            and "range" not in self.scope
        ):
            args = self.evaluate.items(node.args)
            if len(args) not in (1, 2, 3) or node.keywords:
                raise self.source.unsupported(node, "range takes a start, a stop and a step")
            low, high, *rest = (0, *args) if len(args) == 1 else args
            made: forms.Loops = self.evaluate.build(node, serial, low, high, step=rest[0] if rest else None)
            return made
        value = self.evaluate.value(node)
        if not isinstance(value, forms.Loops):
            raise self.source.error(node, "this is nothing to loop over", "use range, T.grid, T.serial, T.parallel, …")
        return value

    # with

    def with_(self, node: ast.With) -> Stmt | None:
        item, rest = node.items[0], node.items[1:]
        inner: list[ast.stmt] = (
            node.body if not rest else [ast.copy_location(ast.With(items=rest, body=node.body), node)]
        )
        value = self.evaluate.value(item.context_expr)
        if isinstance(value, forms.BlockHeader):
            return self.block(value, inner, node)
        if isinstance(value, forms.Init):
            self.init(inner, node)
            return None
        wrapper = self.scoped(value, item, node)
        with self.scope.frame():
            if isinstance(value, forms.Launch):
                wrapper = self.launch(value, item.optional_vars, node)
            elif item.optional_vars is not None:
                wrapper = self.bind(item.optional_vars, value, node)
            return wrapper(self.statements(inner)) if wrapper else self.statements(inner)

    def scoped(self, value: Any, item: ast.withitem, node: ast.With) -> Wrapper | None:
        """The wrapper of ``with T.attr(...)`` and ``with T.Assert(...)``; None for forms that bind a name."""
        if isinstance(value, forms.Attribute):
            return lambda body: ir.AttrStmt(value.key, value.target, value.value, body)
        if isinstance(value, forms.AttributeTable):
            return _attributes(value)
        if isinstance(value, forms.Launch):
            return None
        if isinstance(value, forms.Assertion):
            return lambda body: ir.seq(ir.AssertStmt(value.condition, value.message), body)
        if item.optional_vars is None or not isinstance(value, forms.Binding | forms.Allocation | forms.Declaration):
            raise self.source.error(
                item.context_expr, f"`with` has no meaning for {ast.unparse(item.context_expr)[:40]}"
            )
        return None

    def block(self, header: forms.BlockHeader, body: list[ast.stmt], node: ast.With) -> Stmt:
        if not self.options.schedulable:
            place = node.items[0].context_expr
            hint = "decorate the function with s_tir=True"
            raise self.source.error(place, "a block in a flat function", hint, rule="script.flat")
        parts = BlockParts(header.name + self.suffix if header.name else "", node)
        self.blocks.append(parts)
        with self.scope.frame():
            stmt = self.statements(body)
        self.blocks.pop()
        for mismatch, what, harmless in parts.mismatches:
            if not (harmless and parts.predicate):
                self.source.warn(mismatch, what)
        return self.realize(parts, stmt, self.regions(parts, stmt))

    def regions(self, parts: BlockParts, body: Stmt) -> dict[str, tuple[BufferRegion, ...]]:
        """The regions that the block states; the ones it leaves out are found from its body."""
        if len(parts.regions) == 2:
            return parts.regions
        if len(self.blocks) == 1 and parts.name == "root" and not parts.iter_vars:
            return {"reads": (), "writes": (), **parts.regions}
        dom = {iter_var.var: _extent(iter_var.dom) for iter_var in parts.iter_vars}
        private, matched = parts.alloc_buffers, parts.match_buffers
        reads, writes = access_regions(body, parts.init, dom, private=private, matched=matched)
        return {"reads": reads, "writes": writes, **parts.regions}

    def realize(self, parts: BlockParts, body: Stmt, regions: dict[str, tuple[BufferRegion, ...]]) -> Stmt:
        block = ir.Block(
            ir.Token(parts.name), parts.name, tuple(parts.iter_vars), tuple(parts.alloc_buffers),
            tuple(parts.match_buffers),
            regions["reads"], regions["writes"], parts.init, body, Attrs(parts.annotations),
        )  # fmt: skip
        realize = ir.BlockRealize(tuple(parts.values), parts.predicate, block)
        self.origin[block] = self.origin[realize] = parts.node
        return realize

    def init(self, body: list[ast.stmt], node: ast.With) -> None:
        parts = self.blocks[-1]
        if len(self.blocks) == 1 or parts.init is not None:
            what = "T.init stands outside of a block" if len(self.blocks) == 1 else "the block has an init already"
            raise self.source.error(node.items[0].context_expr, what)
        parts.init = self.body(body)

    # Records that are statements by themselves

    def current_block(self, node: ast.Expr) -> BlockParts:
        """The block around ``node``; an error at the function's level."""
        if len(self.blocks) == 1:
            raise self.source.error(node, f"{ast.unparse(node)[:40]} stands outside of a block", rule="script.block")
        return self.blocks[-1]

    def record_access(self, value: forms.Access, node: ast.Expr) -> None:
        parts = self.current_block(node)
        parts.regions[value.field] = parts.regions.get(value.field, ()) + value.regions

    def record_where(self, value: forms.Where, node: ast.Expr) -> None:
        parts = self.current_block(node)
        condition = self.evaluate.build(node, as_condition, value.condition)
        parts.predicate += ir.conjuncts(condition)

    def record_attributes(self, value: forms.Attributes, node: ast.Expr) -> None:
        attrs = {str(key): plain_attribute(item) for key, item in value.attrs.items()}
        if value.of == "function":
            self.attrs.update({canonical_attribute(key): item for key, item in attrs.items()})
        else:
            self.current_block(node).annotations.update(attrs)

    def record_evaluation(self, value: forms.Evaluation, node: ast.Expr) -> Stmt:
        return ir.Evaluate(value.value)

    def record_attribute(self, value: forms.Attribute, node: ast.Expr) -> Wrapper:
        return lambda body: ir.AttrStmt(value.key, value.target, value.value, body)

    def record_attributes_of_nothing(self, value: forms.AttributeTable, node: ast.Expr) -> Wrapper:
        return _attributes(value)

    def record_launch(self, value: forms.Launch, node: ast.Expr) -> Wrapper:
        return self.launch(value, None, node)

    def launch(self, value: forms.Launch, target: ast.expr | None, node: ast.stmt) -> Wrapper:
        """``T.launch_thread``: the variable is named by ``as``, or by the thread axis."""
        if target is not None and not isinstance(target, ast.Name):
            raise self.source.error(target, "a name is expected here")
        name = target.id if isinstance(target, ast.Name) else value.thread.name
        if not name:
            raise self.source.error(node, "this thread axis has no variable", "write tx = T.launch_thread(...)")
        return self.bind_launch(name, value, node)

    def record_jump(self, value: forms.Jump, node: ast.Expr) -> Stmt:
        return value.stmt()

    def record_assertion(self, value: forms.Assertion, node: ast.Expr) -> Stmt:
        return ir.AssertStmt(self.evaluate.build(node, as_condition, value.condition), value.message)


def _extent(dim: Range) -> Expr | tuple[int | None, int | None]:
    """A range as the domain of a variable."""
    low, extent = ir.constant(dim.min), ir.constant(dim.extent)
    if low == 0:
        return dim.extent
    return low, (low + extent - 1 if low is not None and extent is not None else None)


def _attributes(table: forms.AttributeTable) -> Wrapper:
    """Attributes around statements; ``SCOPE`` alone says where the names inside end."""

    def wrap(body: Stmt) -> Stmt:
        for attribute in reversed(table.attrs):
            if attribute.key != SCOPE:
                body = ir.AttrStmt(attribute.key, None, attribute.value, body)
        return body

    return wrap


_STATEMENT: dict[type[ast.stmt], Callable[[StatementParser, Any], Stmt | Wrapper | None]] = {
    ast.Expr: StatementParser.expression, ast.Pass: StatementParser.pass_, ast.Break: StatementParser.break_,
    ast.Continue: StatementParser.continue_, ast.If: StatementParser.if_, ast.While: StatementParser.while_,
    ast.Assert: StatementParser.assert_, ast.For: StatementParser.for_, ast.With: StatementParser.with_,
    ast.Assign: StatementParser.assign, ast.AnnAssign: StatementParser.annotated, ast.AugAssign:
    StatementParser.augmented, ast.FunctionDef: StatementParser.definition, ast.Return: StatementParser.return_,
}  # fmt: skip

_RECORD: dict[type, Callable[[StatementParser, Any, Any], Stmt | Wrapper | None]] = {
    forms.Access: StatementParser.record_access, forms.Where: StatementParser.record_where,
    forms.Attributes: StatementParser.record_attributes, forms.Evaluation: StatementParser.record_evaluation,
    forms.Attribute: StatementParser.record_attribute, forms.Assertion: StatementParser.record_assertion,
    forms.AttributeTable: StatementParser.record_attributes_of_nothing, forms.Launch: StatementParser.record_launch,
    forms.Jump: StatementParser.record_jump, forms.Returned: StatementParser.record_return,
}  # fmt: skip
