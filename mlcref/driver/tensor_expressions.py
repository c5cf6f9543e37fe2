"""``build``: schedules of tensor expressions, or modules, to something to call."""

from __future__ import annotations

from typing import Any

from mlcref import te
from mlcref.driver.compile import compile
from mlcref.errors import TypeMismatch
from mlcref.ir import BaseFunc, IRModule, Target
from mlcref.lower.modules import scheduled_module


def build(inputs: Any, args: Any = None, target: Any = None, name: str = "main") -> Any:
    """Something to call: of a schedule of tensor expressions with the parameters ``args``, or of a module or function,
    without ``args``, as :func:`compile` makes it.

    Raises what ``lower`` and :func:`compile` raise. Source: ``tvm.build`` of TVM up to 0.17.

    >>> import numpy as np
    >>> from mlcref import te
    >>> A = te.placeholder((4,), name="A")
    >>> B = te.compute((4,), lambda i: A[i] + 1.0, name="B")
    >>> module, b = build(te.create_schedule(B.op), [A, B]), np.zeros(4, "float32")
    >>> module(np.arange(4, dtype="float32"), b); b
    array([1., 2., 3., 4.], dtype=float32)
    """
    if isinstance(inputs, IRModule | BaseFunc):
        if target is None and isinstance(args, str | Target | dict):
            args, target = None, args  # build(mod, "llvm")
        if args is not None:
            raise TypeMismatch("build of a module takes no args", hint="its functions have their parameters")
        return compile(inputs, target)
    if not isinstance(inputs, te.Schedule):
        raise TypeMismatch(
            f"build takes a schedule, a module or a function, not {type(inputs).__name__}",
            hint="te.create_schedule(C.op) makes a schedule",
        )
    return compile(scheduled_module(inputs, args, name, "build"), target)
