"""Sites of kernels: several thread axes, memory that threads share, barriers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from mlcref.ir import PrimFunc
from mlcref.schedule.draws import shuffled
from mlcref.script import from_source

Pick = Callable[..., Any]
Lines = list[str]


# ---- text


def _indented(lines: Lines) -> Lines:
    return [f"    {line}" for line in lines]


def _axis(var: str, extent: int, tag: str) -> str:
    return f'for {var} in T.thread_binding({extent}, thread="{tag}"):'


def _under(heads: Sequence[str], lines: Lines) -> Lines:
    """``lines`` below ``heads``, outermost first."""
    for head in reversed(heads):
        lines = [head, *_indented(lines)]
    return lines


def _program(parameters: Mapping[str, Sequence[int]], dtype: str, body: Lines, *, blocks: bool) -> PrimFunc:
    listed = ", ".join(f'{name}: T.Buffer({_tuple(shape)}, "{dtype}")' for name, shape in parameters.items())
    head = f"@T.prim_func{'' if blocks else '(s_tir=False)'}\ndef main({listed}):\n"
    func: PrimFunc = from_source(head + "\n".join(_indented(body)) + "\n")
    return func


def _tuple(extents: Sequence[int]) -> str:
    return f"({', '.join(map(str, extents))},)"


# ---- threads that write, and read after a barrier


@dataclass(frozen=True)
class _Grid:
    """Thread axes with their extents, outermost first, in each of ``blocks`` blocks of threads (0: there is no blockIdx
    axis). Each thread has ``chunk`` elements along the last dimension."""

    tags: tuple[str, ...]
    extents: tuple[int, ...]
    chunk: int
    blocks: int

    @property
    def shape(self) -> list[int]:
        """The elements of one block of threads."""
        return [*self.extents[:-1], self.extents[-1] * self.chunk]

    def heads(self, names: Sequence[str]) -> Lines:
        """The axes, over variables of these names."""
        return [_axis(*axis) for axis in zip(names, self.extents, self.tags, strict=True)]

    def own(self, names: Sequence[str]) -> list[str]:
        """The indices of a thread's element ``j``."""
        return [*names[:-1], f"{names[-1]} * {self.chunk} + j"]

    @property
    def all(self) -> list[int]:
        """The shape of parameters, which have the elements of all blocks of threads."""
        return [self.blocks, *self.shape] if self.blocks else self.shape

    def outside(self, indices: Sequence[str]) -> str:
        """``indices`` into a parameter."""
        return ", ".join(["b", *indices] if self.blocks else indices)


def _grid(pick: Pick) -> _Grid:
    names = pick(["x", "x", "yx", "xy", "zyx"])
    extents = tuple([pick([2, 3, 4] if len(names) < 3 else [2, 1, 3]) for _ in names])
    return _Grid(tuple([f"threadIdx.{name}" for name in names]), extents, pick([1, 2, 3]), pick([0, 1, 2]))


def _elsewhere(pick: Pick, own: Sequence[str], shape: Sequence[int]) -> tuple[list[str], str]:
    """The indices of another element, or of the same, and the condition under which there is such one."""
    d, step = pick(range(len(own))), pick([1, 2])
    kind = pick(["own", "ahead", "behind", "turned", "around"])
    here, moved = own[d], list(own)
    moved[d] = {"own": here, "ahead": f"{here} + {step}", "behind": f"{here} - {step}",
                "turned": f"{shape[d] - 1} - ({here})", "around": f"({here} + {step}) % {shape[d]}"}[kind]  # fmt: skip
    return moved, {"ahead": f"{here} + {step} < {shape[d]}", "behind": f"{here} >= {step}"}.get(kind, "")


@dataclass(frozen=True)
class _Memory:
    """Memory M of the threads: its shape, where an element of a block of threads is in it, and the shape of its second
    name N, if there is one, under which it is read."""

    scope: str
    dtype: str
    shape: Sequence[int]
    place: Callable[[Sequence[str]], Sequence[str]]
    view: Sequence[int]

    def written(self, indices: Sequence[str]) -> str:
        """The element, to be written."""
        return f"M[{', '.join(self.place(indices))}]"

    def read(self, indices: Sequence[str]) -> str:
        """The element, to be read."""
        place = self.place(indices)
        if not self.view:
            return f"M[{', '.join(place)}]"
        return f"N[{', '.join(place) if len(self.view) == len(self.shape) else _in_a_row(place, self.shape)}]"

    def made(self) -> Lines:
        """Its allocation, unless it is a parameter, and its second name."""
        kind, scope = f'"{self.dtype}"', f'scope="{self.scope.replace("parameter", "global")}"'
        made = [] if self.scope == "parameter" else [f"M = T.alloc_buffer({_tuple(self.shape)}, {kind}, {scope})"]
        named = [f"N = T.decl_buffer({_tuple(self.view)}, {kind}, data=M.data, {scope})"] if self.view else []
        return [*made, *named]


