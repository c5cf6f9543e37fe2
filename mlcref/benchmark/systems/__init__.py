"""The systems that are compared, by name. A new one is a :class:`System` in a module of its own and a line here."""

from collections.abc import Sequence

from mlcref.benchmark.systems.jax_system import JAX
from mlcref.benchmark.systems.mlcref_system import MLCREF, UNSCHEDULED
from mlcref.benchmark.systems.numba_system import NUMBA
from mlcref.benchmark.systems.numpy_system import NUMPY
from mlcref.benchmark.systems.onnx_system import ONNXRUNTIME
from mlcref.benchmark.systems.record import Prepared, System
from mlcref.benchmark.systems.torch_system import TORCH
from mlcref.benchmark.systems.tvm_system import TVM, TVM_TUNED
from mlcref.errors import MlcrefError

_ALL = (NUMPY, TORCH, ONNXRUNTIME, JAX, NUMBA, TVM, TVM_TUNED, UNSCHEDULED, MLCREF)
SYSTEMS = {system.name: system for system in _ALL}

__all__ = ["SYSTEMS", "Prepared", "System", "chosen_systems"]


def chosen_systems(names: Sequence[str] = ()) -> list[str]:
    """The systems of these names, in the order of the table; without names, those that are not slow.

    Raises ``MlcrefError`` (rule ``bench.system``) for a name that is not in the table.

    >>> chosen_systems(["mlcref", "numpy"])
    ['numpy', 'mlcref']
    """
    for name in names:
        if name not in SYSTEMS:
            known = ", ".join(SYSTEMS)
            raise MlcrefError(f"there is no system {name!r}", rule="bench.system", hint=f"systems: {known}")
    return [name for name, system in SYSTEMS.items() if (name in names if names else not system.slow)]
