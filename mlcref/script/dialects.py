"""The two spellings of TVMScript: ``tir`` (until 2025; the course) and ``tirx`` (TVM main). Only this file knows them.

In ``tir`` a function is schedulable unless it says ``s_tir=False``; in ``tirx`` it is flat unless it says
``s_tir=True``. A flat function has no blocks, and ``T.alloc_buffer`` there is a statement whose buffer lives to the
end of the statement list.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlcref.errors import MlcrefError


@dataclass(frozen=True, slots=True)
class Dialect:
    """One spelling: the names that differ, and whether functions are schedulable by default."""

    name: str
    block: str
    block_alloc: str
    block_attr: str
    noalias: str
    let: str
    schedulable_default: bool
    out_sinfo: str

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
        "tirx", "sblock", "sblock_alloc_buffer", "sblock_attr", "tirx.noalias", "T.let[T.{}]", False, "out_ty"
    ),
}


def dialect(name: str) -> Dialect:
    """The dialect called ``name``; raises for an unknown one."""
    if name not in DIALECTS:
        raise MlcrefError(f"unknown dialect {name!r}", hint=f"dialects: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def canonical_attribute(key: str) -> str:
    """The one spelling under which a function attribute is kept."""
    return CANONICAL_NOALIAS if any(key == d.noalias for d in DIALECTS.values()) else key


UNSUPPORTED = frozenset([
    "launch_thread", "env_thread", "comm_reducer", "tvm_thread_allreduce", "tvm_storage_sync", "tvm_access_ptr",
    "type_annotation", "tvm_load_matrix_sync", "tvm_store_matrix_sync", "tvm_mma_sync", "tvm_bmma_sync",
    "tvm_fill_fragment", "tvm_struct_get", "tvm_struct_set", "tvm_tuple", "tvm_stack_alloca",
    "tvm_stack_make_shape", "tvm_stack_make_array", "tvm_call_cpacked", "call_cpacked", "call_pure_extern",
    "call_llvm_intrin", "call_llvm_pure_intrin", "call_intrin", "call_pure_packed", "call_tir", "call_inline",
    "q_multiply_shift", "q_multiply_shift_per_axis", "reinterpret", "undef", "address_of", "ptx", "ptx_mma",
    "ptx_ldmatrix", "ptx_cp_async", "ptx_commit_group", "ptx_wait_group", "mma_store", "mma_fill", "vscale",
    "get_active_lane_mask", "get_vscale_expr", "vectorlow", "vectorhigh", "vectorcombine", "dp4a",
    "start_profile_intrinsic", "end_profile_intrinsic", "assume", "macro", "inline", "allocate",
    "allocate_const", "realize", "preflattened_buffer", "buffer_decl", "buffer_store", "prefetch", "Shuffle",
    "Reduce", "ret", "index_map", "inline_assign", "pragma", "create_barriers", "ldexp", "hypot", "nextafter",
    "clz", "acosh", "asinh", "atanh", "ptr", "Ptr",
])  # fmt: skip
"""Names of TVMScript's ``T`` that are known and not read."""
