"""What schedules are fitted to: lanes, registers, caches, threads. Tests fit them to tiny machines, so that small
programs have all the parts of large ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcref import dtype as dt
from mlcref.ir import Target


@dataclass(frozen=True, slots=True)
class Machine:
    """Sizes of a CPU: bytes of a vector and of the second cache of one core, vector registers, threads; terms of a sum
    that are taken at once, and operations that pay for starting threads.

    >>> Machine(threads=2).lanes("float32")
    16
    """

    vector_bytes: int = 64
    registers: int = 32
    l2_bytes: int = 1 << 20
    threads: int = 1
    terms: int = 1024
    parallel_work: int = 2_000_000

    def lanes(self, dtype: str) -> int:
        """Elements of ``dtype`` in one vector; of bfloat16 and float8 those of float32, in which they are computed."""
        parsed = dt.parse(dtype)
        size = 4 if parsed.is_float and parsed.element != "float16" and parsed.bits < 32 else max(parsed.bits // 8, 1)
        return max(self.vector_bytes // size, 1)

    @staticmethod
    def of(target: Any) -> Machine:
        """The machine that a target (or what makes one) describes. Schedules may fill half of the second cache: a
        packed panel of 64 columns of float32 a quarter of that."""
        chosen = target if isinstance(target, Target) else Target(target)
        cpu = chosen.cpu
        half = cpu.l2_bytes // 2
        return Machine(cpu.vector_bytes, cpu.vector_registers, half, chosen.num_cores, min(max(half >> 10, 256), 1024))
