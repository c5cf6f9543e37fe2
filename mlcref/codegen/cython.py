"""Lowered programs as one Cython module: a kernel ``cdef void k(void** args) noexcept nogil`` per function.

``args`` holds a pointer per parameter (to a buffer's first element, to a scalar's value), then one to the ``int64``
value of each symbolic dimension that is no scalar parameter. The body of a parallel loop is a function of its own:
what it declares is private.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlcref.codegen.c_expr import Expressions
from mlcref.codegen.c_types import Names, c_type
from mlcref.codegen.cores import IMPORT_PRANGE, IN_PARALLEL
from mlcref.codegen.foreign import imported_texts
from mlcref.codegen.function import FunctionText
from mlcref.codegen.kernel_source import KernelParam, KernelSource, KernelSpec
from mlcref.codegen.prelude import Prelude
from mlcref.codegen.workspace import workspace_formula
from mlcref.errors import UnsupportedError
from mlcref.ir import (
    Buffer, Const, Expr, PrimFunc, Return, Target, Var, any_node, refuse_unscheduled,
)  # fmt: skip
from mlcref.ir.base import script_of
from mlcref.lower.domains import shape_domain
from mlcref.lower.pointers import written_buffers


def emit(funcs: Mapping[str, PrimFunc], target: Target, origins: Mapping[str, PrimFunc] | None = None) -> KernelSource:
    """One Cython text with a kernel for each of the lowered ``funcs``, under the names by which they will be called.

    ``origins`` are the programs before lowering; their scripts go into the text as comments. Raises
    ``UnsupportedError`` for what the backend cannot translate.
    """
    prelude, names = Prelude(), Names()
    chunks: list[str] = []
    specs: list[KernelSpec] = []
    for symbol, func in funcs.items():
        refuse_unscheduled(func, "the Cython backend", lowered=True)
        origin = (origins or {}).get(symbol, func)
        for text in imported_texts(origin):
            prelude.imports(text)
        spec, functions = _kernel(symbol, func, target, prelude, names)
        chunks += [_comment(script_of(origin)), *functions]
        specs.append(spec)
    is_parallel = any(spec.parallel for spec in specs)
    head = [IMPORT_PRANGE, prelude.text(), IN_PARALLEL] if is_parallel else [prelude.text()]
    text = "\n\n".join([*head, *chunks]) + "\n"
    return KernelSource(text, tuple(spec.kernel for spec in specs), tuple(specs))


def _comment(script: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in script.strip().splitlines())


def _kernel(
    symbol: str, func: PrimFunc, target: Target, prelude: Prelude, names: Names
) -> tuple[KernelSpec, list[str]]:
    """The functions of one kernel, in the order in which Cython must see them, and how to call it."""
    extents = _ExtentNames(func)
    kernel, body = names.new(f"{symbol}_kernel"), names.new(f"{symbol}_body")
    writer = FunctionText(body, prelude, names, threads=target.num_cores, restrict=func.noalias)
    writer.parameters([*func.buffers], [*func.scalars, *extents.extra], exact=set(func.shape_vars()))
    writer.sizes = frozenset(writer.bound)
    writer.expressions.domain.update(shape_domain(func.shape_vars()))
    writer.statements(func.body)
    entry = _entry(kernel, body, func, extents, prelude)
    spec = call_spec(symbol, func, kernel=kernel, parallel=bool(writer.bodies), workspace=_workspace(writer, extents))
    return spec, [*writer.all_texts(), entry]


def _workspace(writer: FunctionText, extents: _ExtentNames) -> str | None:
    """The formula of the bytes that ``writer`` allocates, as the caller names sizes."""
    if writer.allocates_inside:
        return None
    names = Names()
    names.of.update(extents.of.items())
    expressions = Expressions(Prelude(), names)
    expressions.exact = {var for var in extents.of if isinstance(var, Var)}
    expressions.domain = dict(writer.expressions.domain)
    return workspace_formula(writer.shares, expressions)


def call_spec(
    symbol: str, func: PrimFunc, *, kernel: str = "", parallel: bool = False, workspace: str | None = "0"
) -> KernelSpec:
    """How to call ``func``, before or after lowering; raises ``UnsupportedError`` for parameters that no array can be
    checked against.
    """
    if any_node(func.body, Return):
        raise UnsupportedError(f"{symbol} returns a value", rule="codegen.return", root=func,
                               hint="compiled functions write their results into arguments")  # fmt: skip
    extents = _ExtentNames(func)
    written = written_buffers(func)
    params = tuple([_param(param, extents, written) for param in func.params])
    return KernelSpec(symbol, kernel, params, func.noalias, parallel, workspace)


def _entry(kernel: str, body: str, func: PrimFunc, extents: _ExtentNames, prelude: Prelude) -> str:
    """The function with the ABI: it takes its arguments apart and calls the body."""
    slot = {param: i for i, param in enumerate(func.params)}
    given = [f"<{prelude.pointer(buffer.type, func.noalias)}>args[{slot[buffer]}]" for buffer in func.buffers]
    given += [f"(<{c_type(var.type)}*>args[{slot[var]}])[0]" for var in func.scalars]
    given += [f"(<int64_t*>args[{len(func.params) + i}])[0]" for i in range(len(extents.extra))]
    return f"cdef void {kernel}(void** args) noexcept nogil:\n    {body}({', '.join(given)})"


class _ExtentNames:
    """The names of symbolic extents. ``extra`` are the shape variables that no scalar parameter is."""

    def __init__(self, func: PrimFunc) -> None:
        self.func = func
        self.extra = func.shape_vars()
        names = Names({param.name for param in func.params})
        self.of: dict[Expr, str] = {var: var.name for var in func.scalars}
        for var in self.extra:
            self.of[var] = names.new(var.name)

    def extent(self, buffer: Buffer, extent: Expr) -> int | str:
        """The extent as the call is checked against it."""
        if isinstance(extent, Const):
            return int(extent.value)
        if isinstance(extent, Var) and extent in self.of:
            return self.of[extent]
        raise UnsupportedError(
            lambda: f"the shape of parameter {buffer.name} has the extent {extent!r}", rule="codegen.shape",
            hint="extents of parameters are numbers or variables",
        )  # fmt: skip


def _param(param: Buffer | Var, extents: _ExtentNames, written: set[Buffer]) -> KernelParam:
    if isinstance(param, Var):
        return KernelParam(param.name, param.type, None, False)
    _require_dense(param)
    shape = tuple([extents.extent(param, extent) for extent in param.shape])
    return KernelParam(param.name, param.type, shape, param in written)


def _require_dense(buffer: Buffer) -> None:
    offset = buffer.elem_offset
    if buffer.strides or not (offset is None or (isinstance(offset, Const) and offset.value == 0)):
        raise UnsupportedError(
            f"parameter {buffer.name} declares strides or an offset", rule="codegen.layout",
            hint="compiled functions take dense row-major arrays",
        )  # fmt: skip
