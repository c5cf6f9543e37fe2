"""The names of ``T`` for statements: loops, blocks, buffers, attributes. They make records of ``script.forms``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlcref import dtype as dt
from mlcref.errors import TypeMismatch
from mlcref.ir import (
    Break, CommReducer, Const, Continue, Expr, ExprLike, Range, Target, Var, as_expr, cast, const, constant,
)  # fmt: skip
from mlcref.ir.stmt import THREAD_TAGS
from mlcref.script import forms
from mlcref.script.macros import comm_reducer as comm_reducer
from mlcref.script.type_names import declared, dtype_of, new_buffer

Annotations = Mapping[str, Any] | None


def grid(*extents: Any) -> forms.Loops:
    """A nest of serial loops from zero; an extent may be a pair ``(start, stop)``."""
    pairs = [extent if isinstance(extent, tuple) else (0, extent) for extent in extents]
    return forms.Loops("serial", tuple(forms.span(*pair) for pair in pairs))


def _loop(
    kind: str, start: ExprLike, stop: Any, annotations: Annotations, thread: str | None = None, step: Any = None
) -> forms.Loops:
    low, high = (0, start) if stop is None else (start, stop)
    dim = forms.span(low, high)
    return forms.Loops(kind, (dim,), thread, annotations, step_of(dim, step))


def step_of(dim: Range, step: Any) -> Expr | None:
    """The step of a loop over ``dim``, in its type; None for steps of one."""
    if step is None or constant(as_expr(step)) == 1:
        return None
    expr = as_expr(step)
    if not dt.is_integer(expr.dtype):
        raise TypeMismatch(f"the step of a loop is an integer, not {expr.dtype}")
    number = constant(expr)
    if number is not None and number <= 0:
        raise TypeMismatch(f"the step of a loop is positive, not {number}", hint="count up and turn the index round")
    return cast(dim.extent.dtype, expr)


def serial(start: ExprLike, stop: Any = None, *, annotations: Annotations = None, step: Any = None) -> forms.Loops:
    """A serial loop from ``start`` (0 when there is one argument) up to ``stop``, by steps of ``step``."""
    return _loop("serial", start, stop, annotations, step=step)


def parallel(start: ExprLike, stop: Any = None, *, annotations: Annotations = None, step: Any = None) -> forms.Loops:
    """A loop whose iterations may run at the same time."""
    return _loop("parallel", start, stop, annotations, step=step)


def vectorized(start: ExprLike, stop: Any = None, *, annotations: Annotations = None, step: Any = None) -> forms.Loops:
    """A loop whose iterations become the lanes of a vector."""
    return _loop("vectorized", start, stop, annotations, step=step)


def unroll(start: ExprLike, stop: Any = None, *, annotations: Annotations = None, step: Any = None) -> forms.Loops:
    """A loop that is written out."""
    return _loop("unrolled", start, stop, annotations, step=step)


def thread_binding(
    start: ExprLike, stop: Any = None, thread: str | None = None, *, annotations: Annotations = None
) -> forms.Loops:
    """A loop bound to a thread axis: ``T.thread_binding(16, thread="blockIdx.x")``."""
    if isinstance(stop, str):
        stop, thread = None, stop
    if not isinstance(thread, str):
        raise TypeMismatch("T.thread_binding needs a thread axis", hint='write thread="blockIdx.x"')
    return _loop("thread_binding", start, stop, annotations, thread)


def block(name: str = "", no_realize: bool = False) -> forms.BlockHeader:
    """A block: ``with T.block("C"):``."""
    if no_realize:
        raise TypeMismatch("T.block(no_realize=True) is not supported: every block has bound iterators")
    return forms.BlockHeader(name)


def init() -> forms.Init:
    """The initialisation of a reduction block: ``with T.init():``."""
    return forms.Init()


def reads(*regions: Any) -> forms.Access:
    """What a block reads: ``T.reads(A[vi, 0:16], B)``."""
    return forms.Access("reads", _regions(regions))


def writes(*regions: Any) -> forms.Access:
    """What a block writes."""
    return forms.Access("writes", _regions(regions))


def _regions(items: tuple[Any, ...]) -> tuple[Any, ...]:
    flat = [part for item in items for part in (item if isinstance(item, tuple | list) else (item,))]
    return tuple(forms.region_of(part) for part in flat)


def where(condition: ExprLike) -> forms.Where:
    """The instances in which a block runs."""
    return forms.Where(as_expr(condition))


def func_attr(attrs: Mapping[str, Any]) -> forms.Attributes:
    """Attributes of the function."""
    return forms.Attributes("function", attrs)


def block_attr(attrs: Mapping[str, Any]) -> forms.Attributes:
    """Annotations of the block."""
    return forms.Attributes("block", attrs)


def alloc_buffer(
    shape: Any, dtype: Any = "float32", data: None = None, strides: Any = None, elem_offset: Any = None, scope: str =
    "global",
    align: int = 0, offset_factor: int = 0, *, annotations: Annotations = None,
) -> forms.Allocation:  # fmt: skip
    """A buffer of the block around it; in a flat function, of the statements that follow."""
    _no_data(data)
    return forms.Allocation(
        new_buffer(shape, dtype, strides, elem_offset, scope, align, offset_factor), False, annotations
    )


def sblock_alloc_buffer(
    shape: Any, dtype: Any = "float32", data: None = None, strides: Any = None, elem_offset: Any = None, scope: str =
    "global",
    align: int = 0, offset_factor: int = 0,
) -> forms.Allocation:  # fmt: skip
    """A buffer of the block around it."""
    _no_data(data)
    return forms.Allocation(new_buffer(shape, dtype, strides, elem_offset, scope, align, offset_factor), True)


def allocate(
    extents: Any, dtype: Any = "float32", scope: str = "global", condition: Any = None, *,
    annotations: Annotations = None,
) -> forms.Allocation:  # fmt: skip
    """Memory by a pointer, for :func:`decl_buffer`: ``p = T.allocate([64], "float32", "global")``."""
    if condition is not None and constant(as_expr(condition)) != 1:
        raise TypeMismatch("T.allocate takes no condition")
    return forms.Allocation(new_buffer(extents, dtype, scope=scope), False, annotations, pointer=True)


MAX_CONSTANTS = 4096


def allocate_const(
    data: Any, dtype: Any, extents: Any, *, annotations: Annotations = None
) -> forms.Allocation:
    """Memory with constants in it, by a pointer: ``p = T.allocate_const([1, 2], "int32", [2])``."""
    kind = dtype_of(dtype)
    contents = tuple(const(item.value if isinstance(item, Const) else item, kind) for item in data)
    buffer = new_buffer(extents, kind)
    count = math.prod(constant(extent) or 0 for extent in buffer.shape)
    if len(contents) != count or not 1 <= count <= MAX_CONSTANTS:
        raise TypeMismatch(f"T.allocate_const of {count} elements is given {len(contents)}, at most {MAX_CONSTANTS}")
    return forms.Allocation(buffer, False, annotations, pointer=True, contents=contents)


def ret(value: ExprLike) -> forms.Returned:
    """End the function with ``value``."""
    return forms.Returned(as_expr(value))


def _no_data(data: Any) -> None:
    if data is not None:
        raise TypeMismatch("an allocation has memory of its own: data= is for T.decl_buffer")


def decl_buffer(
    shape: Any, dtype: Any = "float32", data: Any = None, strides: Any = None, elem_offset: Any = None, scope: str =
    "global",
    align: int = 0, offset_factor: int = 0,
) -> forms.Declaration | forms.Allocation:  # fmt: skip
    """Another view of a buffer's memory: ``B = T.decl_buffer((64,), data=A.data)``; without ``data``, an allocation."""
    if data is not None:
        return declared(data, shape, dtype, strides, elem_offset, scope, align, offset_factor)
    return forms.Allocation(new_buffer(shape, dtype, strides, elem_offset, scope, align, offset_factor), False)


