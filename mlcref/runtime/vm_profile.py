"""What each instruction of a program of the virtual machine takes: ``vm.profile("main", *args)``."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mlcref.errors import CallError
from mlcref.ir import Buffer, BufferLoad, BufferStore, PrimFunc, Var, walk
from mlcref.ir.shapes import Sizes
from mlcref.runtime.array import NDArray
from mlcref.runtime.launch import KernelSequence
from mlcref.runtime.operation_count import float_operations
from mlcref.runtime.vm_program import Allocate, GetField, Instruction, Invoke, LoadConstant, MakeShape, MakeTuple

if TYPE_CHECKING:
    from rich.table import Table

_OTHER = {Allocate: "allocate", GetField: "field", LoadConstant: "constant", MakeShape: "shape", MakeTuple: "tuple"}


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One instruction: what it calls, on what, in how many ``calls`` it was measured.

    ``microseconds`` is the median of a call, ``share`` its part of the sum over all instructions. ``bytes`` are those
    of the tensors that it gets, what is read and written counted twice, ``operations`` those on floats; None where they
    are not known.
    """

    name: str
    shapes: tuple[str, ...]
    calls: int
    microseconds: float
    share: float
    bytes: int | None = None
    operations: int | None = None

    @property
    def gigabytes_per_second(self) -> float | None:
        """Bytes over time."""
        return self._rate(self.bytes)

    @property
    def gigaflops(self) -> float | None:
        """Operations on floats over time, in 1e9 per second."""
        return self._rate(self.operations)

    def _rate(self, amount: int | None) -> float | None:
        return None if not amount or self.microseconds <= 0 else amount / self.microseconds / 1e3


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """What the instructions of ``function`` take, in the order in which they run, beside whole calls without a clock
    between the kernels, which take ``call_microseconds``.

    >>> row = ProfileRow("add", ("float32[4]", "float32[4]"), 10, 2.0, 1.0, 32, 4)
    >>> report = ProfileReport("main", (row,), 2.5)
    >>> report.microseconds, row.gigabytes_per_second
    (2.0, 0.016)
    """

    function: str
    rows: tuple[ProfileRow, ...]
    call_microseconds: float

    @property
    def microseconds(self) -> float:
        """The sum over the instructions."""
        return math.fsum(row.microseconds for row in self.rows)

    def by_kernel(self) -> tuple[ProfileRow, ...]:
        """The rows, those of one name and the same shapes as one, with their sums; the longest first."""
        groups: dict[tuple[str, tuple[str, ...]], list[ProfileRow]] = {}
        for row in self.rows:
            groups.setdefault((row.name, row.shapes), []).append(row)
        merged = [_merged(rows) for rows in groups.values()]
        return tuple(sorted(merged, key=lambda row: -row.microseconds))

    def json(self) -> str:
        """The report as JSON: the fields of each row, with their rates."""
        rates = [{"gigabytes_per_second": row.gigabytes_per_second, "gigaflops": row.gigaflops} for row in self.rows]
        rows = [{**asdict(row), **rate} for row, rate in zip(self.rows, rates, strict=True)]
        return json.dumps({"function": self.function, "call_microseconds": self.call_microseconds, "rows": rows})

    def table(self) -> Table:
        """The report as a table of rich."""
        from rich.table import Table  # takes 20 ms, which a program that shows nothing need not pay

        title = f"{self.function}: {self.call_microseconds:.1f} µs a call, {self.microseconds:.1f} µs in instructions"
        table = Table(title=title, title_justify="left")
        table.add_column("kernel", overflow="fold")
        table.add_column("tensors", overflow="fold")
        for name in ("calls", "µs", "share", "KiB", "GB/s", "GFLOP/s"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*_cells(row))
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=140, no_color=True, force_terminal=False)
        with console.capture() as captured:
            console.print(self.table())
        return captured.get()

    def show(self) -> None:
        """Print the table."""
        from rich.console import Console

        Console().print(self.table())


def _merged(rows: Sequence[ProfileRow]) -> ProfileRow:
    def total(amounts: Sequence[int | None]) -> int | None:
        known = [amount for amount in amounts if amount is not None]
        return sum(known) if len(known) == len(amounts) else None

    return ProfileRow(
        rows[0].name, rows[0].shapes, sum(row.calls for row in rows), math.fsum(row.microseconds for row in rows),
        math.fsum(row.share for row in rows), total([row.bytes for row in rows]),
        total([row.operations for row in rows]),
    )  # fmt: skip


