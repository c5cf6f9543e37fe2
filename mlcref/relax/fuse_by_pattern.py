"""What patterns match becomes functions of their own, which a library may take over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mlcref.errors import TypeMismatch
from mlcref.ir import graph, structural_equal
from mlcref.ir.base import NO_ATTRS
from mlcref.ir.function import GlobalVar, IRModule
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.ir.visit import walk
from mlcref.relax.dpl.pattern import COMPOSITES, DFPattern, Found
from mlcref.relax.fuse_tir import PRIMITIVE
from mlcref.relax.grouping import Binders, Grouping, binders_of_dimensions, outlined
from mlcref.relax.rewriter import Rewriter

COMPOSITE, CODEGEN = "Composite", "Codegen"
"""Attributes of functions: the name of the pattern that one matches, and the library that one is for."""


@dataclass(frozen=True)
class PatternCheckContext:
    """What a pattern matched, for those who decide whether to take it.

    ``matched_expr`` is the last value, ``annotated_expr`` what the patterns with names matched: calls where they match
    calls, else variables and constants. ``matched_bindings`` are the bindings that become a function, ``var_usages``
    the variables whose values use each variable, ``value_to_bound_var`` finds the variable of a value. Source:
    ``relax.transform.PatternCheckContext``.
    """

    matched_expr: graph.GraphExpr
    annotated_expr: Mapping[str, graph.GraphExpr]
    matched_bindings: Mapping[graph.Var, graph.GraphExpr]
    var_usages: Mapping[graph.Var, Sequence[graph.Var]]
    value_to_bound_var: Mapping[graph.GraphExpr, graph.Var]

    def has_leaking_intermediate_variables(self) -> bool:
        """Is something that was matched, other than the last value, used or seen outside of the match?

        Source: the function of that name in ``relax.backend.utils``.
        """
        last = self.value_to_bound_var[self.matched_expr]
        inside = [var for var in self.matched_bindings if var is not last]
        return any(
            not isinstance(var, graph.DataflowVar) or not set(self.var_usages[var]) <= self.matched_bindings.keys()
            for var in inside
        )


@dataclass(frozen=True)
class FusionPattern:
    """A pattern with the name that its functions get, such as "mylib.matmul_relu".

    ``annotation_patterns`` gives names to parts of it; ``check`` says of a match whether it is taken;
    ``attrs_getter`` gives, for the named parts, further attributes of the function. Source:
    ``relax.transform.FusionPattern``.
    """

    name: str
    pattern: DFPattern
    annotation_patterns: Mapping[str, DFPattern] = field(default_factory=dict)
    check: Callable[[PatternCheckContext], bool] | None = None
    attrs_getter: Callable[[Mapping[str, graph.GraphExpr]], Mapping[str, Any]] | None = None

    @staticmethod
    def of(item: Any) -> FusionPattern:
        """``item``, or the pattern that a tuple describes; raises ``TypeMismatch`` for anything else."""
        made = FusionPattern(*item) if isinstance(item, tuple) and 2 <= len(item) <= 5 else item
        if not isinstance(made, FusionPattern):
            raise TypeMismatch(f"a pattern for fusion is a FusionPattern or (name, pattern, …), not {item!r}")
        if not isinstance(made.name, str) or not isinstance(made.pattern, DFPattern):
            raise TypeMismatch(f"a pattern for fusion has a name and a DFPattern, not {made.name!r}, {made.pattern!r}")
        return made


class FuseOpsByPattern(Pass):
    """Put what patterns match into functions of their own, which the graph calls.

    ``patterns`` are ``FusionPattern`` or tuples of its arguments, the most wanted first; of one pattern, the last match
    in a block comes first, so that a pattern with options takes as much as it can. A function has the attributes
    ``Composite``, the pattern's name, and ``Primitive``. Constants stay inside of it with ``bind_constants``, and
    become its arguments without. What the block uses of the inside is a result, too. A match is passed over where a
    call in it belongs to another one already, where it has no call, and where what lies between two of its calls would
    have to run before and after it. With ``annotate_codegen`` each function is called by another one, with the
    attributes ``Codegen`` (the name up to the first point) and ``global_symbol``, which ``RunCodegen`` replaces.

    Works on dataflow blocks of the functions ``entry_functions`` (all graph functions without a list). Raises
    ``TypeMismatch`` for what is no pattern, ``MlcrefError`` for an entry function that is not there. Source:
    ``relax.transform.FuseOpsByPattern``.

    >>> from mlcref import relax
    >>> from mlcref.relax.dpl import is_op, wildcard
    >>> bb = relax.BlockBuilder()
    >>> x, w = (relax.Var(name, relax.TensorStructInfo((4, 4), "float32")) for name in "xw")
    >>> with bb.function("main", [x, w]):
    ...     with bb.dataflow():
    ...         out = bb.emit_output(relax.op.nn.relu(relax.op.matmul(x, w)))
    ...     bb.emit_func_output(out)
    >>> pattern = is_op("relax.nn.relu")(is_op("relax.matmul")(wildcard(), wildcard()))
    >>> list(FuseOpsByPattern([("mylib.dense", pattern)], annotate_codegen=True)(bb.get()))
    ['main', 'fused_relax_matmul_relax_nn_relu', 'fused_relax_matmul_relax_nn_relu_mylib']
    """

    info = PassInfo(0, "FuseOpsByPattern")

    def __init__(
        self, patterns: Iterable[Any], bind_constants: bool = True, annotate_codegen: bool = False,
        entry_functions: Iterable[str] | None = None,
    ) -> None:  # fmt: skip
        self.patterns = [FusionPattern.of(item) for item in patterns]
        self.bind_constants, self.annotate_codegen = bind_constants, annotate_codegen
        self.entry_functions = None if entry_functions is None else tuple(entry_functions)

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the functions."""
        return _ByPattern(mod, self).rewritten()


