"""The Cython backend: lower, write one .pyx, build it, and wrap each kernel in a checked launcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mlcref.lower as passes  # mlcref.lower is also a function
from mlcref import codegen, runtime
from mlcref.codegen.kernel_source import KernelParam, KernelSource, KernelSpec
from mlcref.ir import PrimFunc, Target
from mlcref.runtime.backend import Backend, register_backend
from mlcref.runtime.batches import batches
from mlcref.runtime.build import LoadedKernels, build_kernels, no_garbage_collection
from mlcref.runtime.compiler import why_no_compiler
from mlcref.runtime.launch import Launcher
from mlcref.runtime.module import Module
from mlcref.runtime.signature import BufferParam, Param, ScalarParam
from mlcref.runtime.source_cache import cached_source


def generate(funcs: Mapping[str, PrimFunc], target: Target) -> KernelSource:
    """The Cython text of ``funcs``; raises ``UnsupportedError`` for what it cannot say. Needs no compiler."""
    return codegen.emit({name: passes.lower(func, target) for name, func in funcs.items()}, target, origins=funcs)


def build(funcs: Mapping[str, PrimFunc], target: Target) -> Module:
    """A module with ``funcs`` compiled for this machine. Raises ``UnsupportedError`` and ``CompileError``."""
    parts = batches(funcs, target.cpu.vector_bytes)
    built = _built_side_by_side(parts, target) if len(parts) > 1 else [_built(funcs, target)]
    launchers = [launcher(spec, kernels.address(spec.kernel)) for source, kernels in built for spec in source.specs]
    workspaces = {spec.symbol: spec.workspace for source, _ in built for spec in source.specs}
    text = "\n".join([kernels.source for _, kernels in built])
    return Module({made.name: made for made in launchers}, text, "cython", workspaces)


def _built(funcs: Mapping[str, PrimFunc], target: Target) -> tuple[KernelSource, LoadedKernels]:
    source = cached_source(funcs, target, generate)
    return source, build_kernels(source.text, source.names)


def _built_side_by_side(
    parts: Sequence[Mapping[str, PrimFunc]], target: Target
) -> list[tuple[KernelSource, LoadedKernels]]:
    with runtime.Builders() as builders:

        def translate(funcs: Mapping[str, PrimFunc], target: Target) -> KernelSource:
            builders.start()
            return generate(funcs, target)

        for part in parts:
            with no_garbage_collection():
                source = cached_source(part, target, translate)
            builders.add(source)
        return builders.built()


def launcher(spec: KernelSpec, address: int) -> Launcher:
    """The checked call of the kernel at ``address``."""
    return Launcher(address, launch_params(spec), spec.symbol, spec.noalias, spec.parallel)


def launch_params(spec: KernelSpec) -> tuple[Param, ...]:
    """The parameters of ``spec`` as the launcher checks them."""
    return tuple([_param(param) for param in spec.params])


def _param(param: KernelParam) -> Param:
    if param.shape is None:
        return ScalarParam(param.name, param.dtype)
    return BufferParam(param.name, param.dtype, param.shape, param.written)


register_backend(Backend("cython", build, why_no_compiler))
