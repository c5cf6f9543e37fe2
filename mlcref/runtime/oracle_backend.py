"""The stand-in where no kernels can be built: functions with the same calls and checks, run by the oracle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlcref import codegen, interp
from mlcref.ir import PrimFunc, Target
from mlcref.ir.base import script_of
from mlcref.runtime import call_check
from mlcref.runtime.backend import Backend, register_backend
from mlcref.runtime.cython_backend import launch_params
from mlcref.runtime.launch import ArrayHolder
from mlcref.runtime.module import Module


class OracleFunction:
    """A tensor program that the oracle runs, called like a compiled one."""

    def __init__(self, name: str, func: PrimFunc) -> None:
        self.name, self.func = name, func
        self.params = launch_params(codegen.call_spec(name, func))

    def __call__(self, *args: object) -> None:
        """Check the arguments as a launcher does (``CallError``), then run."""
        slots = call_check.resolve(ArrayHolder, self.name, self.params, self.func.noalias, args)
        interp.interpret(self.func, *[self._argument(slot, i) for i, slot in enumerate(slots[: len(self.params)])])

    def _argument(self, slot: call_check.Slot, position: int) -> object:
        if not isinstance(slot, bytes):
            return slot
        dtype = self.params[position].numpy_dtype
        return np.frombuffer(slot, dtype=dtype, count=1)[0].item()


def build(funcs: Mapping[str, PrimFunc], target: Target) -> Module:
    """A module whose functions the oracle runs, thousands of times slower than compiled ones."""
    source = "\n\n".join(script_of(func) for func in funcs.values())
    return Module({name: OracleFunction(name, func) for name, func in funcs.items()}, source, "oracle")


register_backend(Backend("oracle", build, lambda: None))
