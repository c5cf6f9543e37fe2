"""mlcref: a machine-learning compiler whose every step can be checked.

``import mlcref as tvm`` gives course code the names that it expects; see README.md for a tour.
"""

from typing import TYPE_CHECKING

from mlcref import dtype, errors, ir, script
from mlcref.errors import MlcrefError
from mlcref.errors import MlcrefError as TVMError
from mlcref.ir import (
    IRModule,
    get_global_func,
    list_global_func_names,
    register_global_func,
    remove_global_func,
)
from mlcref.ir import register_global_func as register_func
from mlcref.ir import transform
from mlcref.ir.graph import operators_on_use
from mlcref.ir.registry import registered_on_use
from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref import arith, interp, nd, relax, runtime, schedule, target, te, tir, topi, verify
    from mlcref.autoschedule import autoschedule
    from mlcref.driver.compile import compile
    from mlcref.driver.tensor_expressions import build
    from mlcref.interp.run import interpret
    from mlcref.interp.graph import interpret_graph
    from mlcref.lower import lower_module as lower
    from mlcref.runtime.array import cpu, device
    from mlcref.runtime.devices import context, cuda, gpu
else:
    __getattr__, __dir__ = names_on_use(
        __name__,
        {
            "mlcref.driver.compile": "compile",
            "mlcref.driver.tensor_expressions": "build",
            "mlcref.interp.run": "interpret",
            "mlcref.interp.graph": "interpret_graph",
            "mlcref.runtime.array": "cpu device",
            "mlcref.runtime.devices": "context cuda gpu",
        },
        [
            "arith", "autoschedule", "codegen", "driver", "interp", "lower", "nd", "relax", "runtime", "schedule",
            "target", "te", "tir", "topi", "verify",
        ],
    )  # fmt: skip

registered_on_use(
    "mlcref.interp.sorting", [f"tvm.contrib.sort.{name}" for name in ("sort", "argsort", "argsort_nms", "topk")]
)
registered_on_use("mlcref.testing.libraries", ["mlcref.check_library_result"])
registered_on_use("mlcref.contrib.blas", ["relax.ext.blas"])
operators_on_use("mlcref.relax.op")

__version__ = "0.1.0"

__all__ = [
    "IRModule", "MlcrefError", "TVMError", "arith", "autoschedule", "build", "compile", "context", "cpu", "cuda",
    "device", "dtype", "errors", "get_global_func", "gpu", "interp", "interpret", "interpret_graph", "ir",
    "list_global_func_names", "lower", "nd", "register_func", "register_global_func", "relax", "remove_global_func",
    "runtime", "schedule", "script", "target", "te", "tir", "topi", "transform", "verify",
]  # fmt: skip