def _memory(pick: Pick, grid: _Grid, scope: str, dtype: str, each: bool) -> _Memory:
    """Memory for all elements, as they are, in another order or in one row; ``each``: or for those of one thread."""
    shape, outside = grid.shape, scope in ("parameter", "global") and grid.blocks > 0
    layout = pick(["rows", "row", "columns", *(["thread"] * 3 if each else [])])

    def place(indices: Sequence[str]) -> Sequence[str]:
        if layout == "thread":
            return ["j"]
        inner = [_in_a_row(indices, shape)] if layout == "row" else indices if layout == "rows" else indices[::-1]
        return ["b", *inner] if outside else inner

    sizes = {"rows": shape, "row": [prod(shape)], "columns": shape[::-1], "thread": [grid.chunk]}[layout]
    sizes = [grid.blocks, *sizes] if outside else sizes
    views = [[], [], [], sizes, [prod(sizes)]] if scope != "local" else [[]]  # a name outside a thread is no thread's
    return _Memory(scope, dtype, sizes, place, pick(views))


def _in_a_row(indices: Sequence[str], shape: Sequence[int]) -> str:
    text = indices[0]
    for index, extent in zip(indices[1:], shape[1:], strict=True):
        text = f"({text}) * {extent} + {index}"
    return text


_OWN_AXES = {"one": 0, "again": 0, "inner": 1, "two": 3}
"""How many axes, from the innermost one, each of the two phases of :func:`exchange` has for itself."""


def exchange(pick: Pick) -> PrimFunc:
    """Threads write elements of their own, and read after a barrier their own, their neighbours' or any others.

    Both happen in "one" nest, in "two", in "inner" axes below common ones, or the second one through a loop on an axis
    that is open "again". The threads of the second may be others, or fewer.
    """
    first, dtype = _grid(pick), pick(["float32", "int32", "int8"])
    rank, nests = len(first.tags), pick(["one", "two", "again", "inner", "two", "again"])
    common = max(rank - _OWN_AXES[nests], 0)
    scope = pick(["shared", "local", "parameter", "global"])
    private = scope == "local" and bool(common or first.blocks)
    memory = _memory(pick, first, scope, dtype, private)
    t, u = [f"t{n}" for n in range(rank)], [f"u{n}" for n in range(rank)]
    open_already = rank - 1 if nests == "again" else common
    u[:open_already] = t[:open_already]
    other = nests in ("inner", "two") and not private and pick([False, True])
    second = replace(first, extents=(*first.extents[:-1], first.shape[-1]), chunk=1) if other else first
    heads = second.heads(u)[open_already:]
    if other and pick([False, True]):
        heads[-1] = f"for {u[-1]} in range({second.extents[-1]}):"
    barrier = ['T.tvm_storage_sync("shared")'] if common == rank and pick([False, True]) else []
    lines = [*_under(first.heads(t)[common:], _writes(first, t, memory)), *barrier,
             *_under(heads, _reads(pick, second, u, memory, private))]  # fmt: skip
    return _kernel(pick, first, memory, first.heads(t)[:common], lines)


def _writes(grid: _Grid, names: Sequence[str], memory: _Memory) -> Lines:
    own = grid.own(names)
    value = f"A[{grid.outside(own)}] + T.{memory.dtype}(1)"
    return [f"for j in range({grid.chunk}):", f"    {memory.written(own)} = {value}"]


def _reads(pick: Pick, grid: _Grid, names: Sequence[str], memory: _Memory, private: bool) -> Lines:
    own = grid.own(names)
    source, condition = (own, "") if private else _elsewhere(pick, own, grid.shape)
    value = memory.read(source)
    if condition:
        value = f"T.if_then_else({condition}, {value}, T.{memory.dtype}(0))"
    return [f"for j in range({grid.chunk}):", f"    C[{grid.outside(own)}] = {value}"]


