"""What names mean in a tensor program: assignments, lets, allocations, block iterators."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass as mutable_dataclass
from dataclasses import field
from typing import Any

from mlcref import ir
from mlcref.errors import UnsupportedError
from mlcref.ir import Attrs, Buffer, BufferRegion, Expr, IterVar, MatchBufferRegion, Node, Range, Stmt, Var
from mlcref.ir.base import FIELDS
from mlcref.ir.typed_number import plain_attribute
from mlcref.records import dataclass
from mlcref.script import forms
from mlcref.script.macros import Closure, Macro
from mlcref.script.parse_expr import Evaluator, symbolic
from mlcref.script.scope import Scope
from mlcref.script.source import Source
from mlcref.script.type_names import DataTypeName, HandleName, LetName

Wrapper = Callable[[Stmt], Stmt]
"""Puts the statements that follow under a statement that binds a name for them."""


@mutable_dataclass
class BlockParts:
    """What the statements of a block say about it."""

    name: str
    node: ast.AST
    iter_vars: list[IterVar] = field(default_factory=list)
    values: list[Expr] = field(default_factory=list)
    predicate: tuple[Expr, ...] = ()
    alloc_buffers: list[Buffer] = field(default_factory=list)
    match_buffers: list[MatchBufferRegion] = field(default_factory=list)
    regions: dict[str, tuple[BufferRegion, ...]] = field(default_factory=dict)
    init: Stmt | None = None
    annotations: dict[str, Any] = field(default_factory=dict)
    mismatches: list[tuple[ast.AST, str, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class FunctionOptions:
    """What the decorator of a function says."""

    private: bool = False
    schedulable: bool = True
    check_well_formed: bool = True


class NameBinder:
    """The state of parsing one function, and what it means to bind a name."""

    def __init__(self, source: Source, env: Mapping[str, Any], options: FunctionOptions) -> None:
        self.source = source
        self.options = options
        self.scope = Scope(env)
        self.evaluate = Evaluator(source, self.scope)
        self.params: dict[str, Buffer | Var | None] = {}
        self.attrs: dict[str, Any] = {}
        self.ranges: dict[Var, Range] = {}
        self.blocks: list[BlockParts] = []
        self.origin: dict[Node, ast.AST] = {}
        self.lets: set[Var] = set()
        self.reassigned: set[ast.AST] = set()
        self.dims: dict[str, Var] = {}
        self.pointers: dict[Var, Expr] = {}

    def assign(self, node: ast.Assign) -> Stmt | Wrapper | None:
        if len(node.targets) != 1:
            raise self.source.unsupported(node, "a chained assignment")
        target = node.targets[0]
        value = self.evaluate.value(node.value)
        if isinstance(target, ast.Subscript):
            return self.store(target, value, node)
        return self.store_cell(target, value, node) or self.bind(target, value, node)

    def annotated(self, node: ast.AnnAssign) -> Stmt | Wrapper | None:
        """``x: T.int32 = e``, ``x: T.let[T.int32] = e`` and ``n: T.int64``; in a flat function, variables that are
        stored to."""
        if not isinstance(node.target, ast.Name):
            raise self.source.error(node.target, "a name is expected here")
        annotation = self.evaluate.value(node.annotation)
        if isinstance(annotation, LetName | HandleName) and node.value is not None:
            kind = annotation.type if isinstance(annotation, LetName) else annotation
            return self.annotated_let(node.target, kind, node.value, node)
        if not isinstance(annotation, DataTypeName):
            raise self.source.error(node.annotation, f"{ast.unparse(node.annotation)} is no data type")
        flat = not self.options.schedulable
        if node in self.reassigned or (flat and node.value is None):
            return self.cell(node.target.id, annotation.dtype, node)
        if node.value is None:
            self.scope.define(node.target.id, Var(node.target.id, annotation.dtype))
            return None
        value = self.evaluate.build(node.value, ir.cast, annotation.dtype, self.evaluate.value(node.value))
        return self.let(node.target, value, node)

    def annotated_let(self, target: ast.Name, kind: Any, value_node: ast.expr, node: ast.stmt) -> Wrapper | None:
        """``x: T.let[T.int32] = e``; a pointer is another name for the memory."""
        value = self.evaluate.value(value_node)
        if isinstance(value, forms.DataOf):
            self.scope.define(target.id, value)
            return None
        dtype = getattr(kind, "dtype", None)
        if dtype is not None:
            value = self.evaluate.build(value_node, ir.cast, dtype, value)
        return self.let(target, self.evaluate.build(value_node, ir.as_expr, value), node)

    def cell(self, name: str, dtype: str, node: ast.AnnAssign) -> Stmt | Wrapper | None:
        """``x: T.float32``: memory of one element, each thread's own."""
        buffer = Buffer(name, (ir.Const(1),), dtype, "local")
        start: Stmt | None = None
        if node.value is not None:
            value = self.evaluate.build(node.value, ir.cast, dtype, self.evaluate.value(node.value))
            start = ir.BufferStore(buffer, value, (ir.Const(0),))
        self.scope.define(name, forms.Cell(buffer))
        if self.options.schedulable:
            self.blocks[-1].alloc_buffers.append(buffer)
            return start
        return lambda body: ir.AllocBuffer(buffer, ir.seq(start, body), Attrs())

    def store_cell(self, target: ast.expr, value: Any, node: ast.stmt) -> Stmt | None:
        """The store to a variable; None when ``target`` names none."""
        if not isinstance(target, ast.Name) or target.id not in self.scope:
            return None
        cell = self.scope.lookup(target.id)
        if not isinstance(cell, forms.Cell):
            return None
        converted = self.evaluate.build(node, ir.cast, cell.buffer.type, value)
        return ir.BufferStore(cell.buffer, converted, (ir.Const(0),))

    def augmented(self, node: ast.AugAssign) -> Stmt | Wrapper | None:
        current = self.evaluate.value(node.target)
        value = self.evaluate.arithmetic(node, node.op, current, self.evaluate.value(node.value))
        if isinstance(node.target, ast.Subscript):
            return self.store(node.target, value, node)
        return self.store_cell(node.target, value, node) or self.bind(node.target, value, node)

    def store(self, target: ast.Subscript, value: Any, node: ast.stmt) -> Stmt:
        place = self.evaluate.value(target)
        if isinstance(place, forms.BufferSlice):
            indices = self.evaluate.build(target, place.indices)
            place = ir.BufferLoad(place.region.buffer, indices)
        if not isinstance(place, ir.BufferLoad):
            raise self.source.error(target, "only an element of a buffer can be stored to")
        converted = self.evaluate.build(node, ir.cast, place.dtype, value)
        return ir.BufferStore(place.buffer, converted, place.indices)

    def bind(self, target: ast.expr, value: Any, node: ast.stmt) -> Wrapper | None:
        """What ``target = value`` means for the statements that follow."""
        if isinstance(value, forms.Axes):
            self.axes(target, value, node)
            return None
        if isinstance(target, ast.Tuple | ast.List):
            return self.bind_each(target, value, node)
        if not isinstance(target, ast.Name):
            raise self.source.error(target, "a name or an element of a buffer is expected here")
        handler = _BIND.get(type(value))
        if handler is not None:
            return handler(self, target.id, value, node)
        if isinstance(value, Var) and not value.name:
            if self.dims.pop(target.id, None) is None:
                self.scope.define(target.id, Var(target.id, value.dtype))
            return None
        if isinstance(value, forms.DataOf):
            self.scope.define(target.id, value)
            return None
        if symbolic(value) or isinstance(value, bool | int | float):
            return self.let(target, self.evaluate.build(node, ir.as_expr, value), node)
        if isinstance(value, Buffer | str | tuple | list | Mapping | Closure | Macro):
            self.evaluate.build(node, self.evaluate.check_size, value)
            self.scope.define(target.id, value)
            return None
        raise self.source.error(node, f"a {type(value).__name__} cannot be bound to a name")

    def bind_each(self, target: ast.Tuple | ast.List, value: Any, node: ast.stmt) -> Wrapper:
        if not isinstance(value, tuple | list) or len(value) != len(target.elts):
            raise self.source.error(target, f"{len(target.elts)} names for {_count(value)} values")
        wrappers = [self.bind(part, item, node) for part, item in zip(target.elts, value, strict=True)]
        return lambda body: fold([*(w for w in wrappers if w is not None), body])

    def let(self, target: ast.Name, value: Expr, node: ast.stmt) -> Wrapper:
        if self.scope.outer(target.id) in self.lets:
            what = f"{target.id} is bound outside of this statement list and keeps its value there"
            hint = f"give this value another name, or keep it in a buffer: {target.id} = T.alloc_buffer((1,), ...)"
            raise self.source.error(node, what, hint, rule="script.let")
        var = Var(target.id, value.dtype)
        self.lets.add(var)
        self.pointers[var] = value
        self.scope.define(target.id, var)
        return lambda body: ir.LetStmt(var, value, body)

    def bind_let(self, name: str, value: forms.Binding, node: ast.stmt) -> Wrapper:
        return self.let(ast.copy_location(ast.Name(name), node), value.value, node)

    def bind_meta(self, name: str, value: forms.MetaValue, node: ast.stmt) -> None:
        self.evaluate.build(node, self.evaluate.check_size, value.value)
        self.scope.define(name, value.value)

    def bind_thread(self, name: str, value: forms.Thread, node: ast.stmt) -> None:
        self.scope.define(name, forms.Thread(value.tag, name))

    def bind_launch(self, name: str, value: forms.Launch, node: ast.stmt) -> Wrapper:
        """A thread axis over the statements that follow is a loop bound to it."""
        kind = value.extent.dtype
        var, dim = Var(name, kind), Range(ir.Const(0, kind), value.extent)
        self.scope.define(name, var)
        self.ranges[var] = dim
        return lambda body: ir.For(var, dim.min, dim.extent, "thread_binding", body, value.thread.tag, Attrs())

    def bind_allocation(self, name: str, value: forms.Allocation, node: ast.stmt) -> Wrapper | None:
        buffer = named(value.buffer, name)
        self.scope.define(name, forms.DataOf(buffer) if value.pointer else buffer)
        if not self.options.schedulable:
            if value.block:
                raise self.source.error(
                    node, "a block allocation in a flat function", "use T.alloc_buffer", rule="script.flat"
                )
            annotations = Attrs(plain_attribute(dict(value.annotations or {})))
            return lambda body: ir.AllocBuffer(buffer, ir.seq(*_filled(value, buffer), body), annotations)
        if value.pointer:
            hint = "use T.alloc_buffer, or decorate the function with s_tir=False"
            raise self.source.error(node, "T.allocate in a function with blocks", hint, rule="script.flat")
        if value.annotations:
            raise self.source.unsupported(node, "annotations of a block's allocation")
        self.blocks[-1].alloc_buffers.append(buffer)
        return None

    def bind_declaration(self, name: str, value: forms.Declaration, node: ast.stmt) -> Wrapper | None:
        buffer, source = named(value.buffer, name), value.source
        if isinstance(source, Var):
            source, offset = self.evaluate.build(node, pointed_at, self.pointers.get(source))
            own = buffer.elem_offset
            shifted = offset if own is None else self.evaluate.build(node, ir.binary, ir.Add, offset, own)
            buffer = ir.replace(buffer, elem_offset=shifted)
        self.scope.define(name, buffer)
        if isinstance(source, forms.HandleParameter):
            if source.used:
                raise self.source.error(node, f"{source.name} is used before it is declared as a buffer")
            self.params[source.name] = buffer
            self.scope.frames[0][source.name] = forms.DataOf(buffer)
            return None
        origin = source
        return lambda body: ir.DeclBuffer(buffer, origin, body)

    def bind_match(self, name: str, value: forms.Match, node: ast.stmt) -> None:
        buffer = named(value.buffer, name)
        self.scope.define(name, buffer)
        source = value.source
        if isinstance(source, BufferRegion):
            self.blocks[-1].match_buffers.append(MatchBufferRegion(buffer, source))
            self.evaluate.matched.add(buffer)
        elif self.params[source.name] is not None:
            raise self.source.error(node, f"{source.name} is matched to a buffer already")
        else:
            self.params[source.name] = buffer
            self.scope.frames[0][source.name] = forms.DataOf(buffer)

    def target_names(self, node: ast.expr) -> list[str]:
        parts = node.elts if isinstance(node, ast.Tuple | ast.List) else [node]
        for part in parts:
            if not isinstance(part, ast.Name):
                raise self.source.error(part, "a name is expected here")
        return [part.id for part in parts if isinstance(part, ast.Name)]

    def axes(self, target: ast.expr, value: forms.Axes, node: ast.stmt) -> None:
        """``vi = T.axis.spatial(128, i)``, ``vi, vj = T.axis.remap("SS", [i, j])``."""
        names = self.target_names(target)
        if len(self.blocks) == 1:
            raise self.source.error(node, "T.axis stands outside of a block")
        if len(names) != len(value.values):
            raise self.source.error(target, f"{len(names)} names for {len(value.values)} iterators")
        for name, kind, domain, binding in zip(names, value.iter_types, value.domains, value.values, strict=True):
            self.axis(name, kind, domain, binding, node)

    def axis(self, name: str, kind: str, domain: Range | None, binding: Expr, node: ast.stmt) -> None:
        loop = self.ranges.get(binding) if isinstance(binding, Var) else None
        if domain is None:
            if loop is None:
                what = f"T.axis.remap: {_name_of(binding)} is no loop variable"
                raise self.source.error(node, what, "use T.axis.spatial with a domain")
            domain = Range(loop.min, loop.extent)
        parts = self.blocks[-1]
        var = Var(name, domain.extent.dtype)
        self.scope.define(name, var)
        parts.iter_vars.append(IterVar(var, domain, kind))
        parts.values.append(binding)
        if loop is not None:
            self.compare_extents(name, domain, binding, loop, node)

    def compare_extents(self, name: str, domain: Range, binding: Expr, loop: Range, node: ast.stmt) -> None:
        extent, domain_extent = ir.constant(loop.extent), ir.constant(domain.extent)
        fixed = ir.constant(domain.min) is not None and ir.constant(loop.min) is not None
        if extent is None or domain_extent is None or extent == domain_extent or not fixed:
            return
        what = f"loop {_name_of(binding)} has extent {extent} but axis {name} has domain {domain_extent}"
        self.blocks[-1].mismatches.append((getattr(node, "value", node), what, extent > domain_extent))