def alloc_shared(shape: Any, dtype: Any = "float32", *, annotations: Annotations = None, **options: Any) -> Any:
    """:func:`alloc_buffer` in shared memory."""
    return alloc_buffer(shape, dtype, scope="shared", annotations=annotations, **options)


def alloc_local(shape: Any, dtype: Any = "float32", *, annotations: Annotations = None, **options: Any) -> Any:
    """:func:`alloc_buffer` in memory that each thread has of its own."""
    return alloc_buffer(shape, dtype, scope="local", annotations=annotations, **options)


def env_thread(thread_tag: str, dtype: Any = "int32") -> forms.Thread:
    """A thread axis, opened by :func:`launch_thread`."""
    if dtype_of(dtype) != "int32":
        raise TypeMismatch("thread axes count in int32 here")
    if thread_tag not in THREAD_TAGS:
        raise TypeMismatch(f"unknown thread axis {thread_tag!r}", hint=f"axes: {', '.join(THREAD_TAGS)}")
    return forms.Thread(thread_tag)


def launch_thread(thread: Any, extent: ExprLike) -> forms.Launch:
    """A thread axis over the statements under it: ``with T.launch_thread("threadIdx.x", 32) as tx:``."""
    axis = env_thread(thread) if isinstance(thread, str) else thread
    if not isinstance(axis, forms.Thread):
        raise TypeMismatch("T.launch_thread needs a thread axis", hint='write T.launch_thread("threadIdx.x", 32)')
    return forms.Launch(axis, as_expr(extent))