def _kernel(pick: Pick, grid: _Grid, memory: _Memory, axes: Lines, lines: Lines) -> PrimFunc:
    """``lines`` below the axes, with the memory made somewhere around them, in all blocks of threads."""
    levels = {"shared": ["axes", "block"] if grid.blocks else ["axes", "top"], "local": ["top", "block", "axes"]}
    level = pick(levels.get(memory.scope, ["top"]))
    lines = _under(axes, [*(memory.made() if level == "axes" else []), *lines])
    blocks = [_axis("b", grid.blocks, "blockIdx.x")] if grid.blocks else []
    lines = _under(blocks, [*(memory.made() if level == "block" else []), *lines])
    parameter = {"M": memory.shape} if memory.scope == "parameter" else {}
    everything = {"A": grid.all, **parameter, "C": grid.all}
    return _program(everything, memory.dtype, [*(memory.made() if level == "top" else []), *lines], blocks=False)


def rounds(pick: Pick) -> PrimFunc:
    """Threads write in every round of a loop elements of their own, or others, which another thread wrote before."""
    grid, dtype = _grid(pick), pick(["float32", "int32"])
    names = [f"t{n}" for n in range(len(grid.tags))]
    own, d = grid.own(names), pick(range(len(names)))
    moved = list(own)
    after = pick(["", 'T.tvm_storage_sync("shared")', f"D[{grid.outside([*own[:-1], names[-1]])}] = T.{dtype}(1)"])
    if after and pick([False, True, True]):
        moved[d] = f"({own[d]} + r) % {grid.shape[d]}"
    store = [f"for j in range({grid.chunk}):", f"    C[{grid.outside(moved)}] = A[{grid.outside(own)}] * T.{dtype}(2)"]
    head = pick(["for r in range(2):", "for r in range(3):", _axis("r", 2, "vthread.x")])
    blocks = [_axis("b", grid.blocks, "blockIdx.x")] if grid.blocks else []
    lines = _under([*blocks, *grid.heads(names), head], [*store, after] if after else store)
    return _program({"A": grid.all, "C": grid.all, "D": grid.all}, dtype, lines, blocks=False)


# ---- virtual threads


def virtual(pick: Pick) -> PrimFunc:
    """Virtual threads between thread axes, some of them inside others of the same name: they write all elements, or
    add up a part of them in order."""
    inner = pick([["vthread.x"], ["vthread.x", "vthread.x"], ["vthread.x", "vthread.y"], ["vthread", "vthread"]])
    order = shuffled(pick, ["threadIdx.x", *inner])
    blocks, size = pick([0, 2]), pick([2, 3])
    extents = [pick([size, size, 4]) for _ in order]
    names = [f"v{n}" for n in range(len(order))]
    if blocks:
        order, extents, names = ["blockIdx.x", *order], [blocks, *extents], ["b", *names]
    heads = [_axis(*axis) for axis in zip(names, extents, order, strict=True)]
    dtype, kept = pick(["float32", "int32"]), list(range(len(order)))
    total = pick([False, True])
    if total:
        kept = [n for n, tag in enumerate(order) if "vthread" not in tag]
    target = f"C[{', '.join(names[n] for n in kept)}]"
    value = f"A[{', '.join(names)}]"
    line = f"{target} = {target} * T.{dtype}(2) + {value}" if total else f"{target} = {value} + T.{dtype}(1)"
    return _program({"A": extents, "C": [extents[n] for n in kept]}, dtype, _under(heads, [line]), blocks=False)


# ---- blocks to be bound


def begun(pick: Pick) -> PrimFunc:
    """An axis that is opened and opened again, by loops that begin anywhere."""
    extent, one, two = pick([3, 2, 4]), pick([0, 2, 1]), pick([0, 1, 3])
    tag, dtype = pick(["threadIdx.x", "blockIdx.x"]), pick(["int32", "float32"])
    heads = [f'for {var} in T.thread_binding({low}, {low + extent}, thread="{tag}"):'
             for var, low in (("t", one), ("u", two))]  # fmt: skip
    line = f"B[u - {two}] = A[t - {one}] * T.{dtype}(2)" if pick([True, False]) else f"B[t - {one}] = A[u - {two}]"
    between = [] if pick([True, False]) else ["for r in range(2):"]
    lines = _under([heads[0], *between, heads[1]], [line])
    return _program({"A": [extent], "B": [extent]}, dtype, lines, blocks=False)


