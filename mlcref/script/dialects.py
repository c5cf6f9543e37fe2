"""The two spellings of TVMScript: ``tir`` (until 2025; the course) and ``tirx`` (TVM main). Only this file knows them.

In ``tir`` a function is schedulable unless it says ``s_tir=False``; in ``tirx`` it is flat unless it says
``s_tir=True``. A flat function has no blocks, and ``T.alloc_buffer`` there is a statement whose buffer lives to the
end of the statement list.
"""

from __future__ import annotations


from mlcref.errors import MlcrefError
from mlcref.records import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """One spelling: the names that differ, and whether functions are schedulable by default. ``loads_slices``: a load
    of a vector is written as a slice; ``declares_lets``: the variable of ``T.Let`` is declared before the statement;
    ``scoped_names``: ``with`` binds buffers and lets; ``wide_literals``: float64 literals may exceed float32;
    ``ret``: the end of a function with a value; ``pointer_let``: the annotation of a pointer that a name is given."""

    name: str
    block: str
    block_alloc: str
    block_attr: str
    noalias: str
    let: str
    schedulable_default: bool
    out_sinfo: str
    loads_slices: bool = True
    declares_lets: bool = False
    scoped_names: bool = True
    attr: str = "None, {key}, {value}"
    wide_literals: bool = True
    ret: str = "T.ret({})"
    pointer_let: str = "T.handle"

    def header(self, namespace: str, alias: str) -> str:
        """The comment that says where a prefix comes from."""
        return f"# from tvm.script import {self.name if namespace == 'tir' else namespace} as {alias}"

    def decorator(self, *, schedulable: bool, private: bool) -> str:
        """The decorator of a function."""
        options = ["private=True"] if private else []
        if schedulable is not self.schedulable_default:
            options.append(f"s_tir={schedulable}")
        return f"@T.prim_func({', '.join(options)})" if options else "@T.prim_func"

    def attribute(self, key: str) -> str:
        """The spelling of a function attribute."""
        return self.noalias if key == CANONICAL_NOALIAS else key


CANONICAL_NOALIAS = "tir.noalias"

DIALECTS = {
    "tir": Dialect("tir", "block", "alloc_buffer", "block_attr", "tir.noalias", "T.{}", True, "out_sinfo"),
    "tirx": Dialect(
        "tirx", "sblock", "sblock_alloc_buffer", "sblock_attr", "tirx.noalias", "T.let[T.{}]", False, "out_ty",
        loads_slices=False, declares_lets=True, scoped_names=False, attr="{{{key}: {value}}}",
        wide_literals=False, ret="return {}", pointer_let="T.let",
    ),  # fmt: skip
}


def dialect(name: str) -> Dialect:
    """The dialect called ``name``; raises for an unknown one."""
    if name not in DIALECTS:
        raise MlcrefError(f"unknown dialect {name!r}", hint=f"dialects: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def canonical_attribute(key: str) -> str:
    """The one spelling under which a function attribute is kept."""
    return CANONICAL_NOALIAS if any(key == d.noalias for d in DIALECTS.values()) else key


SCOPE = "mlcref.scope"
"""The attribute that only says where names end, where a dialect has no other way: ``with T.attr({SCOPE: 1}):``."""

UNSUPPORTED = frozenset([
    "realize", "preflattened_buffer", "buffer_store", "prefetch", "Reduce",
    "index_map", "inline_assign", "pragma", "call_tir", "call_inline", "call_pure_packed",
    "get_vscale_expr", "ptr", "Ptr", "jit", "constexpr", "Optional",
    "static_assert", "masked_load", "masked_store", "device_entry", "print_buffer",
])  # fmt: skip
"""Names of TVMScript's ``T`` that are known and not read."""

OPAQUE_PREFIXES = ("ptx_", "simdgroup_", "make_filled_simdgroup_", "cooperative_tensor_", "tvm_warp_")
"""Prefixes of the names of ``T`` that are instructions of a machine: read, printed, without a meaning here."""

OPAQUE_NAMESPACES = frozenset(["ptx", "ptx_legacy", "cuda", "metal", "webgpu", "nvshmem"])
"""Namespaces of such names: ``T.ptx_legacy.mma(...)``."""
