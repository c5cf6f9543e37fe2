"""``compile``: a module or function, scheduled or not, for a target."""

from __future__ import annotations

import warnings
from typing import Any

from mlcref import driver
from mlcref.driver.derived_extents import build_with_checks
from mlcref.errors import MlcrefError, TypeMismatch
from mlcref.ir import BaseFunc, IRModule, PrimFunc, Target, as_module
from mlcref.runtime import cython_backend, oracle_backend
from mlcref.runtime.backend import backend_for
from mlcref.runtime.module import Module

_DEFAULT_TARGET = "cython"


class SlowEngineWarning(UserWarning):
    """Kernels cannot be built on this machine, so that the oracle runs the programs."""


def compile(mod: IRModule | BaseFunc, target: Any = None) -> Any:
    """Compile ``mod`` for ``target``.

    ``mod`` is an ``IRModule`` or a single function; ``target`` a ``Target`` or what makes one ("llvm", "c" and
    "cython" all mean the host's CPU; without one, the current target or "cython"). A module of tensor programs gives
    a :class:`Module`, one with graph functions an executable for ``VirtualMachine``. Where no C compiler works, the
    functions run in the oracle and a ``SlowEngineWarning`` says so.

    Raises ``UnsupportedError`` for programs that the backend cannot translate and ``CompileError`` when the build
    fails. Source: TVM's ``tvm.compile``.

    >>> from mlcref.ir import Buffer, Var, const, loop, store, make_block, BlockRealize, PrimFunc
    >>> import numpy as np
    >>> i, A = Var("i"), Buffer("A", (const(4),))
    >>> body = loop(i, 4, store(A, A[i] + 1.0, [i]))
    >>> f = PrimFunc((A,), BlockRealize((), (), make_block("root", body)))
    >>> x = np.zeros(4, "float32")
    >>> compile(f)["main"](x); x
    array([1., 1., 1., 1.], dtype=float32)
    """
    if not isinstance(mod, IRModule | BaseFunc):
        raise TypeMismatch(
            f"compile takes an IRModule or a function, not {type(mod).__name__}", hint="of a schedule, compile sch.mod"
        )
    module, chosen = as_module(mod), _target(target)
    tensor_programs = module.prim_funcs()
    if len(tensor_programs) < len(module):
        return driver.compile_graph(module, chosen, compile_tensor_programs)
    return compile_tensor_programs(tensor_programs, chosen)


def compile_tensor_programs(funcs: dict[str, PrimFunc], target: Target) -> Module:
    """One module of all ``funcs``, by the backend of ``target`` or, where it cannot work, by the oracle."""
    if not funcs:
        raise MlcrefError("the module has no functions to compile")
    backend = backend_for(target)
    reason = backend.unavailable()
    if reason is None:
        return build_with_checks(lambda named: backend.build(named, target), funcs)
    warnings.warn(f"programs run in the oracle, which is slow: {reason}", SlowEngineWarning, stacklevel=3)
    return oracle_backend.build(funcs, target)


def _target(target: Any) -> Target:
    if target is None:
        return Target.current() or Target(_DEFAULT_TARGET)
    return target if isinstance(target, Target) else Target(target)


__all__ = ["SlowEngineWarning", "compile", "compile_tensor_programs", "cython_backend"]
