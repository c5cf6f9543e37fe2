"""From tensors to a schedulable function: one block per computed tensor, each after those it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mlcref.arith.region import access_regions
from mlcref.ir import (
    Attrs,
    BlockRealize,
    Buffer,
    Const,
    Expr,
    IterVar,
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
from mlcref.te.reduction import Reduce
from mlcref.te.tensor import ComputeOp, PlaceholderOp, Tensor

Stage = tuple[Tensor, ComputeOp]
_ATTRS = Attrs({"global_symbol": "main", "tir.noalias": True})


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
    params = _checked_args(args)
    tensors = [arg for arg in params if isinstance(arg, Tensor)]
    stages = _stages(tensors)
    inner = [tensor for tensor, _ in stages if tensor not in tensors]
    buffers = {tensor.buffer: Buffer(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors + inner}
    _check_placeholders(stages, buffers)
    own_params = tuple(buffers[arg.buffer] if isinstance(arg, Tensor) else arg for arg in params)
    func = PrimFunc(own_params, _root(stages, inner, buffers), _ATTRS)
    _check_variables(func, stages)
    wellformed(func)
    return func


def _root(stages: Iterable[Stage], inner: Iterable[Tensor], buffers: Mapping[Buffer, Buffer]) -> BlockRealize:
    names = {"root"}
    nests = []
    for tensor, op in stages:
        name = unique_name(op.name, names)
        names.add(name)
        nests.append(_nest(tensor, op, buffers, name))
    allocated = [buffers[tensor.buffer] for tensor in inner]
    return BlockRealize((), (), make_block("root", seq(*nests), alloc_buffers=allocated))


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


def _stages(outputs: Iterable[Tensor]) -> list[Stage]:
    """The computed tensors that ``outputs`` need, themselves included, each after those it reads."""
    done: dict[Tensor, ComputeOp] = {}
    stack = [(tensor, False) for tensor in reversed(list(outputs))]
    while stack:
        tensor, ready = stack.pop()
        op = tensor.op
        if tensor in done or isinstance(op, PlaceholderOp):
            continue
        if ready:
            done[tensor] = op
        else:
            stack.append((tensor, True))
            stack.extend((source, False) for source in reversed(op.input_tensors))
    if not done:
        raise TensorExpressionError("no computed tensor is among the arguments", rule="te.T6")
    return list(done.items())


def _check_placeholders(stages: Iterable[Stage], buffers: Mapping[Buffer, Buffer]) -> None:
    for _, op in stages:
        for source in op.input_tensors:
            if source.buffer not in buffers:
                raise TensorExpressionError(
                    f"{op.name} reads {source.name}, which is not among the arguments", rule="te.T6",
                    hint=f"add {source.name} to the list",
                )  # fmt: skip


def _nest(tensor: Tensor, op: ComputeOp, buffers: Mapping[Buffer, Buffer], block_name: str) -> Stmt:
    """The loops and the block that compute ``tensor``."""
    axes = op.axis + op.reduce_axis
    iters = {axis.var: Var(f"v_{axis.name}", axis.dtype) for axis in axes}
    loops = {axis.var: Var(axis.name, axis.dtype) for axis in axes}
    iter_vars = [IterVar(iters[axis.var], axis.dom, axis.kind) for axis in axes]
    values: tuple[Expr, ...] = tuple(loops.values())
    if not axes:
        iter_vars, values = [IterVar(Var("vi"), Range(Const(0), Const(1)), "spatial")], (Const(0),)

    def own(expr: Expr) -> Expr:
        return replace_buffers(substitute(expr, iters), buffers)

    init, update = _statements(op.body, buffers[tensor.buffer], [iters[axis.var] for axis in op.axis], own)
    reads, writes = access_regions(update, init, _domain(iter_vars))
    block = make_block(block_name, update, iter_vars=iter_vars, reads=reads, writes=writes, init=init,
                       annotations=op.attrs)  # fmt: skip
    nest: Stmt = BlockRealize(values, (), block)
    for axis in reversed(axes):
        nest = loop(loops[axis.var], axis.dom.extent, nest, start=axis.dom.min)
    return nest


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
    body: Expr, target: Buffer, indices: Sequence[Var], own: Callable[[Expr], Expr]
) -> tuple[Stmt | None, Stmt]:
    """The init (None without a reduction) and the body of the block."""
    if not isinstance(body, Reduce):
        return None, store(target, own(body), indices)
    identity = body.reducer.identity(body.dtype)
    source = own(body.source)
    if body.condition is not None:
        source = call("if_then_else", own(body.condition), source, identity)
    start = identity if body.init is None else own(body.init)
    return store(target, start, indices), store(target, body.reducer.combine(load(target, indices), source), indices)


def _check_variables(func: PrimFunc, stages: Iterable[Stage]) -> None:
    bound = {*func.scalars, *func.shape_vars()}
    for tensor, op in stages:
        axes = op.axis + op.reduce_axis
        used = [op.body, *tensor.shape, *(axis.dom.min for axis in axes), *(axis.dom.extent for axis in axes)]
        free = set().union(*map(variables, used)) - bound - {axis.var for axis in axes}
        if free:
            name = min(var.name for var in free)
            raise TensorExpressionError(
                f"{tensor.name} uses {name}, which nothing binds", rule="te.T6",
                hint="a reduce axis needs a reduction over it; a te.var must be an argument, or an extent of one",
            )  # fmt: skip