def _cells(row: ProfileRow) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}"

    size = None if row.bytes is None else row.bytes / 1024
    return (
        row.name, ", ".join(row.shapes), str(row.calls), f"{row.microseconds:.2f}", f"{100 * row.share:.1f} %",
        number(size), number(row.gigabytes_per_second), number(row.gigaflops),
    )  # fmt: skip


@dataclass
class Timed:
    """An instruction whose calls are timed: its name, the arrays that it gets, the seconds of each call."""

    name: str
    arrays: list[Any]
    seconds: list[float]
    program: PrimFunc | None = None


def report_of(function: str, timed: Sequence[Timed], calls: Sequence[float]) -> ProfileReport:
    """The report of what was measured: the seconds of each instruction, and of whole ``calls``."""
    medians = [1e6 * statistics.median(item.seconds) for item in timed]
    total = math.fsum(medians) or 1.0
    rows = [_row(item, median, median / total) for item, median in zip(timed, medians, strict=True)]
    return ProfileReport(function, tuple(rows), 1e6 * statistics.median(calls))


def _row(item: Timed, microseconds: float, share: float) -> ProfileRow:
    shapes = tuple([f"{array.dtype.name}[{', '.join(map(str, array.shape))}]" for array in item.arrays])
    count = len(item.seconds)
    if item.program is None:
        return ProfileRow(item.name, shapes, count, microseconds, share)
    sizes = _sizes(item.program, item.arrays)
    operations = float_operations(item.program, sizes)
    return ProfileRow(item.name, shapes, count, microseconds, share, _bytes(item.program, item.arrays), operations)


def _buffers(program: PrimFunc, arrays: Sequence[Any]) -> list[tuple[Buffer, Any]]:
    return list(zip([param for param in program.params if isinstance(param, Buffer)], arrays, strict=False))


def _sizes(program: PrimFunc, arrays: Sequence[Any]) -> Sizes:
    return {
        extent: size for buffer, array in _buffers(program, arrays)
        for extent, size in zip(buffer.shape, array.shape, strict=True) if isinstance(extent, Var)
    }  # fmt: skip


def _bytes(program: PrimFunc, arrays: Sequence[Any]) -> int:
    """The bytes of the tensors, those that are read and written twice."""
    read = {node.buffer for node in walk(program.body) if isinstance(node, BufferLoad)}
    written = {node.buffer for node in walk(program.body) if isinstance(node, BufferStore)}
    return sum(array.nbytes * ((b in read) + (b in written)) for b, array in _buffers(program, arrays))


def time_steps(
    code: Sequence[Instruction], steps: Sequence[Callable[[list[Any]], None]], registers: Callable[[], list[Any]],
    programs: Mapping[str, PrimFunc], number: int,
) -> tuple[list[Timed], list[float]]:  # fmt: skip
    """Time ``number`` runs of a program step by step, on ``registers()`` each. Gives each instruction, in order, and
    the seconds of each run."""
    timed = [Timed(_name(instruction), [], [], programs.get(_name(instruction))) for instruction in code]
    runs = []
    for _ in range(number):
        held, start = registers(), perf_counter()
        for item, instruction, step in zip(timed, code, steps, strict=True):
            before = perf_counter()
            step(held)
            item.seconds.append(perf_counter() - before)
            if isinstance(instruction, Invoke):
                item.arrays = [held[at].array for at in instruction.args if isinstance(held[at], NDArray)]
        runs.append(perf_counter() - start)
    return timed, runs


def time_sequence(
    sequence: KernelSequence, args: tuple[object, ...], kernels: Sequence[Timed], number: int
) -> list[float]:
    """Time ``number`` calls of a sequence kernel by kernel, the same calls that a run of it makes, into ``kernels``.
    Gives the seconds of as many whole runs, which take turns with them."""
    runs = []
    for item in kernels:
        item.seconds.clear()
    for _ in range(number):
        start = perf_counter()
        sequence.run(args)
        runs.append(perf_counter() - start)
        taken = sequence.time_kernels(args)
        assert taken is not None, "the arguments are those of the run before"
        for item, seconds in zip(kernels, taken.tolist(), strict=True):
            item.seconds.append(seconds)
    return runs


def _name(instruction: Instruction) -> str:
    return instruction.name if isinstance(instruction, Invoke) else _OTHER[type(instruction)]


def require_runs(number: int) -> None:
    """Raise ``CallError`` (rule ``timing.number``) for fewer than one run."""
    if number < 1:
        raise CallError(f"profile: nothing to measure with {number=}", rule="timing.number", hint="number starts at 1")
