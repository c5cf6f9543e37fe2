"""What depends on constants only is computed when a module is compiled: layouts of weights, and whole calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlcref.dtype import numpy_dtype
from mlcref.autoschedule.layouts import LAYOUT_FREE
from mlcref.interp.graph import interpret_graph
from mlcref.ir import Node, Var, constant, graph
from mlcref.ir.function import GlobalVar, IRModule, PrimFunc
from mlcref.ir.graph_ops import operator_of
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.ir.visit import walk
from mlcref.relax.moving import moved
from mlcref.relax.rewriter import Rewriter, alike, calling, calls_of_programs, inputs_of, key_of
from mlcref.relax.split_program import Split, split_program


class AttachAttrLayoutFreeBuffers(Pass):
    """Say of each tensor program that is called with constants which of its parameters they are.

    The attribute ``layout_free_buffers`` lists their positions; a program that is called with constants in several
    ways gets a copy for each. Schedules may then copy these buffers to other layouts freely. Source:
    ``relax.transform.AttachAttrLayoutFreeBuffers``; parameters of the graph function are never taken for weights here:
    bind them first.
    """

    info = PassInfo(0, "AttachAttrLayoutFreeBuffers")

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the attributes."""
        return _Attach(mod).rewritten()


class _Attach(Rewriter):
    def __init__(self, module: IRModule) -> None:
        super().__init__(module)
        self.ways: dict[PrimFunc, set[tuple[int, ...]]] = {}
        for program, call in calls_of_programs(module):
            self.ways.setdefault(program, set()).add(_constants(call))
        self.named: dict[tuple[PrimFunc, tuple[int, ...]], str] = {}

    def binding(self, binding: graph.VarBinding) -> Iterable[graph.VarBinding]:
        call, program = binding.value, self.callee(binding.value)
        if not isinstance(call, graph.Call) or program is None:
            return [binding]
        constants = _constants(call)
        if not constants:
            return [binding]
        if (program, constants) not in self.named:
            self.named[program, constants] = self.attributed(program, constants)
        name = self.named[program, constants]
        return [graph.VarBinding(binding.var, calling(name, call, inputs_of(call)))]

    def attributed(self, program: PrimFunc, constants: tuple[int, ...]) -> str:
        """The name of ``program`` with the attribute, in its own place where all calls are alike."""
        name, made = key_of(self.module, program), program.with_attr(LAYOUT_FREE, list(constants))
        if len(self.ways[program]) > 1:
            return self.add(name, made.without_attr("global_symbol"))
        self.result.update_func(name, made)
        return name


def _constants(call: graph.Call) -> tuple[int, ...]:
    return tuple([i for i, item in enumerate(inputs_of(call)) if isinstance(item, graph.Constant)])


class SplitLayoutRewritePreproc(Pass):
    """Take what computes with constants alone out of tensor programs, into programs of their own.

    Applies to programs with the attribute ``layout_free_buffers``, scheduled or not: their blocks that read nothing but
    those buffers (copies to the layout that a schedule wants) become a program ``<name>_weight_prepack``, which the
    graph calls before; ``FoldConstant`` then runs it. Source: ``relax.transform.SplitLayoutRewritePreproc``, which
    takes blocks by annotation.
    """

    info = PassInfo(0, "SplitLayoutRewritePreproc")

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` with the programs split."""
        return _Split(mod).rewritten()


class _Split(Rewriter):
    def __init__(self, module: IRModule) -> None:
        super().__init__(module)
        self.done: dict[PrimFunc, tuple[Split, list[str]] | None] = {}

    def binding(self, binding: graph.VarBinding) -> Iterable[graph.VarBinding]:
        call, program = binding.value, self.callee(binding.value)
        if not isinstance(call, graph.Call) or program is None or LAYOUT_FREE not in program.attrs:
            return [binding]
        inputs, name = inputs_of(call), key_of(self.module, program)
        if program not in self.done:
            self.done[program] = self.split(name, program, len(inputs))
        done = self.done[program]
        if done is None:
            return [binding]
        split, names = done
        before: list[graph.VarBinding] = []
        for part, part_name in zip(split.before, names, strict=True):
            packed = part.program.params[-1]
            info = graph.TensorStructInfo(packed.shape, packed.type)
            value = graph.call_tir(GlobalVar(part_name), [inputs[i] for i in part.inputs], info)
            before.append(graph.VarBinding(alike(binding.var, f"{binding.var.name_hint}_packed", info), value))
        given = [*[inputs[i] for i in split.inputs], *[item.var for item in before]]
        return [*before, graph.VarBinding(binding.var, calling(name, call, given))]

    def split(self, name: str, program: PrimFunc, count: int) -> tuple[Split, list[str]] | None:
        """The parts of ``program``, which are put into the module, and the names of those that run before."""
        split = split_program(program, tuple(program.attrs[LAYOUT_FREE]), count)
        if split is None:
            return None
        self.result.update_func(name, split.program)
        return split, [self.add(f"{name}_weight_prepack", part.program) for part in split.before]


class FoldConstant(Pass):
    """Replace calls of tensor programs and of operators on constants by what they return.

    The oracle runs them, so the result is what the programs mean, to the bit; operators by their references. Calls of
    registered functions, calls with several results and those whose result has a symbolic shape stay. Source:
    ``relax.transform.FoldConstant``.

    Raises what the oracle raises for a call that means nothing.
    """

    info = PassInfo(0, "FoldConstant")

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` in which such calls are constants."""
        return _Fold(mod).rewritten()


def _known(item: Node) -> bool:
    """A constant, or a tuple of constants."""
    return all(map(_known, item.fields)) if isinstance(item, graph.Tuple) else isinstance(item, graph.Constant)


class _Fold(Rewriter):
    def binding(self, binding: graph.VarBinding) -> Iterable[graph.VarBinding]:
        value = binding.value
        if isinstance(value, graph.Constant):
            self.values[binding.var] = value
            return []
        if not isinstance(value, graph.Call) or not self.is_constant(value):
            return [binding]
        moved_there = self.moved(value)
        self.values[binding.var] = graph.Constant(self.computed(binding) if moved_there is None else moved_there)
        return []

    def computed(self, binding: graph.VarBinding) -> Any:
        """What the oracle computes for the call that ``binding`` binds."""
        body = graph.SeqExpr((graph.BindingBlock((binding,)),), binding.var)
        alone = graph.Function((), body, body.struct_info)
        return interpret_graph(IRModule({**self.module.prim_funcs(), "_folded": alone}), entry="_folded")

    def moved(self, call: graph.Call) -> Any:
        """What ``call`` gives, where its program only moves elements; else None."""
        program = self.callee(call)
        if program is None or len(call.args) != 2:
            return None
        inputs = [item.data for item in inputs_of(call) if isinstance(item, graph.Constant)]
        found = moved(program, inputs) if len(inputs) == len(inputs_of(call)) else None
        info = call.struct_info
        if found is None or not isinstance(info, graph.TensorStructInfo):
            return None
        announced = tuple([constant(extent) for extent in info.shape or ()]), numpy_dtype(info.dtype)
        return found if announced == (found.shape, found.dtype) else None

    def is_constant(self, call: graph.Call) -> bool:
        operator = operator_of(call) is not None
        if not operator and self.callee(call) is None:
            return False
        info, inputs = call.struct_info, call.args if operator else inputs_of(call)
        if not isinstance(info, graph.TensorStructInfo) or not all(map(_known, inputs)):
            return False
        sizes: list[Node] = [*graph.extents_of(info), *([] if operator else call.args[2:])]
        return not any(isinstance(node, Var) for size in sizes for node in walk(size))
