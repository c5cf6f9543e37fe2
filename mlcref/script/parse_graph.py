"""Graph functions: from the Python syntax tree of ``@R.function`` to the IR."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from mlcref.arith import same_info
from mlcref.errors import ScriptError, TypeMismatch
from mlcref.ir import Attrs, Expr, GlobalVar, Var, graph, unique_name
from mlcref.ir.graph import StructInfo
from mlcref.ir.graph_calls import result_of
from mlcref.script.dialects import canonical_attribute
from mlcref.script.graph_evaluator import AnyModule, GraphEvaluator, described
from mlcref.script.graph_names import FORMS, Cast, Dataflow, FunctionAttributes, Output, value
from mlcref.script.parse_expr import Evaluator
from mlcref.script.registry import register_function_parser
from mlcref.script.scope import Scope
from mlcref.script.source import Source


Functions = Mapping[str, ast.FunctionDef]
"""The definitions of the functions of a module by their names."""


def parse_graph_function(
    node: ast.FunctionDef, env: Mapping[str, Any], source: Source, functions: Functions | None = None
) -> graph.Function:
    """The graph function that ``node`` defines; ``functions`` are the definitions of its module by their names.

    Raises ``ScriptError`` where the text is no graph function.
    """
    return _GraphParser(node, env, source, functions).function()


class _GraphParser:
    def __init__(
        self, node: ast.FunctionDef, env: Mapping[str, Any], source: Source, functions: Functions | None
    ) -> None:
        self.node, self.source, self.env, self.functions = node, source, env, functions or {}
        self.scope = Scope(env)
        self.evaluate = GraphEvaluator(source, self.scope, self.call_function)
        names = {name: GlobalVar(name) for name in self.functions}
        self.module = SimpleNamespace(**names) if names else AnyModule()
        self.dims: dict[str, Var] = {}
        self.signature_done = False
        self.attrs: dict[str, Any] = {}
        self.names: set[str] = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
        self.blocks: list[graph.BindingBlock] = []
        self.exported: dict[str, ast.stmt] | None = None
        self.casts = any(isinstance(name, ast.Attribute) and name.attr == "match_cast" for name in ast.walk(node))
        self.pending: list[graph.Binding] = []
        for name, var in names.items():
            self.scope.define(name, var)

    def function(self) -> graph.Function:
        """The whole function."""
        if not self.private():
            self.attrs["global_symbol"] = self.node.name
        params = self.parameters()
        *statements, last = self.node.body
        for statement in statements:
            self.statement(statement)
        if not isinstance(last, ast.Return) or last.value is None:
            raise self.source.error(last, "a graph function ends with `return` and a value", rule="script.return")
        result = self.operand(last.value, self.build(last.value))
        self.flush()
        body = graph.SeqExpr(tuple(self.blocks), result)
        self.check_result(body)
        return graph.Function(params, body, body.struct_info, Attrs(self.attrs))

    def private(self) -> bool:
        """What the decorator says; options other than ``private`` are not read."""
        decorators = [item for item in self.node.decorator_list if isinstance(item, ast.Call)]
        options = {keyword.arg: keyword.value for item in decorators for keyword in item.keywords}
        values = {name: self.evaluate.value(option) for name, option in options.items()}
        if not values.get("pure", True):
            raise self.source.unsupported(options["pure"], "impure graph functions are not supported")
        for name in values.keys() - {"private", "pure", "check_well_formed"}:
            raise self.source.error(options[name], f"R.function has no option {name!r}")
        return bool(values.get("private", False))

    # The signature

    def parameters(self) -> tuple[graph.Var, ...]:
        arguments = self.node.args
        others = (arguments.posonlyargs, arguments.kwonlyargs, arguments.defaults, [arguments.vararg, arguments.kwarg])
        if any(item is not None for items in others for item in items):
            raise self.source.error(self.node, "a graph function has plain parameters only", rule="script.parameters")
        infos = [self.annotated(arg, arg.annotation) for arg in arguments.args]
        params = tuple([graph.Var(arg.arg, info) for arg, info in zip(arguments.args, infos, strict=True)])
        for param in params:
            self.scope.define(param.name_hint, param)
        bound = {extent for info in infos for extent in graph.extents_of(info)}
        for name, var in self.dims.items():
            if var not in bound:
                hint = f'some parameter must have the extent "{name}" by itself'
                raise self.source.error(self.node, f"no argument says what {name} is", hint, rule="script.dimension")
        self.signature_done = True
        return params

    def annotated(self, node: ast.AST, annotation: ast.expr | None) -> StructInfo:
        if annotation is None:
            hint = 'write for example x: R.Tensor((1, "n"), "float32")'
            raise self.source.error(node, "a parameter of a graph function needs a description", hint)
        form = self.evaluate.value(annotation)
        if isinstance(form, StructInfo):
            return form
        if not isinstance(form, FORMS):
            hint = 'write for example R.Tensor((1, "n"), "float32")'
            raise self.source.error(annotation, f"{ast.unparse(annotation)} describes no value of a graph", hint)
        try:
            info: StructInfo = self.evaluate.build(annotation, form.describe, self.dimension)
        except ScriptError as error:  # one in a dimension in quotes has no place of its own in the file
            raise self.source.error(annotation, error.what, error.hint, rule=error.rule) from error
        return info

    def dimension(self, text: str) -> Expr:
        """The extent that a string stands for; new names in the signature are new dimensions."""
        inner = Source(text.strip(), self.source.filename)
        statement = inner.parse().body[0]
        if not isinstance(statement, ast.Expr):
            raise TypeMismatch(f'"{text}" is no extent')
        for name in [item for item in ast.walk(statement) if isinstance(item, ast.Name)]:
            if name.id not in self.dims:
                self.new_dimension(name.id)
        return Evaluator(inner, self.scope).expr(statement.value)

    def new_dimension(self, name: str) -> None:
        if self.signature_done:
            raise TypeMismatch(f"no parameter says what {name} is", hint=f'a parameter must have the extent "{name}"')
        self.dims[name] = Var(name, "int64")
        self.scope.define(name, self.dims[name])

    def check_result(self, body: graph.SeqExpr) -> None:
        if self.node.returns is None or isinstance(self.node.returns, ast.Constant):
            return
        said = self.annotated(self.node.returns, self.node.returns)
        if not same_info(said, body.struct_info):
            what = f"the function returns {body.struct_info!r}, not {said!r}"
            raise self.source.error(self.node.returns, what, rule="script.return")

    # Statements

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            self.assign(node, node.targets[0], node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.assign(node, node.target, node.value, node.annotation)
        elif isinstance(node, ast.With):
            self.dataflow(node)
        elif isinstance(node, ast.Expr):
            self.expression(node)
        elif isinstance(node, ast.Return):
            raise self.source.error(node, "`return` stands at the end of a graph function", rule="script.return")
        elif not isinstance(node, ast.Pass):
            raise self.source.unsupported(node, f"{type(node).__name__} statements cannot be used in a graph function")

    def expression(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return
        form = self.evaluate.value(node.value)
        if isinstance(form, FunctionAttributes):
            self.attrs.update({canonical_attribute(key): item for key, item in form.attrs.items()})
            if self.attrs.get("global_symbol", "") is None:
                del self.attrs["global_symbol"]
        elif isinstance(form, Output):
            raise self.source.error(node, "R.output stands at the end of a dataflow block", rule="script.output")
        else:
            raise self.source.error(node, f"`{ast.unparse(node)[:40]}` is no statement of a graph", "bind it to a name")

    def assign(self, node: ast.stmt, target: ast.expr, right: ast.expr, annotation: ast.expr | None = None) -> None:
        if isinstance(target, ast.Tuple) and isinstance(right, ast.Tuple) and len(target.elts) == len(right.elts):
            for name, part in zip(target.elts, right.elts, strict=True):
                self.assign(node, name, part)
            return
        if not isinstance(target, ast.Name):
            raise self.source.error(target, f"{ast.unparse(target)} cannot be assigned to", rule="script.assign")
        if target.id == "cls" and isinstance(right, ast.Name) and right.id not in self.scope:
            self.scope.define("cls", self.module)
            return
        given = self.evaluate.value(right)
        if isinstance(given, Var) and not given.name:
            self.declare(target, given)
            return
        exported = self.is_exported(target.id, node)
        if isinstance(given, Cast):
            self.scope.define(target.id, self.match_cast(target, given, exported))
            return
        said = None if annotation is None else self.annotated(node, annotation)
        made = self.evaluate.build(right, value, given)
        if said is not None and _is_open(made):
            made = graph.Call(made.op, made.args, made.attrs, (said,))
        if said is not None and not same_info(said, made.struct_info):
            raise self.source.error(target, f"{target.id} is {made.struct_info!r}, not {said!r}", rule="script.type")
        self.scope.define(target.id, self.bind(target.id, self.normal(made), exported))

    def match_cast(self, target: ast.Name, cast: Cast, exported: bool) -> graph.Var:
        """``y = R.match_cast(x, R.Tensor((n,), "float32"))``; n may be a new dimension."""
        made = self.operand(target, self.evaluate.build(target, value, cast.value))
        info: StructInfo = self.evaluate.build(target, cast.form.describe)
        var = (graph.Var if exported else graph.DataflowVar)(target.id, info)
        self.pending.append(graph.MatchCast(var, made, info))
        return var

    def declare(self, target: ast.Name, var: Var) -> None:
        """``n = T.int64()``: a name for a dimension of the parameters."""
        if var.dtype != "int64":
            raise self.source.error(target, f"a dimension is int64, not {var.dtype}", rule="script.dimension")
        if target.id not in self.dims and self.casts:
            self.dims[target.id] = Var(target.id, "int64")
        if target.id not in self.dims:
            hint = f'a parameter must have the extent "{target.id}"'
            what = f"no parameter says what {target.id} is"
            raise self.source.error(target, what, hint, rule="script.dimension")
        self.scope.define(target.id, self.dims[target.id])

    # Bindings

    def call_function(self, node: ast.Call, callee: GlobalVar, args: list[Any]) -> graph.Call:
        """A call of a graph function of the module; its result is what its definition announces."""
        if node.keywords:
            raise self.source.error(node, "a graph function takes plain arguments only", rule="script.arguments")
        definition = self.functions.get(callee.name_hint)
        if definition is None:
            return graph.Call(callee, [self.evaluate.build(node, value, arg) for arg in args])
        params, result = _GraphParser(definition, self.env, self.source, self.functions).signature()
        values = [self.evaluate.build(node, value, arg) for arg in args]
        infos = [described(item) for item in values]
        info = self.evaluate.build(node, result_of, callee.name_hint, params, result, infos) if result else None
        return graph.Call(callee, values, None, (info,) if info else None)

    def signature(self) -> tuple[list[StructInfo], StructInfo | None]:
        """The parameters of the function, and its result where it announces it."""
        params = [param.struct_info for param in self.parameters()]
        returns = self.node.returns
        if returns is None or isinstance(returns, ast.Constant):
            return params, None
        return params, self.annotated(returns, returns)

    def build(self, node: ast.expr) -> graph.GraphExpr:
        made: graph.GraphExpr = self.evaluate.build(node, value, self.evaluate.value(node))
        return made

    def operand(self, node: ast.AST, item: graph.GraphExpr) -> graph.GraphExpr:
        """``item`` as an operand: calls and fields are bound to variables of their own."""
        if isinstance(item, graph.Tuple):
            fields = [self.operand(node, field) for field in item.fields]
            same = all(new is old for new, old in zip(fields, item.fields, strict=True))
            return item if same else graph.Tuple(fields)
        if not isinstance(item, graph.Call | graph.TupleGetItem):
            return item
        hint = unique_name("lv" if self.exported is not None else "gv", self.names)
        self.names.add(hint)
        return self.bind(hint, self.normal(item), exported=self.exported is None)

    def normal(self, item: graph.GraphExpr) -> graph.GraphExpr:
        """``item`` with operands in normal form."""
        if isinstance(item, graph.Call):
            if _is_open(item):
                hint = 'annotate the name that it gets: x: R.Tensor((1, 10), "float32") = cls.f(y)'
                raise self.source.error(self.node, "a call of a graph function does not say what it is", hint)
            args = tuple([arg if isinstance(arg, GlobalVar) else self.operand(self.node, arg) for arg in item.args])
            return graph.Call(item.op, args, item.attrs, item.sinfo_args)
        if isinstance(item, graph.TupleGetItem):
            return graph.TupleGetItem(self.operand(self.node, item.tuple_value), item.index)
        return self.operand(self.node, item)

    def bind(self, name: str, item: graph.GraphExpr, exported: bool) -> graph.Var:
        kind = graph.Var if exported else graph.DataflowVar
        var = kind(name, item.struct_info)
        self.pending.append(graph.VarBinding(var, item))
        return var

    def flush(self, kind: type[graph.BindingBlock] = graph.BindingBlock) -> None:
        """Close the block of bindings that is being collected."""
        if self.pending:
            self.blocks.append(kind(tuple(self.pending)))
            self.pending = []

    def is_exported(self, name: str, node: ast.stmt) -> bool:
        """Is ``name``, assigned by ``node``, seen outside its block?"""
        return self.exported is None or self.exported.get(name) is node

    # Dataflow blocks

    def dataflow(self, node: ast.With) -> None:
        header = self.evaluate.value(node.items[0].context_expr)
        if len(node.items) != 1 or not isinstance(header, Dataflow) or node.items[0].optional_vars is not None:
            raise self.source.error(node, "a graph function has blocks `with R.dataflow():` only")
        if self.exported is not None:
            raise self.source.error(node, "dataflow blocks do not nest", rule="script.dataflow")
        *statements, last = node.body
        outputs = self.output_names(last)
        self.flush()
        with self.dataflow_scope(outputs, statements):
            for statement in statements:
                self.statement(statement)
            for name, place in outputs.items():
                if not isinstance(self.scope.frames[-1].get(name), graph.Var):
                    raise self.source.error(place, f"{name} is not assigned in this block", rule="script.output")
            self.flush(graph.DataflowBlock)
            inner = self.scope.frames[-1]
        for name in outputs:
            self.scope.define(name, inner[name])
        self.evaluate.hidden |= {name for name in inner if name not in outputs}

    @contextmanager
    def dataflow_scope(self, outputs: Mapping[str, ast.expr], statements: list[ast.stmt]) -> Iterator[None]:
        """Names of the block are forgotten after it; an output is what the last assignment to its name makes."""
        last: dict[str, ast.stmt] = {}
        for statement in statements:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            for target in targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                last.update({name.id: statement for name in names if isinstance(name, ast.Name)})
        self.exported = {name: statement for name, statement in last.items() if name in outputs}
        with self.scope.frame():
            yield
        self.exported = None

    def output_names(self, node: ast.stmt) -> dict[str, ast.expr]:
        call = node.value if isinstance(node, ast.Expr) else None
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or call.func.attr != "output":
            raise self.source.error(node, "a dataflow block ends with R.output(...)", rule="script.output")
        for arg in call.args:
            if not isinstance(arg, ast.Name):
                raise self.source.error(arg, "R.output lists names", rule="script.output")
        return {arg.id: arg for arg in call.args if isinstance(arg, ast.Name)}


def _is_open(made: graph.GraphExpr) -> bool:
    """A call of a function that does not announce its result."""
    return isinstance(made, graph.Call) and isinstance(made.op, GlobalVar) and not made.sinfo_args


register_function_parser("relax", parse_graph_function)
