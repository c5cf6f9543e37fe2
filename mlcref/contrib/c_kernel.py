"""Functions of C for libraries: compiled with the checks of mlcref's own kernels around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.driver import compile as compile_module
from mlcref.errors import UnsupportedError
from mlcref.ir import PrimFunc, Var, graph, substitute
from mlcref.ir.expr import Expr
from mlcref.runtime.compiler import find_compiler
from mlcref.script import from_source

_PROGRAM = """
@T.prim_func
def main({params}):
    T.func_attr({{"tir.noalias": True}})
{dims}
{buffers}
    for once in T.serial(1, annotations={{"pragma_import_c": SOURCE}}):
        T.evaluate(T.call_extern({name!r}, {args}, dtype="void"))
"""


def c_kernel(func: graph.Function, name: str, source: str) -> Callable[..., None]:
    """The function ``name`` of the C text ``source`` for the graph function ``func``: what a library returns.

    It is declared as ``void name(...)``, with a pointer for each tensor parameter and each result, ``const float *``
    for inputs of float32 and so on, and then an ``int64_t`` for each symbolic dimension of the parameters, in order of
    appearance. The text is compiled here, or found in the cache. Calls are checked as those of any kernel.

    Raises ``CompileError`` where there is no C compiler or it refuses the text, ``UnsupportedError`` for a parameter
    that is no tensor or shape, and for a function that the text does not define with such parameters.

    >>> import numpy as np
    >>> from mlcref import relax
    >>> x = relax.Var("x", relax.TensorStructInfo((3,), "float32"))
    >>> func = relax.Function([x], relax.op.negative(x))
    >>> text = "void minus(const float *x, float *y) { for (int i = 0; i < 3; ++i) y[i] = -x[i]; }"
    >>> x, y = np.float32([1, 2, 3]), np.empty(3, "float32")
    >>> c_kernel(func, "minus", text)(x, y)
    >>> y
    array([-1., -2., -3.], dtype=float32)
    """
    find_compiler()
    kernel = compile_module(_program(func, name, source), "cython")["main"]

    def call(*args: Any) -> None:
        tensors = [arg for arg in args if not isinstance(arg, tuple)]
        kernel(*tensors, *[size for arg in args if isinstance(arg, tuple) for size in arg])

    return call


def _program(func: graph.Function, name: str, source: str) -> PrimFunc:
    """A tensor program that only calls the C function."""
    infos = [param.struct_info for param in func.params] + list(graph.destinations(func.ret_struct_info))
    tensors = [info for info in infos if isinstance(info, graph.TensorStructInfo) and info.shape is not None]
    shapes = [info for info in infos if isinstance(info, graph.ShapeStructInfo) and info.values is not None]
    if len(tensors) + len(shapes) < len(infos):
        raise UnsupportedError(f"{name}: a C function takes tensors of known shape and shapes", rule="relax.library")
    dims = {var: Var(f"n{i}", "int64") for i, var in enumerate(func.shape_vars())}
    scalars = [_text(extent, dims) for info in shapes for extent in info.values or ()]
    bound = [str(dim) for dim in dims.values() if str(dim) not in scalars]
    handles = [f"p{i}: T.handle" for i in range(len(tensors))]
    buffers = [
        f'    b{i} = T.match_buffer(p{i}, ({"".join(f"{_text(extent, dims)}, " for extent in info.shape or ())}), '
        f'"{info.dtype}")'
        for i, info in enumerate(tensors)
    ]
    made: PrimFunc = from_source(_PROGRAM.format(
        params=", ".join([*handles, *[f"{scalar}: T.int64" for scalar in scalars]]),
        dims="\n".join(f"    {dim} = T.int64()" for dim in bound), buffers="\n".join(buffers), name=name,
        args=", ".join([*[f"b{i}.data" for i in range(len(tensors))], *map(str, dims.values())]),
    ), env={"SOURCE": source})  # fmt: skip
    return made


def _text(extent: Expr, dims: dict[Var, Var]) -> str:
    return str(substitute(extent, dims))