class _Outlining(Rewriter):
    """Rebuilds the dataflow blocks of functions that are not fused yet; equal functions are made once."""

    def __init__(self, module: IRModule, names: Iterable[str] | None = None) -> None:
        super().__init__(module)
        self.entries = None if names is None else [module[name] for name in names]
        self.made: dict[str, graph.Function] = {}

    def function(self, func: graph.Function) -> graph.Function:
        fused = any(name in func.attrs for name in (PRIMITIVE, COMPOSITE, CODEGEN))
        if fused or not (self.entries is None or any(func is entry for entry in self.entries)):
            return func
        binders = binders_of_dimensions(func)
        usages = _usages(func)
        blocks = tuple([
            self.block(block, binders, usages) if isinstance(block, graph.DataflowBlock) else block
            for block in func.body.blocks
        ])
        body = graph.SeqExpr(blocks, func.body.body)
        return graph.Function(func.params, body, func.ret_struct_info, func.attrs)

    def block(
        self, block: graph.DataflowBlock, binders: Binders, usages: Mapping[graph.Var, Sequence[graph.Var]]
    ) -> graph.DataflowBlock:
        raise NotImplementedError

    def named(self, hint: str, func: graph.Function) -> str:
        """The name that ``func`` has in the new module: that of an equal one, if there is one."""
        for name, other in self.made.items():
            if structural_equal(func, other):
                return name
        name = self.add(hint, func)
        self.made[name] = func
        return name

    def for_library(self, library: str, name: str, func: graph.Function) -> str:
        """The name of a function for ``library`` that calls ``func``, which the new module has as ``name``."""
        params = [graph.Var(param.name_hint, param.struct_info) for param in func.params]
        out = graph.Var("out", func.ret_struct_info)
        call = graph.Call(GlobalVar(name), params, NO_ATTRS, (func.ret_struct_info,))
        body = graph.SeqExpr((graph.DataflowBlock((graph.VarBinding(out, call),)),), out)
        return self.exposed(f"{name}_{library}", library, graph.Function(params, body))

    def exposed(self, hint: str, library: str, func: graph.Function) -> str:
        """The name of ``func`` for ``library`` in the new module, which is its symbol, too."""
        for name, other in self.made.items():
            if structural_equal(func.with_attr({CODEGEN: library, "global_symbol": name}), other):
                return name
        name = self.add(hint, func)
        self.made[name] = func.with_attr({CODEGEN: library, "global_symbol": name})
        self.result.update_func(name, self.made[name])
        return name


def _usages(func: graph.Function) -> dict[graph.Var, list[graph.Var]]:
    """Which variables are bound to values that use each variable."""
    found: dict[graph.Var, list[graph.Var]] = {var: [] for var in func.params}
    for binding in func.bindings():
        found.setdefault(binding.var, [])
        for var in {node: None for node in walk(binding.value) if isinstance(node, graph.Var)}:
            found.setdefault(var, []).append(binding.var)
    return found


class _ByPattern(_Outlining):
    def __init__(self, module: IRModule, options: FuseOpsByPattern) -> None:
        super().__init__(module, options.entry_functions)
        self.options = options

    def block(
        self, block: graph.DataflowBlock, binders: Binders, usages: Mapping[graph.Var, Sequence[graph.Var]]
    ) -> graph.DataflowBlock:
        grouping = Grouping(block, binders)
        values = {item.var: item.value for item in block.bindings if isinstance(item, graph.VarBinding)}
        taken: dict[int, Mapping[str, Any]] = {}
        for pattern in self.options.patterns:
            for var in reversed(values):
                match = _Match.of(pattern, var, values, usages)
                places = [grouping.place[member] for member in match.context.matched_bindings] if match else []
                if match is None or any(place in taken for place in places):
                    continue
                if match.is_accepted() and grouping.join(places):
                    taken.update(dict.fromkeys(places, match.attrs()))
        return grouping.block({grouping.unit[place]: partial(self.make, attrs) for place, attrs in taken.items()})

    def make(
        self, attrs: Mapping[str, Any], bindings: list[graph.VarBinding], results: list[graph.Var]
    ) -> tuple[str, Sequence[graph.GraphExpr]]:
        """The function of a match, or the one for its library."""
        func, args = outlined(bindings, results, attrs, self.options.bind_constants)
        called = [item.value.op for item in bindings if isinstance(item.value, graph.Call)]
        hints = [op.name.replace(".", "_") for op in called if isinstance(op, graph.Op)]
        name = self.named("_".join(["fused", *hints]), func)
        library = str(attrs[COMPOSITE]).partition(".")[0]
        return self.for_library(library, name, func) if self.options.annotate_codegen else name, args


