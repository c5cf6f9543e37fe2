"""Tensor intrinsics: computations on small regions that a piece of hardware, or a function of C, does at once."""

from __future__ import annotations

from typing import ClassVar

from mlcref.errors import ScheduleError
from mlcref.ir.buffer import Buffer
from mlcref.ir.equal import first_difference
from mlcref.ir.expr import Call, Const
from mlcref.ir.function import PrimFunc
from mlcref.ir.stmt import BlockRealize, BufferStore
from mlcref.ir.visit import walk
from mlcref.records import dataclass

POINTERS = frozenset({"address_of", "buffer_data", "tvm_access_ptr", "tvm_stack_make_array"})
"""Calls that give the memory of a buffer to a function."""


@dataclass(frozen=True, slots=True)
class TensorIntrin:
    """``impl`` does what ``desc`` says. Both are functions of the same buffers; ``desc`` is plain loops and blocks,
    which ``Schedule.tensorize`` looks for and exchanges for ``impl``.

    The strides of a buffer of ``impl`` may be variables, which take the values of the buffer it is used on. What
    ``impl`` calls (``T.call_extern("f", …)``) has a meaning for the oracle when a Python function is registered under
    that name (``register_global_func``), and can be compiled when its C text is imported by a loop's annotation
    ``pragma_import_c``.

    >>> from mlcref.script import tir as T
    >>> @T.prim_func
    ... def desc(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    ...     with T.block("root"):
    ...         T.reads(A[0:4])
    ...         T.writes(B[0:4])
    ...         for i in range(4):
    ...             with T.block("copy"):
    ...                 vi = T.axis.spatial(4, i)
    ...                 B[vi] = A[vi]
    >>> @T.prim_func
    ... def impl(A: T.Buffer((4,), "float32"), B: T.Buffer((4,), "float32")):
    ...     with T.block("root"):
    ...         T.reads(A[0:4])
    ...         T.writes(B[0:4])
    ...         for i in T.vectorized(4):
    ...             B[i] = A[i]
    >>> intrin = TensorIntrin.register("doc.copy4", desc, impl, override=True)
    >>> TensorIntrin.get("doc.copy4") is intrin
    True

    Source: TVM ``TensorIntrin``.
    """

    desc: PrimFunc
    impl: PrimFunc
    registered: ClassVar[dict[str, TensorIntrin]] = {}

    @staticmethod
    def register(name: str, desc: PrimFunc, impl: PrimFunc, override: bool = False) -> TensorIntrin:
        """Keep the pair under ``name``. Raises ``ScheduleError`` for a name that is taken (unless ``override``) and for
        functions that do not fit: different parameters, a parameter that is no buffer, an init, or an impl that writes
        what desc only reads.
        """
        if name in TensorIntrin.registered and not override:
            raise ScheduleError(f"a tensor intrinsic is called {name!r} already", rule="tensor_intrin.P1",
                                hint="pass override=True to replace it")  # fmt: skip
        _check(desc, impl)
        made = TensorIntrin.registered[name] = TensorIntrin(desc, impl)
        return made

    @staticmethod
    def get(name: str, allow_missing: bool = False) -> TensorIntrin | None:
        """The intrinsic called ``name``; without one, raises ``ScheduleError`` or returns None (``allow_missing``)."""
        found = TensorIntrin.registered.get(name)
        if found is None and not allow_missing:
            known = ", ".join(sorted(TensorIntrin.registered)) or "none"
            raise ScheduleError(f"no tensor intrinsic is called {name!r}", rule="tensor_intrin.P2",
                                hint=f"TensorIntrin.register it first; there are: {known}")  # fmt: skip
        return found


def _check(desc: PrimFunc, impl: PrimFunc) -> None:
    for role, func in (("desc", desc), ("impl", impl)):
        if not isinstance(func, PrimFunc):
            raise _unfit(f"the {role} is a {type(func).__name__}, not a PrimFunc")
        if not isinstance(func.body, BlockRealize) or func.root.iter_vars or func.root.init is not None:
            raise _unfit(f"the body of the {role} is not one root block without iterators and init")
        if any(not isinstance(param, Buffer) for param in func.params):
            raise _unfit(f"the {role} has parameters that are no buffers")
    if len(desc.params) != len(impl.params):
        raise _unfit(f"the desc has {len(desc.params)} parameters, the impl {len(impl.params)}")
    if desc.root.alloc_buffers or desc.root.match_buffers:
        raise _unfit("the desc allocates or matches buffers")
    stored, changed = _written(desc), _written(impl)
    for k, (a, b) in enumerate(zip(desc.buffers, impl.buffers, strict=True)):
        for what, x, y in (("shape", a.shape, b.shape), ("type", a.type, b.type), ("scope", a.scope, b.scope)):
            if first_difference(x, y) is not None:
                raise _unfit(f"parameter {k} ({a.name}) has the {what} {x} in the desc and {y} in the impl")
        if any(not isinstance(extent, Const) for extent in a.shape):
            raise _unfit(f"the shape of parameter {k} ({a.name}) is not constant")
        if k in changed - stored:
            raise _unfit(f"the impl writes parameter {k} ({a.name}), the desc does not")


def _unfit(what: str) -> ScheduleError:
    return ScheduleError(what, rule="tensor_intrin.P3",
                         hint="desc and impl are functions of the same buffers; desc says what impl does")  # fmt: skip


def _written(func: PrimFunc) -> set[int]:
    """Positions of the parameters that the function stores to, says that it writes, or gives away to be written."""
    found = {region.buffer for region in func.root.writes}
    for node in walk(func.body):
        if isinstance(node, BufferStore):
            found.add(node.buffer)
        elif isinstance(node, Call) and node.op == "tvm_access_ptr" and not _read_only(node):
            found.update(load.buffer for load in walk(node.args[1]) if hasattr(load, "buffer"))
    return {k for k, param in enumerate(func.params) if param in found}


def _read_only(pointer: Call) -> bool:
    mask = pointer.args[-1]
    return isinstance(mask, Const) and not int(mask) & 2
