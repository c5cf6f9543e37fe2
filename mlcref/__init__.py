"""mlcref: a machine-learning compiler whose every step can be checked.

``import mlcref as tvm`` gives course code the names that it expects; see README.md for a tour.
"""

from mlcref import arith, dtype, errors, interp, ir, nd, relax, runtime, schedule, script, target, te, tir, verify
from mlcref.autoschedule import autoschedule
from mlcref.driver import build, compile
from mlcref.errors import MlcrefError
from mlcref.errors import MlcrefError as TVMError
from mlcref.interp import interpret
from mlcref.interp.graph import interpret_graph
from mlcref.ir import (
    IRModule,
    get_global_func,
    list_global_func_names,
    register_global_func,
    remove_global_func,
)
from mlcref.ir import register_global_func as register_func
from mlcref.runtime import cpu, device

__version__ = "0.1.0"

__all__ = [
    "IRModule", "MlcrefError", "TVMError", "arith", "autoschedule", "build", "compile", "cpu", "device", "dtype",
    "errors", "get_global_func", "interp", "interpret", "interpret_graph", "ir", "list_global_func_names", "nd",
    "register_func", "register_global_func", "relax", "remove_global_func", "runtime", "schedule", "script", "target",
    "te", "tir", "verify",
]  # fmt: skip