@dataclass(frozen=True)
class _Match:
    pattern: FusionPattern
    context: PatternCheckContext

    @staticmethod
    def of(
        pattern: FusionPattern, var: graph.Var, values: Mapping[graph.Var, graph.GraphExpr],
        usages: Mapping[graph.Var, Sequence[graph.Var]],
    ) -> _Match | None:  # fmt: skip
        """How ``pattern`` matches the value of ``var``; None where it does not, or matches no call."""
        found: Found = {}
        if isinstance(values[var], graph.Var) or not pattern.pattern.find(var, values, found):
            return None
        members = _members(found, values)
        if not any(isinstance(values[member], graph.Call) for member in members):
            return None
        exprs = {name: found[part] for name, part in pattern.annotation_patterns.items() if part in found}
        named = {name: values[expr] if expr in members else expr for name, expr in exprs.items()}
        bindings = {member: values[member] for member in values if member in members}
        bound = {value: var for var, value in values.items()}
        return _Match(pattern, PatternCheckContext(values[var], named, bindings, usages, bound))

    def is_accepted(self) -> bool:
        return self.pattern.check is None or bool(self.pattern.check(self.context))

    def attrs(self) -> dict[str, Any]:
        """The attributes of the function."""
        more = self.pattern.attrs_getter(self.context.annotated_expr) if self.pattern.attrs_getter else {}
        return {**more, COMPOSITE: self.pattern.name, PRIMITIVE: 1}


def _members(found: Found, values: Mapping[graph.Var, graph.GraphExpr]) -> set[graph.Var]:
    """The variables whose values calls and tuples of the pattern match, with those that lie between."""
    members: set[graph.Var] = set()
    for part, expr in found.items():
        while isinstance(part, COMPOSITES) and isinstance(expr, graph.Var) and expr in values:
            members.add(expr)
            expr = values[expr]
    return members


class MergeCompositeFunctions(Pass):
    """Put calls of functions with the attribute ``Composite`` into functions for their library.

    Calls that use each other's results and are for one library (the name up to the first point) share a function, as
    far as nothing else has to run between them. The functions have the attributes ``Codegen`` and ``global_symbol``.
    Source: ``relax.transform.MergeCompositeFunctions``.

    >>> list(MergeCompositeFunctions()(IRModule({})))
    []
    """

    info = PassInfo(0, "MergeCompositeFunctions")

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the functions."""
        return _Merged(mod).rewritten()


class _Merged(_Outlining):
    def library(self, binding: graph.Binding) -> str | None:
        """The library for which the call of a composite function is."""
        callee = binding.value.op if isinstance(binding.value, graph.Call) else None
        func = self.module.functions.get(callee.name_hint) if isinstance(callee, GlobalVar) else None
        return str(func.attrs[COMPOSITE]).partition(".")[0] if func is not None and COMPOSITE in func.attrs else None

    def block(
        self, block: graph.DataflowBlock, binders: Binders, usages: Mapping[graph.Var, Sequence[graph.Var]]
    ) -> graph.DataflowBlock:
        grouping = Grouping(block, binders)
        libraries = [self.library(binding) for binding in block.bindings]
        for place, library in enumerate(libraries):
            for needed in sorted(grouping.needs[place]):
                if library is not None and libraries[needed] == library:
                    grouping.join([needed, place])
        return grouping.block({
            grouping.unit[place]: partial(self.make, library)
            for place, library in enumerate(libraries) if library is not None
        })  # fmt: skip

    def make(
        self, library: str, bindings: list[graph.VarBinding], results: list[graph.Var]
    ) -> tuple[str, Sequence[graph.GraphExpr]]:
        func, args = outlined(bindings, results, {}, constants=False)
        names = [item.value.op.name_hint for item in bindings
                 if isinstance(item.value, graph.Call) and isinstance(item.value.op, GlobalVar)]  # fmt: skip
        return self.exposed("_".join([*names, library]), library, func), args


__all__ = [
    "CODEGEN", "COMPOSITE", "FuseOpsByPattern", "FusionPattern", "MergeCompositeFunctions", "PatternCheckContext",
]  # fmt: skip
