"""``tvm.lower``: schedules of tensor expressions, or modules, to flat loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcref import te
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.ir import BaseFunc, IRModule, PrimFunc, as_module
from mlcref.lower.pipeline import PIPELINE, lower

_SIMPLE = ("lower_blocks", "simplify", "sink_allocations", "compact_buffers", "simplify_indices")


def lower_module(
    inputs: Any, args: Sequence[Any] | None = None, name: str = "main", simple_mode: bool = False
) -> IRModule:
    """The loops that ``inputs`` become, without blocks.

    ``inputs`` is a schedule of tensor expressions, with the tensors and scalars ``args`` as the parameters of the
    function ``name``, or a module or function, without ``args``. With ``simple_mode`` loops stay as they were
    scheduled, for reading; without it they are what the code generator gets. Raises ``TypeMismatch`` for other inputs,
    and what :meth:`te.Schedule.tensor_ir` and lowering raise. Source: ``tvm.lower`` of TVM up to 0.17.

    >>> from mlcref import te
    >>> A = te.placeholder((8,), name="A")
    >>> B = te.compute((8,), lambda i: A[i] + 1.0, name="B")
    >>> s = te.create_schedule(B.op)
    >>> print(lower_module(s, [A, B], simple_mode=True)["main"].script().rpartition("noalias")[2])
    ": True})
        for i in range(8):
            B[i] = A[i] + T.float32(1.0)
    """
    if simple_mode and isinstance(inputs, te.Schedule) and args is not None:
        args = [*args, *inputs.results_beside(args)]  # for reading, results may be left out, as in TVM
    funcs = _tensor_programs(inputs, args, name)
    return IRModule({each: _simple(func) if simple_mode else lower(func) for each, func in funcs.items()})


def _tensor_programs(inputs: Any, args: Sequence[Any] | None, name: str) -> dict[str, PrimFunc]:
    if isinstance(inputs, te.Schedule):
        return scheduled_module(inputs, args, name, "lower").prim_funcs()
    if not isinstance(inputs, IRModule | BaseFunc):
        raise TypeMismatch(
            f"lower takes a schedule, a module or a function, not {type(inputs).__name__}",
            hint="te.create_schedule(C.op) makes a schedule",
        )
    if args is not None:
        raise TypeMismatch("lower of a module takes no args", hint="its functions have their parameters")
    return as_module(inputs).prim_funcs()


def _simple(func: PrimFunc) -> PrimFunc:
    for step in PIPELINE:
        if step.name in _SIMPLE:
            func = step.run(func)
    return func


def scheduled_module(s: te.Schedule, args: Sequence[Any] | None, name: str, who: str) -> IRModule:
    """The module of the function that ``s`` makes of ``args``; raises ``MlcrefError`` without them, for ``who``."""
    if args is None:
        raise MlcrefError(f"{who} of a schedule needs the parameters of the function", hint=f"{who}(s, [A, B, C])")
    return s.tensor_ir(args, name).mod
