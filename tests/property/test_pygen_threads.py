"""Kernels in both engines: random programs with threads, shared and local memory, barriers (with and without blocks,
present and missing), divergence, reductions over threads, other names for memory. Many of them mean nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlcref.errors import OracleError, ScriptError, UnsupportedError
from mlcref.interp import execute, interpret, pygen_vector
from mlcref.interp.memory import Undefined
from mlcref.interp.pygen import execute_generated
from mlcref.interp.pygen_code import NotGenerated
from mlcref.ir import PrimFunc
from mlcref.script import from_source

N = 12
"""Elements of each parameter."""


class _Writer:
    """Writes one kernel; ``pick`` chooses one of a list."""

    def __init__(self, pick: Any, explicit: bool) -> None:
        self.pick, self.explicit = pick, explicit
        self.lines: list[str] = []
        self.extents: dict[str, int] = {}
        self.tags: dict[str, tuple[str, int]] = {}
        self.count = 0
        self.memories: dict[str, int] = {"A": N, "B": N}

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    # --- expressions ---

    def index(self, size: int) -> str:
        """An index into ``size`` elements; now and then one that may leave them."""
        pick, names = self.pick, list(self.extents)
        form = pick(["one", "one", "flat", "flat", "mixed", "data", "constant"])
        if not names or form == "constant":
            return str(pick(range(size)))
        if form == "one":
            name = pick(names)
            shift = pick([0, 0, 0, 1])
            return f"{name} + {shift}" if shift else f"{name}" if self.extents[name] <= size else f"{name} % {size}"
        if form == "data":
            return f"T.min(T.max(I[{pick(range(4))}] + {pick(names)}, 0), {size - 1})"
        some = [name for name in names if pick([True, True, False])] or names[:1]
        if form == "flat":
            text, weight = "", 1
            for name in reversed(some):
                text = f"{name} * {weight}" + (f" + {text}" if text else "")
                weight *= self.extents[name]
            return text if weight <= size else f"({text}) % {size}"
        parts = [f"{name} * {pick([1, 2, 3])}" if pick([True, False]) else f"{name} // 2" for name in some]
        return f"({' + '.join(parts)} + {pick([0, 1, 5])}) % {size}"

    def load(self) -> str:
        name = self.pick(list(self.memories))
        return f"{name}[{self.index(self.memories[name])}]"

    def value(self) -> str:
        one = self.load()
        form = self.pick(["load", "sum", "constant", "choice"])
        if form == "sum":
            return f"{one} + {self.load()}"
        if form == "choice":
            return f"T.if_then_else({self.condition()}, {one}, T.float32(2))"
        return one if form == "load" else f"T.float32({self.pick([0, 1, 3])})"

    def condition(self) -> str:
        names = list(self.extents)
        form = self.pick(["variable", "data", "scalar"])
        if form == "data" or not names:
            return f"I[{self.index(4)}] > {self.pick([0, 1])}"
        if form == "scalar":
            return f"n > {self.pick([1, 2])}"
        name = self.pick(names)
        return f"{name} {self.pick(['<', '>', '=='])} {self.pick(range(self.extents[name] + 1))}"

    # --- statements ---

    def store(self, depth: int, fuel: int = 0) -> None:
        name = self.pick(list(self.memories))
        self.line(depth, f"{name}[{self.index(self.memories[name])}] = {self.value()}")

    def cooperative(self, depth: int, fuel: int) -> None:
        """Every thread of a block copies its part."""
        names = [var for tag, (var, _) in self.tags.items() if tag.startswith("threadIdx")]
        targets = [name for name in self.memories if name.startswith("S")]
        if not names or not targets:
            self.store(depth)
            return
        target, size = self.pick(targets), 1
        text = ""
        for name in reversed(names):
            text = f"{name} * {size}" + (f" + {text}" if text else "")
            size *= self.extents[name]
        at = text if size <= self.memories[target] else f"({text}) % {self.memories[target]}"
        self.line(depth, f"{target}[{at}] = A[{self.index(N)}]")
        if self.explicit and self.pick([True, True, True, False]):
            self.line(depth, 'T.tvm_storage_sync("shared")')

    def sequence(self, depth: int, fuel: int) -> None:
        for _ in range(self.pick([1, 2, 2, 3])):
            self.statement(depth, fuel)

    def statement(self, depth: int, fuel: int) -> None:
        kinds = ["store", "store", "cooperative", "cooperative"]
        kinds += ["loop", "branch", "let", "again", "block", "sum", "shared", "local"] if fuel > 0 else []
        kinds += ["sync", "sync"] if self.explicit else []
        kind = self.pick(kinds)
        if kind in ("block", "sum") and self.explicit:
            kind = "reduce" if self.pick([True, False]) else "declared"
        getattr(self, kind)(depth, fuel - 1)

    def sync(self, depth: int, fuel: int) -> None:
        self.line(depth, 'T.tvm_storage_sync("shared")')

    def scoped(self, depth: int, fuel: int, name: str, extent: int) -> None:
        self.extents[name] = extent
        self.sequence(depth, fuel)
        del self.extents[name]

    def loop(self, depth: int, fuel: int) -> None:
        name, extent = self.fresh("i"), self.pick([1, 2, 3])
        head = self.pick([f"range({extent})", f"range({extent})", f"T.parallel({extent})", f"T.vectorized({extent})",
                          "range(n)", f"T.thread_binding({extent}, thread=\"vthread.x\")",
                          f"range(I[{self.index(4)}])"])  # fmt: skip
        self.line(depth, f"for {name} in {head}:")
        self.scoped(depth + 1, fuel, name, extent)

    def branch(self, depth: int, fuel: int) -> None:
        self.line(depth, f"if {self.condition()}:")
        self.sequence(depth + 1, fuel)
        if self.pick([True, False, False]):
            self.line(depth, "else:")
            self.sequence(depth + 1, fuel)

    def let(self, depth: int, fuel: int) -> None:
        name = self.fresh("x")
        names = list(self.extents) or ["n"]
        value = self.pick([f"I[{self.index(4)}]", f"{self.pick(names)} * 2", f"{self.pick(names)} + n"])
        self.line(depth, f"{name}: T.int32 = {value}")
        self.line(depth, f"if {name} < {self.pick([1, 2, 9])}:")
        self.sequence(depth + 1, fuel)
        self.line(depth, f"A[T.min(T.max({name}, 0), {N - 1})] = {self.value()}")

    def again(self, depth: int, fuel: int) -> None:
        """An axis that is open already, or one that is not."""
        tag, extent = self.pick([*((tag, extent) for tag, (_, extent) in self.tags.items()), ("threadIdx.z", 2)])
        known = tag in self.tags
        name = self.fresh("p")
        extent = extent if self.pick([True] * 6 + [False]) else extent + 1
        self.line(depth, f'for {name} in T.thread_binding({extent}, thread="{tag}"):')
        if not known:
            self.tags[tag] = name, extent
        self.scoped(depth + 1, fuel, name, extent)
        if not known:
            del self.tags[tag]

    def local(self, depth: int, fuel: int) -> None:
        self.allocate(depth, fuel, "L", "local")

    def shared(self, depth: int, fuel: int) -> None:
        self.allocate(depth, fuel, "S", "shared")

    def allocate(self, depth: int, fuel: int, prefix: str, scope: str) -> None:
        name, size = self.fresh(prefix), self.pick([1, 2, 4])
        flat = self.explicit
        self.line(depth, f'{name} = T.alloc_buffer(({size},), "float32", scope="{scope}")')
        self.memories[name] = size
        if not flat or self.pick([True, True, False]):
            self.line(depth, f"{name}[{self.index(size)}] = {self.value()}")
        self.sequence(depth, fuel)
        del self.memories[name]

    def declared(self, depth: int, fuel: int) -> None:
        name, source = self.fresh("D"), self.pick(list(self.memories))
        size = self.memories[source]
        offset = self.pick([0, 0, 1, *self.extents])
        shape = self.pick([size, max(size - 1, 1), max(size // 2, 1)])
        self.line(depth, f'{name} = T.decl_buffer(({shape},), "float32", data={source}.data, elem_offset={offset})')
        self.memories[name] = shape
        self.sequence(depth, fuel)
        del self.memories[name]

    def block(self, depth: int, fuel: int) -> None:
        """A block with an iterator for some variable, and perhaps another name for a part of a memory."""
        name, it = self.fresh("b"), self.fresh("v")
        names = list(self.extents)
        if not names:
            self.store(depth)
            return
        of = self.pick(names)
        value = self.pick([of, of, of, f"{of} // 2", f"({of} + I[{self.index(4)}]) % {self.extents[of]}"])
        self.line(depth, f'with T.block("{name}"):')
        self.line(depth + 1, f"{it} = T.axis.{self.pick(['spatial', 'opaque'])}({self.extents[of]}, {value})")
        if self.pick([True, False, False]):
            self.line(depth + 1, f"T.where({self.condition()})")
        self.line(depth + 1, f"T.reads({', '.join(f'{m}[0:{k}]' for m, k in self.memories.items())}, I[0:4])")
        self.line(depth + 1, f"T.writes({', '.join(f'{m}[0:{k}]' for m, k in self.memories.items())})")
        self.extents[it] = self.extents[of]
        matched = self.matched(depth + 1, [it, f"{it} * 2", "0", *names]) if self.pick([True, False]) else ""
        if self.pick([True, False, False]):
            self.line(depth + 1, "with T.init():")
            self.store(depth + 2)
        self.sequence(depth + 1, fuel)
        del self.extents[it]
        self.memories.pop(matched, None)

    def matched(self, depth: int, starts: list[str]) -> str:
        """Another name for a part of a memory, in a block."""
        name, source, size, low = self.fresh("M"), self.pick(list(self.memories)), self.pick([1, 2]), self.pick(starts)
        declared = ""
        if self.pick([True, False, False]):
            self.line(depth, f"s_{name} = T.int32()")
            self.line(depth, f"e_{name} = T.int32()")
            declared = f", strides=[s_{name}], elem_offset=e_{name}"
        self.line(depth, f'{name} = T.match_buffer({source}[{low}:{low} + {size}], ({size},), "float32"{declared})')
        self.memories[name] = size
        return name

    def sum(self, depth: int, fuel: int) -> None:
        """A reduction over a loop, or over threads."""
        names = list(self.extents)
        if not names:
            self.store(depth)
            return
        name, k, v, s = self.fresh("b"), self.fresh("k"), self.fresh("v"), self.fresh("s")
        over, of, extent = self.pick([k, k, self.pick(names)]), self.pick(names), 3
        if over == k:
            self.line(depth, f"for {k} in range({extent}):")
            depth += 1
            self.extents[k] = extent
        target = self.pick([m for m, size in self.memories.items()])
        at = self.pick([v, f"({v} + {self.pick([0, 1])}) % {self.memories[target]}"])
        at = at if self.extents[of] <= self.memories[target] else f"{v} % {self.memories[target]}"
        self.line(depth, f'with T.block("{name}"):')
        self.line(depth + 1, f"{v} = T.axis.spatial({self.extents[of]}, {of})")
        value = self.pick([over, over, over, f"{self.extents[over] - 1} - {over}", f"{over} // 2"])
        self.line(depth + 1, f"{s} = T.axis.reduce({self.extents[over]}, {value})")
        if self.pick([True, False, False, False]):
            self.line(depth + 1, f"T.where({self.condition()})")
        self.line(depth + 1, "with T.init():")
        self.line(depth + 2, f"{target}[{at}] = T.float32(0)")
        self.extents[s], self.extents[v] = self.extents[over], self.extents[of]
        self.line(depth + 1, f"{target}[{at}] = {target}[{at}] + {self.load()}")
        del self.extents[s], self.extents[v]
        self.extents.pop(k, None)

    def reduce(self, depth: int, fuel: int) -> None:
        """An allreduce; it has a meaning only where all threads do it together."""
        threads = [var for tag, (var, _) in self.tags.items() if tag.startswith("threadIdx")]
        if not threads:
            self.store(depth)
            return
        result = self.pick(list(self.memories))
        some = self.pick([threads, threads[-1:]])
        reducer = self.pick(["x + y", "T.max(x, y)"])
        self.line(depth, f"with T.attr(T.comm_reducer(lambda x, y: {reducer}, [T.float32(0)]), \"reduce_scope\", "
                         'T.reinterpret("handle", T.uint64(0))):')  # fmt: skip
        self.line(depth + 1, f"T.tvm_thread_allreduce(T.uint32(1), {self.load()}, {self.condition()}, "
                             f"{result}[{self.index(self.memories[result])}], {', '.join(some)})")  # fmt: skip
        if fuel > 0:
            self.sequence(depth, fuel - 1)

    # --- the kernel ---

    def kernel(self, depth: int) -> None:
        pick = self.pick
        open_before = dict(self.tags)
        for tag, extents in (("blockIdx.x", [1, 2, 3]), ("threadIdx.y", [1, 2]), ("threadIdx.x", [2, 3, 4])):
            if pick([True, True, False] if tag != "threadIdx.x" else [True]):
                name, extent = self.fresh("b" if tag[0] == "b" else "t"), pick(extents)
                self.tags[tag] = name, extent
                if self.explicit:
                    self.line(depth, f'{name} = T.launch_thread("{tag}", {extent})')
                else:
                    self.line(depth, f'for {name} in T.thread_binding({extent}, thread="{tag}"):')
                    depth += 1
                self.extents[name] = extent
        self.sequence(depth, pick([1, 2]))
        self.extents.clear()
        self.tags = open_before

    def program(self) -> str:
        pick = self.pick
        head = "@T.prim_func(s_tir=False)" if self.explicit else "@T.prim_func"
        self.line(0, head)
        self.line(0, f'def f(A: T.Buffer(({N},), "float32"), B: T.Buffer(({N},), "float32"), '
                     'I: T.Buffer((4,), "int32"), n: T.int32):')  # fmt: skip
        for prefix, scope in (("S", "shared"), ("L", "local"), ("G", "global")):
            if pick([True, True, False] if prefix != "G" else [True, False, False, False]):
                name, size = self.fresh(prefix), pick([2, 4, 6])
                self.line(1, f'{name} = T.alloc_buffer(({size},), "float32", scope="{scope}")')
                self.memories[name] = size
        for _ in range(1 if self.explicit else pick([1, 1, 2])):
            self.kernel(1)
        return "\n".join(self.lines) + "\n"


def kernel(pick: Any) -> str:
    """The text of a kernel ``f(A, B, I, n)``."""
    return _Writer(pick, pick([False, False, True])).program()


@pytest.fixture(autouse=True, scope="module")
def _small_nests_as_arrays() -> Any:
    """Nests of all sizes become numpy statements, since drawn programs are small."""
    least, pygen_vector._LEAST = pygen_vector._LEAST, 2
    yield
    pygen_vector._LEAST = least


def bits(cell: Any) -> str:
    return "undefined" if type(cell) is Undefined else "nan" if cell != cell else repr(cell)


def outcome(run: Any) -> Any:
    """Every cell and every mark of a run; the rule that it breaks; or None where the machine must decide."""
    try:
        binding = run()
    except OracleError as error:
        return error.rule
    except NotGenerated:
        return None
    except UnsupportedError:
        return "unsupported"
    if binding is None:
        return None
    storages = [slot.view.storage for slot in binding.slots]
    return [([bits(cell) for cell in storage.cells], bytes(storage.touched)) for storage in storages]


def drawn(data: st.DataObject) -> tuple[PrimFunc, list[Any]]:
    """A kernel and arguments for it."""

    def pick(options: Any) -> Any:
        return data.draw(st.sampled_from(list(options)))

    text = kernel(pick)
    try:
        func = from_source(text)
    except ScriptError:
        assume(False)
    rng = np.random.default_rng(pick(range(100)))
    floats = [rng.integers(-3, 4, N).astype("float32"), rng.standard_normal(N).astype("float32")]
    return func, [*floats, rng.integers(0, 4, 4).astype("int32"), pick(range(4))]


@given(data=st.data())
def test_generated_kernels_have_the_machines_bits(data: st.DataObject) -> None:
    func, args = drawn(data)
    want = outcome(lambda: execute(func, args, engine="machine"))
    for arrays in (True, False):
        got = outcome(lambda a=arrays: execute_generated(func, args, (), arrays=a))
        assert got is None or got == want, func.script()


@given(data=st.data())
def test_engines_give_the_same_arrays_and_reports(data: st.DataObject) -> None:
    func, args = drawn(data)
    results = []
    for engine in ("machine", "auto"):
        given_args = [np.copy(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
        try:
            interpret(func, *given_args, engine=engine)
            results.append([array.tobytes() for array in given_args[:3]])
        except (OracleError, UnsupportedError) as error:
            results.append([str(error), *(array.tobytes() for array in given_args[:3])])
    assert results[0] == results[1]