def pointed_at(pointer: Expr | None) -> tuple[Buffer, Expr]:
    """The buffer that a pointer points into, and how many elements from its first one; raises for other pointers."""
    place = pointer.args[1] if isinstance(pointer, ir.Call) and pointer.op == "tvm_access_ptr" else pointer
    load = place.args[0] if isinstance(place, ir.Call) and place.op in ("buffer_data", "address_of") else None
    if not isinstance(load, ir.BufferLoad) or load.buffer.strides or load.buffer.elem_offset is not None:
        raise UnsupportedError("memory behind a pointer that is no address of an element", hint="write data=A.data")
    offset = pointer.args[2] if place is not pointer and isinstance(pointer, ir.Call) else _position(load)
    if ir.any_node(offset, ir.BufferLoad):
        raise UnsupportedError("memory behind a pointer whose place depends on the contents of a buffer")
    return load.buffer, offset


def _position(load: ir.BufferLoad) -> Expr:
    """The place of an element in a dense buffer."""
    result = ir.as_expr(0)
    for index, extent in zip(load.indices, load.buffer.shape, strict=True):
        result = ir.binary(ir.Add, ir.binary(ir.Mul, result, extent), index)
    return result


def _filled(value: forms.Allocation, buffer: Buffer) -> list[Stmt]:
    """The stores of the constants of ``T.allocate_const``."""
    stores: list[Stmt] = []
    sizes = [ir.constant(extent) or 1 for extent in buffer.shape]
    for place, content in enumerate(value.contents):
        indices: list[Expr] = []
        for size in reversed(sizes):
            place, at = divmod(place, size)
            indices.insert(0, ir.Const(at))
        stores.append(ir.BufferStore(buffer, content, tuple(indices)))
    return stores


