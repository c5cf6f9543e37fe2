"""Callables of other systems in the form that ``assert_backend_matches`` calls: numpy arrays in, results written into
them.

Each adapter raises ``UnsupportedError`` where its library is not installed. ``outputs`` says how many of the last
parameters a function computes and returns; functions that write into their arguments need no adapter.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.ir import IRModule, PrimFunc
from mlcref.testing.tvm_objects import import_tvm, to_tvm

Call = Callable[..., Any]


def numpy_function(function: Call, outputs: int = 1) -> Call:
    """A function that takes arrays and returns its results.

    >>> kernel = numpy_function(lambda a: a + a)
    >>> b = np.zeros(2)
    >>> kernel(np.ones(2), b)
    >>> b
    array([2., 2.])
    """
    return _returning("numpy", function, outputs, lambda array: array, np.asarray)


def torch_function(function: Call, outputs: int = 1) -> Call:
    """A function of torch tensors that returns tensors; arrays come in as CPU tensors."""
    torch = _library("torch")
    return _returning("torch", function, outputs, lambda array: torch.from_numpy(array.copy()), _tensor_to_numpy)


def jax_function(function: Call, outputs: int = 1, *, jit: bool = True) -> Call:
    """A function of JAX arrays, compiled unless ``jit=False``. 64-bit types need ``jax_enable_x64``."""
    jax = _library("jax")
    compiled = jax.jit(function) if jit else function
    return _returning("jax", compiled, outputs, jax.numpy.asarray, np.asarray)


def numba_function(function: Call, **options: Any) -> Call:
    """A Python function that writes into its arguments, compiled by numba's ``njit(**options)``."""
    compiled = _library("numba").njit(**options)(function)

    def call(*arguments: Any) -> None:
        compiled(*arguments)

    return call


def tvm_function(program: Any, target: str = "llvm") -> Call:
    """A program compiled by TVM: a ``PrimFunc`` of mlcref (handed over as script), or a module or function of TVM."""
    tvm = import_tvm()
    module = to_tvm(program) if isinstance(program, PrimFunc | IRModule) else program
    compiled = tvm.compile(module, target=target)
    device = tvm.device(target.split()[0]) if target.split()[0] != "llvm" else tvm.cpu()
    return tvm_callable(compiled, device)


def tvm_callable(compiled: Any, device: Any = None) -> Call:
    """A compiled function or module of TVM; arrays are copied to ``device`` (default: the CPU) and back."""
    tvm = import_tvm()
    where = tvm.cpu() if device is None else device
    make = getattr(tvm.runtime, "tensor", None) or tvm.nd.array

    def call(*arguments: Any) -> None:
        given = [make(a, where) if isinstance(a, np.ndarray) else a for a in arguments]
        compiled(*given)
        for argument, tensor in zip(arguments, given, strict=True):
            if isinstance(argument, np.ndarray):
                argument[...] = tensor.numpy()

    return call


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedError(
            f"{name} cannot be imported: {error}", rule="peer.absent", hint=f"pip install {name}"
        ) from error


def _tensor_to_numpy(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()


def _returning(
    library: str, function: Call, outputs: int, enter: Callable[[Any], Any], leave: Callable[[Any], Any]
) -> Call:
    """``function`` of the arguments before the last ``outputs``, its results copied into those."""

    def call(*arguments: Any) -> None:
        cut = len(arguments) - outputs
        given = [enter(a) if isinstance(a, np.ndarray) else a for a in arguments[:cut]]
        results = function(*given)
        listed = list(results) if isinstance(results, tuple | list) else [results]
        if len(listed) != outputs:
            what = f"{library}: the function returned {len(listed)} results, not {outputs}"
            raise MlcrefError(what, rule="peer.count")
        for target, result in zip(arguments[cut:], map(leave, listed), strict=True):
            if result.shape != target.shape or result.dtype != target.dtype:
                raise MlcrefError(
                    f"{library}: the function returned {result.dtype}{list(result.shape)}, "
                    f"the program computes {target.dtype}{list(target.shape)}",
                    rule="peer.shape",
                )
            target[...] = result

    return call
