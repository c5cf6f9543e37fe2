"""A program whose parameter has a new layout, called with the old one: what makes the two comparable."""

from __future__ import annotations

from collections.abc import Sequence

from mlcref.arith import IndexMap
from mlcref.errors import MlcrefError
from mlcref.ir import (
    EQ, AssertStmt, BlockRealize, Buffer, BufferStore, Const, Expr, For, IfThenElse, PrimFunc, Stmt, Var, any_node,
    cast, const, load, replace, seq, walk,
)  # fmt: skip


def in_old_layout(
    func: PrimFunc, name: str, shape: Sequence[int], index_map: IndexMap, pad_value: IndexMap | None = None
) -> PrimFunc:
    """``func`` with its parameter ``name`` taken and given back in the old layout, of the given ``shape``.

    The new program copies the argument to a buffer in the new layout, element by element as ``index_map`` says, does
    what ``func`` does, and copies it back if ``func`` writes it. Padding holds ``pad_value`` (a map from the new
    indices to one value) before a ``func`` that only reads it; after one that writes it, the new program asserts that
    padding holds it. So ``check_equivalent(before, in_old_layout(after, …))`` checks a change of layout in full.

    >>> from mlcref.script import from_source
    >>> from mlcref.verify import check_equivalent
    >>> before, after = [from_source(f'''
    ... @T.prim_func
    ... def f(A: T.Buffer(({shape}), "float32"), C: T.Buffer((6,), "float32")):
    ...     for i in range(6):
    ...         C[i] = A[{index}] * T.float32(2)
    ... ''') for shape, index in (("6,", "i"), ("2, 3", "i % 2, i // 2"))]
    >>> turned = IndexMap.from_func(lambda i: (i % 2, i // 2), index_dtype="int32")
    >>> check_equivalent(before, in_old_layout(after, "A", [6], turned)).status
    'TESTED'

    Raises ``MlcrefError`` when there is no such parameter, or the function has been lowered.
    """
    new = next((p for p in func.buffers if p.name == name), None)
    if new is None:
        raise MlcrefError(f"{func.name} has no buffer parameter {name!r}")
    dtype = "int64" if any(n.dtype == "int64" for n in new.shape) else "int32"
    own = index_map.as_type(dtype)
    old = Buffer(name, tuple([const(n, dtype) for n in shape]), new.type)
    written = any(isinstance(node, BufferStore) and node.buffer is new for node in walk(func.body))
    before: list[Stmt] = []
    after: list[Stmt | None] = []
    if pad_value is not None and not written:
        before.append(_filled(new, pad_value.as_type(dtype)))
    before.append(_copied(old, new, own, inward=True))
    if written:
        after.append(_copied(old, new, own, inward=False))
    if pad_value is not None and written:
        after.append(_padding_checked(new, shape, own, pad_value.as_type(dtype)))
    root = func.root
    body = replace(
        root, alloc_buffers=(*root.alloc_buffers, new), body=seq(*before, root.body, *after), reads=(), writes=()
    )
    params = tuple([old if p is new else p for p in func.params])
    return PrimFunc(params, BlockRealize((), (), body), func.attrs)


def _nest(variables: Sequence[Var], extents: Sequence[Expr], body: Stmt) -> Stmt:
    for var, extent in reversed(list(zip(variables, extents, strict=True))):
        body = For(var, const(0, var.type), cast(var.type, extent), "serial", body)
    return body


def _copied(old: Buffer, new: Buffer, index_map: IndexMap, *, inward: bool) -> Stmt:
    points = [Var(v.name, v.type) for v in index_map.initial_indices]
    mapped = tuple(index_map.map_indices(points))
    if inward:
        body = BufferStore(new, load(old, points), mapped)
    else:
        body = BufferStore(old, load(new, mapped), tuple(points))
    return _nest(points, old.shape, body)


def _filled(new: Buffer, pad_value: IndexMap) -> Stmt:
    points = [Var(v.name, v.type) for v in pad_value.initial_indices]
    (value,) = pad_value.map_indices(points)
    return _nest(points, new.shape, BufferStore(new, value, tuple(points)))


def _padding_checked(new: Buffer, shape: Sequence[int], index_map: IndexMap, pad_value: IndexMap) -> Stmt | None:
    inverse, padding = index_map.non_surjective_inverse(shape)
    if isinstance(padding, Const) or any_node(new.shape[0], Var):
        return None
    points = inverse.initial_indices
    (value,) = pad_value.map_indices(points)
    holds = AssertStmt(EQ(load(new, points), value), f"the padding of {new.name} holds its value")
    return _nest(points, new.shape, IfThenElse(padding, holds))