def break_loop() -> forms.Jump:
    """``break``."""
    return forms.Jump(Break)


def continue_loop() -> forms.Jump:
    """``continue``."""
    return forms.Jump(Continue)


def match_buffer(
    param: Any, shape: Any = None, dtype: Any = None, data: None = None, strides: Any = None, elem_offset: Any = None,
    scope: str = "global", align: int = 0, offset_factor: int = 0, buffer_type: str = "default",
) -> forms.Match:  # fmt: skip
    """The buffer behind a handle parameter, or a name for a region: ``T.match_buffer(A[0:16, 0:16], (16, 16))``."""
    if data is not None or buffer_type not in ("default", ""):
        raise TypeMismatch("T.match_buffer takes no data and no buffer_type here")
    if isinstance(param, forms.DataOf):
        raise TypeMismatch(f"the memory of {param.buffer.name} is matched to a buffer already")
    if isinstance(param, forms.HandleParameter):
        if param.used:
            raise TypeMismatch(f"{param.name} is used before it is matched to a buffer")
        if shape is None:
            raise TypeMismatch(f"T.match_buffer({param.name}) needs a shape")
        return forms.Match(
            new_buffer(shape, dtype or "float32", strides, elem_offset, scope, align, offset_factor), param
        )
    source = forms.region_of(param)
    extents = tuple(dim.extent for dim in source.region) if shape is None else shape
    element = source.buffer.type if dtype is None else dtype_of(dtype)
    return forms.Match(new_buffer(extents, element, strides, elem_offset, scope, align, offset_factor), source)


def evaluate(value: ExprLike) -> forms.Evaluation | forms.Returned:
    """Evaluate an expression for its effect."""
    if isinstance(value, forms.Returned):
        return value
    return forms.Evaluation(as_expr(value))


def bind(value: ExprLike, var: Any = None) -> forms.Binding:
    """``x = T.bind(value)``: a variable for the statements that follow."""
    if var is not None:
        raise TypeMismatch("the variable of a let is the name it is assigned to", hint="write x = T.bind(value)")
    return forms.Binding(as_expr(value))


def attr(node: Any, attr_key: str | None = None, value: Any = None) -> Any:
    """An attribute of the statements under it: ``with T.attr(x, "pragma_unroll", 1):`` or ``T.attr({key: value})``;
    the attribute "thread_extent" of a thread axis is :func:`launch_thread`."""
    if isinstance(node, Mapping) and attr_key is None:
        return forms.AttributeTable(tuple(forms.Attribute(None, str(k), as_expr(v)) for k, v in node.items()))
    if isinstance(node, forms.Thread) and attr_key in ("thread_extent", "virtual_thread"):
        return launch_thread(node, value)
    target = None if isinstance(node, int) else node
    if target is not None and not isinstance(target, Var | CommReducer):
        raise TypeMismatch("T.attr applies to a variable, to a reduction or to None")
    return forms.Attribute(target, str(attr_key), as_expr(value))