def repeated(pick: Pick) -> PrimFunc:
    """Rows that each iteration of an inner loop computes for itself before it uses one element: its own memory, as
    long as that loop is all that uses it."""
    rows, width, dtype = pick([2, 3]), pick([2, 3, 4]), pick(["int32", "float32"])
    inner, whole = pick(["T.parallel", "T.parallel", "range"]), pick([True, True, False])
    one = _block("B", ["i", "k"] if whole else ["i", "j"], f"B[vi, {'vk' if whole else 'vj'}] = "
                 f"A[vi, {'vk' if whole else 'vj'}] * T.{dtype}(2)")  # fmt: skip
    other = _block("C", ["i", "j"], "C[vi, vj] = B[vi, vj]")
    first = _under([f"for k in range({width}):"], one) if whole else one
    lines = _under([f"for i in range({rows}):", f"for j in {inner}({width}):"], [*first, *other])
    made = f'B = T.alloc_buffer({_tuple([rows, width])}, "{dtype}")'
    return _program({"A": [rows, width], "C": [rows, width]}, dtype, [made, *lines], blocks=True)


def bound(pick: Pick) -> PrimFunc:
    """A block and one that reads what it wrote, over loops that both share or not, some of which run as threads.

    Each iteration of the outer loops has elements of its own, or all of them do the same ("alike") for memory that each
    of them sees.
    """
    blocks, outer, inner = pick([0, 2, 3]), pick([2, 3, 4]), pick([2, 3, 4])
    dtype, reads = pick(["float32", "int32"]), pick(["j", f"{inner - 1} - j"])
    together, grid = pick([True, True, False]), pick([True, True, False]) and blocks > 0
    alike = together and pick([True, True, False])
    axes = ["threadIdx.x", "threadIdx.x", "threadIdx.x", "threadIdx.y", *([] if blocks else ["blockIdx.x"])]
    first = pick(axes if alike else ["", "vthread.x", *axes])
    scope = pick(["local", "shared"] if alike and (grid or first == "blockIdx.x") else ["local", "shared", "global"])
    second = first if together or scope == "local" else pick(["", first])
    outermost = [_axis("b", blocks, "blockIdx.x") if grid else f"for b in range({blocks}):"] if blocks else []
    names = ["b", "i", "j"] if blocks else ["i", "j"]
    sizes = [blocks, outer, inner] if blocks else [outer, inner]
    kept = names[-1:] if alike else names
    value = f"B[{_iterators(kept)}] * T.{dtype}(2)"
    one = _block("L", kept, f"L[{_iterators(kept)}] = {value}")
    source = f"L[{_iterators([*kept[:-1], reads])}]"
    other = _block("C", names, f"C[{_iterators(names)}] = {source} + A[{_iterators(names)}]")
    loops = [f"for j in range({inner}):"]
    if together:
        lines = _under([*outermost, _loop("i", outer, first)], [*_under(loops, one), *_under(loops, other)])
    else:
        lines = _under(outermost, [*_under([_loop("i", outer, first), *loops], one),
                                   *_under([_loop("i", outer, second), *loops], other)])  # fmt: skip
    parameters = {"A": sizes, "B": sizes[-len(kept) :], "C": sizes}
    made = f'L = T.alloc_buffer({_tuple(sizes[-len(kept) :])}, "{dtype}", scope="{scope}")'
    return _program(parameters, dtype, [made, *lines], blocks=True)


def _loop(var: str, extent: int, tag: str) -> str:
    return _axis(var, extent, tag) if tag else f"for {var} in range({extent}):"


def _iterators(names: Sequence[str]) -> str:
    """An index: the iterators of loops, an expression of ``j`` for the last of them."""
    return ", ".join([*(f"v{name}" for name in names[:-1]), names[-1].replace("j", "vj")])


def _block(name: str, loops: Sequence[str], line: str) -> Lines:
    iterators = ", ".join(f"v{loop}" for loop in loops)
    if len(loops) == 1:
        iterators += ","
    remap = f'{iterators} = T.axis.remap("{"S" * len(loops)}", [{", ".join(loops)}])'
    return [f'with T.block("{name}"):', *_indented([remap, line])]


SITES: dict[str, tuple[Callable[[Pick], PrimFunc], ...]] = {
    "pass:serialize_threads": (exchange, exchange, rounds, virtual, begun),
    "primitive:bind": (bound, bound, repeated),
}
