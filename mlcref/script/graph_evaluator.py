"""Expressions of graph functions: those of scripts, operators (``R.add``), functions of the module, tuple fields."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from mlcref.errors import TypeMismatch
from mlcref.ir import GlobalVar, graph
from mlcref.ir.graph_ops import FUNCTIONS, function_of
from mlcref.script.parse_expr import Evaluator
from mlcref.script.registry import namespaces
from mlcref.script.scope import Scope, did_you_mean
from mlcref.script.source import Source

class AnyModule:
    """``cls`` of a function without a module around it: it names functions of a module to come."""

    def __getattr__(self, name: str) -> GlobalVar:
        return GlobalVar(name)


CallFunction = Callable[[ast.Call, GlobalVar, list[Any]], graph.Call]


_TABLE = "mlcref.relax.op."
"""What the names of operators begin with outside of scripts; a script may say them so, too."""


class GraphEvaluator(Evaluator):
    """Evaluates expressions of one graph function; ``call_function`` makes the calls of functions of the module."""

    def __init__(self, source: Source, scope: Scope, call_function: CallFunction) -> None:
        super().__init__(source, scope)
        self.call_function = call_function
        self.hidden: frozenset[str] = frozenset()

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id not in self.scope:
            self.check_name(node)
        if isinstance(node, ast.Subscript):
            base = self.value(node.value)
            if isinstance(base, graph.GraphExpr):
                return self.field(base, node)
        if isinstance(node, ast.Attribute) and (found := self.operator(node)) is not None:
            return found
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            return self.call(node)
        return super().value(node)

    def check_name(self, node: ast.Name) -> None:
        """Names that are known to be missing for a reason."""
        if node.id in self.hidden:
            hint = f"list it in R.output: R.output({node.id})"
            raise self.source.error(node, f"{node.id} is not seen outside its dataflow block", hint, rule="script.name")
        if node.id == "metadata":
            hint = 'print with script(show_meta=True), or parse with env={"metadata": metadata_of(mod)}'
            raise self.source.error(node, "the text leaves out its constants", hint, rule="script.metadata")

    def field(self, base: graph.GraphExpr, node: ast.Subscript) -> graph.GraphExpr:
        """``t[0]`` of a tuple."""
        index = super().value(node.slice)
        info = base.struct_info
        if not isinstance(info, graph.TupleStructInfo) or not isinstance(index, int):
            raise self.source.error(node, "only fields of a tuple can be taken, by number: x[0]")
        if not 0 <= index < len(info.fields):
            raise self.source.error(node, f"a tuple of {len(info.fields)} fields has no field {index}")
        return graph.TupleGetItem(base, index)

    def operator(self, node: ast.Attribute) -> Callable[..., Any] | None:
        """The function of ``R.add``, ``R.nn.relu`` or ``relax.op.add``; None for another name."""
        names: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            names.insert(0, at.attr)
            at = at.value
        if not isinstance(at, ast.Name) or at.id not in self.scope:
            return None
        module = self.scope.lookup(at.id)
        if not isinstance(module, ModuleType):
            return None
        whole = ".".join([module.__name__, *names])
        if whole.startswith(_TABLE):
            names, module = whole.removeprefix(_TABLE).split("."), namespaces()["relax"]
        if module is not namespaces().get("relax"):
            return None
        found = function_of(".".join(names))
        known = names[0] in module.__all__ or (len(names) == 1 and any(f.startswith(f"{names[0]}.") for f in FUNCTIONS))
        if found is None and not known:
            hint = did_you_mean(".".join(names), [*FUNCTIONS, *module.__all__])
            raise self.source.error(node, f"{ast.unparse(node)} is unknown", hint, rule="script.name")
        return found

    def call(self, node: ast.Call) -> Any:
        """A call of an operator, of a function of the module, or of what any script may call."""
        function = self.operator(node.func) if isinstance(node.func, ast.Attribute) else None
        if function is None:
            callee = self.callee(node.func)
            if callee is None:
                return super().value(node)
            return self.call_function(node, callee, self.items(node.args))
        args = self.items(node.args)
        options = {keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg is not None}
        try:
            inspect.signature(function).bind(*args, **options)
        except TypeError as error:
            raise self.source.error(node, f"{ast.unparse(node.func)}: {error}", rule="script.arguments") from None
        return self.build(node, function, *args, **options)

    def callee(self, node: ast.expr) -> GlobalVar | None:
        """The function of the module that ``node`` names; None for something else."""
        if isinstance(node, ast.Name):
            found = self.scope.lookup(node.id) if node.id in self.scope else None
            return found if isinstance(found, GlobalVar) else None
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return None
        base = self.scope.lookup(node.value.id) if node.value.id in self.scope else None
        if not isinstance(base, SimpleNamespace | AnyModule):
            return None
        found = getattr(base, node.attr, None)
        return found if isinstance(found, GlobalVar) else None


def described(value: Any) -> graph.StructInfo:
    """The struct info of an argument of a call; raises ``TypeMismatch`` for what is no value of a graph."""
    if not isinstance(value, graph.GraphExpr):
        raise TypeMismatch(f"a function of the module takes tensors, not {type(value).__name__}")
    return value.struct_info
