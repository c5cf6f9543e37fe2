"""Sites at the borders of what primitives may do: sums over nothing, blocks that never run, memory inside kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcref.ir import PrimFunc
from mlcref.script import from_source

Pick = Callable[..., Any]

_SUM = """
@T.prim_func
def main(a: T.handle, B: T.Buffer(({columns},), "{dtype}")):
    n = T.int32()
    A = T.match_buffer(a, (n, {inner}, {columns}), "{dtype}")
    for {loops} in T.grid({extents}):
        with T.block("B"):
            vi, vj, vk = T.axis.remap("SRR", [i, j, k])
            with T.init():
                B[vi] = T.{dtype}(0)
            B[vi] = B[vi] + A[vj, vk, vi]
"""
_PARTS = """
@T.prim_func
def main(A: T.Buffer(({rows}, {columns}), "{dtype}"), B: T.Buffer(({rows}, {columns}), "{dtype}")):
    for i in range({rows}):
        with T.block("parts"):
            vi = T.axis.spatial({rows}, i)
            for j in range({columns}):
                with T.block("B"):
                    vj = T.axis.spatial({columns}, j)
                    B[vi, vj] = A[vi, vj]
            for k in range({first}, {first} + {length}):
                with T.block("again"):
                    vk = T.axis.spatial({columns}, {value})
                    T.where({value} < {columns})
                    B[vi, vk] = A[vi, vk] * T.{dtype}(2)
"""
_KERNEL = """
@T.prim_func
def main(A: T.Buffer(({columns},), "{dtype}"), C: T.Buffer(({rows}, {columns}), "{dtype}")):
    B = T.alloc_buffer(({columns},), "{dtype}", scope="{scope}")
    for i in T.{loop}:
        with T.block("row"):
            for j in range({columns}):
                with T.block("B"):
                    vj = T.axis.spatial({columns}, j)
                    B[vj] = A[vj] + T.{dtype}(1)
        for j in range({columns}):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = B[vj]
"""
_ROWS = """
@T.prim_func
def main(A: T.Buffer(({rows}, 3), "{dtype}"), B: T.Buffer(({rows}, {columns}), "{dtype}")):
    for i in T.{loop}:
        with T.block("rows"):
            vi = T.axis.spatial({rows}, i)
            vr = T.axis.reduce(1, 0)
            with T.init():
                for j in range({columns}):
                    with T.block("first"):
                        vj = T.axis.spatial({columns}, j)
                        B[vi, vj] = T.{dtype}(0)
            for j, k in T.grid({columns}, 3):
                with T.block("B"):
                    vj, vk = T.axis.remap("SR", [j, k])
                    B[vi, vj] = B[vi, vj] + A[vi, vk]
"""
_NEST = """
@T.prim_func
def main(A: T.Buffer(({columns},), "{dtype}"), C: T.Buffer(({rows}, {columns}), "{dtype}")):
    B = T.alloc_buffer(({columns},), "{dtype}")
    with T.block("parts"):
        for i in T.{inner}:
            with T.block("B"):
                vi = T.axis.spatial({columns}, i)
                B[vi] = A[vi] + T.{dtype}(1)
    for i in T.{outer}:
        for j in range({columns}):
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = B[vj]
"""
_OWN_ROWS = """
@T.prim_func
def main(A: T.Buffer(({rows}, {columns}), "{dtype}"), C: T.Buffer(({rows}, {columns}), "{dtype}")):
    B = T.alloc_buffer(({rows}, {columns}), "{dtype}", scope="{scope}")
    for i in range({rows}):
        for j in T.{loop}({columns}):
            for k in range({columns}):
                with T.block("B"):
                    vi, vk = T.axis.remap("SS", [i, k])
                    B[vi, vk] = A[vi, vk] * T.{dtype}(2)
            with T.block("C"):
                vi, vj = T.axis.remap("SS", [i, j])
                C[vi, vj] = B[vi, vj]
"""


def _drawn(text: str, pick: Pick, **more: Any) -> PrimFunc:
    func: PrimFunc = from_source(text.format(dtype=pick(["float32", "int32"]), columns=pick([2, 3, 5]), **more))
    return func


def sums_over_nothing(pick: Pick) -> PrimFunc:
    """A sum over rows of an unknown number, perhaps none, in two loops, of which one has a known number of iterations.
    """
    inner, turned = pick([2, 1, 3]), pick([False, True])
    columns = pick([2, 3, 5])
    extents = [str(columns), *([str(inner), "n"] if turned else ["n", str(inner)])]
    text = _SUM.format(dtype=pick(["float32", "int32"]), columns=columns, inner=inner,
                       loops="i, k, j" if turned else "i, j, k", extents=", ".join(extents))  # fmt: skip
    func: PrimFunc = from_source(text)
    return func


def parts_that_never_run(pick: Pick) -> PrimFunc:
    """A second block of a part that writes some of it again, or is cut off by its condition altogether."""
    value = pick(["vi % 1 + k", "vi % 1 * 4 + k"])
    return _drawn(_PARTS, pick, rows=pick([1, 2, 4]), first=pick([0, 1, 3, 5]), length=pick([1, 2]), value=value)


def rows_of_a_kernel(pick: Pick) -> PrimFunc:
    """Each thread, or iteration, makes the whole of a buffer that is its own."""
    rows = pick([2, 3])
    scope, loop = pick([
        ("local", f'thread_binding({rows}, thread="threadIdx.x")'), ("global", f"serial({rows})"),
        ("local", f'thread_binding({rows}, thread="blockIdx.x")'),
        ("shared", f'thread_binding({rows}, thread="blockIdx.x")'), ("global", f"parallel({rows})"),
    ])  # fmt: skip
    return _drawn(_KERNEL, pick, rows=rows, scope=scope, loop=loop)


def _loop(pick: Pick, extent: int, *tags: str) -> str:
    tag = pick(["", *tags])
    return f'thread_binding({extent}, thread="{tag}")' if tag else f"serial({extent})"


def reductions_of_rows(pick: Pick) -> PrimFunc:
    """Each row is a reduction in two parts, inside a kernel or not."""
    rows = pick([2, 3])
    return _drawn(_ROWS, pick, rows=rows, loop=_loop(pick, rows, "blockIdx.x", "threadIdx.y"))


def rows_of_iterations(pick: Pick) -> PrimFunc:
    """Each iteration of the inner loop makes a row of its own, of which it uses one element."""
    loop, scope = pick(["parallel", "parallel", "serial"]), pick(["global", "global", "local"])
    return _drawn(_OWN_ROWS, pick, rows=pick([2, 3]), loop=loop, scope=scope)


def nests_of_threads(pick: Pick) -> PrimFunc:
    """A block of threads, and what reads its result, in threads of the same axis or others."""
    rows, columns = pick([1, 2]), pick([2, 3])
    same = ["threadIdx.x"] * 6
    inner, outer = _loop(pick, columns, *same), _loop(pick, rows, "blockIdx.x", *same)
    func: PrimFunc = from_source(
        _NEST.format(dtype=pick(["float32", "int32"]), columns=columns, rows=rows, inner=inner, outer=outer)
    )
    return func


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {
    "primitive:bind": (reductions_of_rows, *[rows_of_iterations] * 3, rows_of_a_kernel),
    "primitive:cache_write": (parts_that_never_run,),
    "primitive:compute_at": (nests_of_threads, nests_of_threads),
    "primitive:pad_einsum": (rows_of_a_kernel,),
    "primitive:rfactor": (sums_over_nothing,),
}