def Assert(condition: ExprLike, message: Any = "") -> forms.Assertion:
    """Stop with ``message`` unless ``condition`` holds."""
    return forms.Assertion(as_expr(condition), message_of(message))


def message_of(message: Any) -> str:
    """The text of an assertion's message; TVM writes ``("RuntimeError", ["text", …])``."""
    if isinstance(message, tuple) and len(message) == 2 and isinstance(message[1], tuple | list):
        message = "".join(str(part) for part in message[1])
    if not isinstance(message, str):
        raise TypeMismatch("the message of an assertion is a string")
    return message


def meta_var(value: Any) -> forms.MetaValue:
    """A name for a value of the parser: ``x = T.meta_var(4)`` binds no variable of the program."""
    return forms.MetaValue(value)


def var(dtype: Any, name: str = "") -> Var:
    """A new variable: ``n = T.var("int64")``."""
    return Var(name, dtype_of(dtype))


def target(spec: Any, host: Any = None) -> Target:
    """A compilation target, as an attribute of a function."""
    if host is not None:
        raise TypeMismatch("T.target takes no host: the host part is always this machine")
    return Target(spec)


def spatial(dom: Any, binding: ExprLike, dtype: Any = None) -> forms.Axes:
    """A block iterator over which instances are independent: ``vi = T.axis.spatial(128, i)``."""
    return _axis("spatial", dom, binding, dtype)


def reduce(dom: Any, binding: ExprLike, dtype: Any = None) -> forms.Axes:
    """A block iterator of a reduction."""
    return _axis("reduce", dom, binding, dtype)


def scan(dom: Any, binding: ExprLike, dtype: Any = None) -> forms.Axes:
    """A block iterator whose instances run in order."""
    return _axis("scan", dom, binding, dtype)


def opaque(dom: Any, binding: ExprLike, dtype: Any = None) -> forms.Axes:
    """A block iterator of which nothing is known."""
    return _axis("opaque", dom, binding, dtype)


def _axis(kind: str, dom: Any, binding: ExprLike, dtype: Any) -> forms.Axes:
    value = as_expr(binding)
    low, high = dom if isinstance(dom, tuple | list) else (0, dom)
    if isinstance(low, int) and isinstance(high, int):
        low, high = as_expr(low, value.dtype), as_expr(high, value.dtype)
    domain = forms.span(low, high)
    if dtype is not None:
        domain = Range(cast(dtype_of(dtype), domain.min), cast(dtype_of(dtype), domain.extent))
    return forms.Axes((kind,), (domain,), (value,))


_KINDS = {"S": "spatial", "R": "reduce", "O": "opaque"}


def remap(kinds: str, bindings: Any) -> forms.Axes:
    """Iterators bound to loops, with the loops' ranges as domains: ``vi, vk = T.axis.remap("SR", [i, k])``."""
    values = tuple(bindings) if isinstance(bindings, tuple | list) else (bindings,)
    if len(kinds) != len(values):
        raise TypeMismatch(f"T.axis.remap: {len(kinds)} iterator types for {len(values)} loops")
    for kind in kinds:
        if kind not in _KINDS:
            raise TypeMismatch(f"T.axis.remap: unknown iterator type {kind!r}", hint="S is spatial, R is reduce")
    for value in values:
        if not isinstance(value, Var):
            raise TypeMismatch(
                "T.axis.remap binds iterators to loop variables", hint="use T.axis.spatial for an expression"
            )
    return forms.Axes(tuple(_KINDS[kind] for kind in kinds), (None,) * len(values), values)


__all__ = [
    "Assert", "alloc_buffer", "alloc_local", "alloc_shared", "allocate", "allocate_const", "attr", "bind",
    "break_loop", "comm_reducer", "continue_loop", "env_thread", "launch_thread", "block", "block_attr",
    "decl_buffer", "evaluate", "func_attr", "grid", "init", "match_buffer", "meta_var", "parallel", "reads", "ret",
    "sblock_alloc_buffer", "serial", "target", "thread_binding", "unroll", "var", "vectorized", "where", "writes",
]  # fmt: skip