def fold(parts: Sequence[Stmt | Wrapper]) -> Stmt:
    """One statement: each wrapper goes around what follows it."""
    following: list[Stmt] = []
    for part in reversed(parts):
        if isinstance(part, Node):
            following.insert(0, part)
        else:
            following = [part(_sequence(following))]
    return _sequence(following)


def _sequence(stmts: list[Stmt]) -> Stmt:
    return ir.seq(*stmts) if stmts else ir.Evaluate(ir.Const(0))


def named(buffer: Buffer, name: str) -> Buffer:
    """A new buffer like ``buffer`` under ``name``."""
    return Buffer(name, *[getattr(buffer, field_name) for field_name, _, _ in FIELDS[Buffer][1:]])


def _name_of(value: Any) -> str:
    return value.name if isinstance(value, Var) else ast.unparse(value) if isinstance(value, ast.AST) else str(value)


def _count(value: Any) -> str:
    return str(len(value)) if isinstance(value, tuple | list) else "one"


_BIND: dict[type, Callable[[NameBinder, str, Any, Any], Wrapper | None]] = {
    forms.Binding: NameBinder.bind_let, forms.MetaValue: NameBinder.bind_meta,
    forms.Allocation: NameBinder.bind_allocation, forms.Declaration: NameBinder.bind_declaration,
    forms.Match: NameBinder.bind_match, forms.Thread: NameBinder.bind_thread, forms.Launch: NameBinder.bind_launch,
}  # fmt: skip
