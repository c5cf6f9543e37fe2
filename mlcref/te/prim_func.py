"""From tensors to a schedulable function: one block per computed tensor, each after those it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlcref.arith.region import access_regions
from mlcref.ir import (
    Attrs,
    BlockRealize,
    Buffer,
    Const,
    Expr,
    IterVar,
    LetStmt,
    PrimFunc,
    Range,
    Stmt,
    Var,
    call,
    constant,
    load,
    loop,
    make_block,
    replace_buffers,
    seq,
    store,
    substitute,
    unique_name,
    variables,
    wellformed,
)  # fmt: skip
from mlcref.te.axis import TensorExpressionError
from mlcref.te.extern import ExternOp
from mlcref.te.reduction import Reduce
from mlcref.te.tensor import ComputeOp, Operation, PlaceholderOp, Tensor

_ATTRS = Attrs({"global_symbol": "main", "tir.noalias": True})
Origin = Callable[[Tensor], Operation]
"""Which operation makes a tensor."""


@dataclass(frozen=True, slots=True)
class Computation:
    """A function, and the names of the blocks that each operation became; an operation on several values that is no
    reduction has a block for each, in one loop nest.
    """

    func: PrimFunc
    blocks: Mapping[Operation, tuple[str, ...]]


def create_prim_func(args: Sequence[Tensor | Var]) -> PrimFunc:
    """A schedulable function that computes tensors from tensors.

    ``args`` are its parameters in order: placeholders and scalars (``te.var``) it reads, computed tensors it writes.
    Computed tensors on the way that are not among them become allocations of the root block. Extents given by
    ``te.var`` are bound by the shapes of the arguments. The function is called "main" and promises that its buffers do
    not overlap.

    Raises TensorExpressionError (te.T6) for a placeholder that is used but not among ``args``, an argument given twice,
    and a variable that nothing binds. As ``tvm.te.create_prim_func``, but expressions are kept as written (TVM
    simplifies them, floats included), and so are ``where=`` and ``init=`` of a reduction (TVM drops them).

    >>> from mlcref import te
    >>> A = te.placeholder((128,), name="A")
    >>> B = te.compute((128,), lambda i: A[i] * 2.0, name="B")
    >>> [buffer.name for buffer in te.create_prim_func([A, B]).params]
    ['A', 'B']
    """
    return computation(args, lambda tensor: tensor.op).func


def computation(args: Sequence[Tensor | Var], origin: Origin) -> Computation:
    """What :func:`create_prim_func` makes of ``args``, where ``origin`` says which operation makes a tensor."""
    params = _checked_args(args)
    tensors = [arg for arg in params if isinstance(arg, Tensor)]
    ops = sorted_operations(tensors, origin)
    if not ops:
        raise TensorExpressionError("no computed tensor is among the arguments", rule="te.T6")
    inner = [tensor for op in ops for tensor in op.outputs() if tensor not in tensors]
    buffers = {tensor.buffer: _own(tensor.buffer) for tensor in tensors + inner}
    _check_placeholders(ops, buffers)
    own_params = tuple(buffers[arg.buffer] if isinstance(arg, Tensor) else arg for arg in params)
    names = _block_names(ops)
    nests = [_nest(op, buffers, names[op]) for op in ops]
    root = make_block("root", seq(*nests), alloc_buffers=[buffers[tensor.buffer] for tensor in inner])
    func = PrimFunc(own_params, BlockRealize((), (), root), _ATTRS)
    _check_variables(func, ops)
    wellformed(func)
    return Computation(func, names)


def _own(buffer: Buffer) -> Buffer:
    return Buffer(buffer.name, buffer.shape, buffer.type, buffer.scope)


def _block_names(ops: Iterable[Operation]) -> dict[Operation, tuple[str, ...]]:
    taken, names = {"root"}, {}
    for op in ops:
        wanted = [op.name]
        if op.num_outputs > 1 and isinstance(op, ComputeOp) and not op.reduce_axis:
            wanted = [tensor.buffer.name for tensor in op.outputs()]
        own: list[str] = []
        for each in wanted:
            own.append(unique_name(each, taken))
            taken.add(own[-1])
        names[op] = tuple(own)
    return names


def _checked_args(args: Sequence[Tensor | Var]) -> list[Tensor | Var]:
    if isinstance(args, Tensor | Var) or not isinstance(args, Iterable):
        raise TensorExpressionError("create_prim_func takes a list of tensors and variables", rule="te.T6")
    for arg in args:
        if not isinstance(arg, Tensor | Var):
            raise TensorExpressionError(f"{arg!r} is neither a tensor nor a te.var", rule="te.T6")
    for position, arg in enumerate(args):
        if any(arg is other or (isinstance(arg, Tensor) and arg == other) for other in args[:position]):
            raise TensorExpressionError(f"{arg.name} is given twice to create_prim_func", rule="te.T6")
    return list(args)


def sorted_operations(outputs: Iterable[Tensor], origin: Origin) -> list[Operation]:
    """The operations that compute ``outputs`` and what these need, each after those whose tensors it reads."""
    done: dict[Operation, None] = {}
    stack = [(origin(tensor), False) for tensor in reversed(list(outputs))]
    while stack:
        op, ready = stack.pop()
        if op in done or isinstance(op, PlaceholderOp):
            continue
        if ready:
            done[op] = None
        else:
            stack.append((op, True))
            stack.extend((origin(source), False) for source in reversed(op.input_tensors))
    return list(done)


def _check_placeholders(ops: Iterable[Operation], buffers: Mapping[Buffer, Buffer]) -> None:
    for op in ops:
        for source in op.input_tensors:
            if source.buffer not in buffers:
                raise TensorExpressionError(
                    f"{op.name} reads {source.name}, which is not among the arguments", rule="te.T6",
                    hint=f"add {source.name} to the list",
                )  # fmt: skip


def _nest(op: Operation, buffers: Mapping[Buffer, Buffer], block_names: Sequence[str]) -> Stmt:
    """The loops and the blocks that compute the tensors of ``op``."""
    if isinstance(op, ExternOp):
        return op.block(block_names[0], buffers)
    assert isinstance(op, ComputeOp)
    axes = op.axis + op.reduce_axis
    loops = {axis.var: Var(axis.name, axis.dtype) for axis in axes}
    targets = [buffers[tensor.buffer] for tensor in op.outputs()]
    if len(block_names) == 1:
        nest: Stmt = _block(op, op.body, targets, buffers, block_names[0], loops)
    else:
        parts = zip(op.body, targets, block_names, strict=True)
        nest = seq(*[_block(op, (value,), [target], buffers, name, loops) for value, target, name in parts])
    for axis in reversed(axes):
        nest = loop(loops[axis.var], axis.dom.extent, nest, start=axis.dom.min)
    return nest


def _block(
    op: ComputeOp, body: Sequence[Expr], targets: Sequence[Buffer], buffers: Mapping[Buffer, Buffer], name: str,
    loops: Mapping[Var, Var],
) -> BlockRealize:  # fmt: skip
    """The block that stores the values ``body`` of ``op`` to ``targets``, its iterators bound to ``loops``."""
    axes = op.axis + op.reduce_axis
    iters = {axis.var: Var(f"v_{axis.name}", axis.dtype) for axis in axes}
    iter_vars = [IterVar(iters[axis.var], axis.dom, axis.kind) for axis in axes]
    values: tuple[Expr, ...] = tuple(loops.values())
    if not axes:
        iter_vars, values = [IterVar(Var("vi"), Range(Const(0), Const(1)), "spatial")], (Const(0),)

    def own(expr: Expr) -> Expr:
        return replace_buffers(substitute(expr, iters), buffers)

    init, update = _statements(body, targets, [iters[axis.var] for axis in op.axis], own)
    reads, writes = access_regions(update, init, _domain(iter_vars))
    block = make_block(name, update, iter_vars=iter_vars, reads=reads, writes=writes, init=init,
                       annotations=op.attrs)  # fmt: skip
    return BlockRealize(values, (), block)


def _domain(iter_vars: Iterable[IterVar]) -> dict[Var, Expr | tuple[int, int]]:
    """What is known about the values of each iterator; nothing where its start is symbolic."""
    known: dict[Var, Expr | tuple[int, int]] = {}
    for each in iter_vars:
        low, extent = constant(each.dom.min), constant(each.dom.extent)
        if low == 0:
            known[each.var] = each.dom.extent
        elif low is not None and extent is not None:
            known[each.var] = (low, low + extent - 1)
    return known


def _statements(
    body: Sequence[Expr], targets: Sequence[Buffer], indices: Sequence[Var], own: Callable[[Expr], Expr]
) -> tuple[Stmt | None, Stmt]:
    """The init (None without a reduction) and the body of the block."""
    reduce = body[0]
    if not isinstance(reduce, Reduce):
        return None, store(targets[0], own(reduce), indices)
    identities = reduce.reducer.identity(*[source.dtype for source in reduce.sources])
    sources = [own(source) for source in reduce.sources]
    if reduce.condition is not None:
        condition = own(reduce.condition)
        sources = [call("if_then_else", condition, *pair) for pair in zip(sources, identities, strict=True)]
    starts = [own(value) for value in reduce.init] or identities
    combined = reduce.reducer.combine([load(target, indices) for target in targets], sources)
    return _stores(targets, starts, indices), _update(targets, combined, indices)


def _stores(targets: Sequence[Buffer], values: Iterable[Expr], indices: Sequence[Var]) -> Stmt:
    return seq(*[store(target, value, indices) for target, value in zip(targets, values, strict=True)])


def _update(targets: Sequence[Buffer], values: Sequence[Expr], indices: Sequence[Var]) -> Stmt:
    """The stores of ``values``; several are all computed before the first is stored, as each may read all targets."""
    if len(values) == 1:
        return _stores(targets, values, indices)
    names = [Var(f"v_{target.name}", value.dtype) for target, value in zip(targets, values, strict=True)]
    body = _stores(targets, names, indices)
    for name, value in reversed(list(zip(names, values, strict=True))):
        body = LetStmt(name, value, body)
    return body


def _check_variables(func: PrimFunc, ops: Iterable[Operation]) -> None:
    bound = {*func.scalars, *func.shape_vars()}
    for op in ops:
        axes = op.axis + op.reduce_axis
        used = [extent for tensor in op.outputs() for extent in tensor.shape]
        used += [bound for axis in op.reduce_axis for bound in (axis.dom.min, axis.dom.extent)]
        used += op.body if isinstance(op, ComputeOp) else ()
        free = set().union(*map(variables, used)) - bound - {axis.var for axis in axes}
        if free:
            name = min(var.name for var in free)
            raise TensorExpressionError(
                f"{op.name} uses {name}, which nothing binds", rule="te.T6",
                hint="a reduce axis needs a reduction over it; a te.var must be an argument, or an extent of one",
            )  # fmt: skip
