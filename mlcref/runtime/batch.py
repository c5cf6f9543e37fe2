"""Many kernels at once: a few modules of several kernels each, built side by side.

Cython is Python and holds the GIL. While this process translates the next programs to Cython, helpers, one for each
further core, run Cython on the texts that are ready, each in a process that knows nothing but Cython; the C compiler
runs beside both. A helper that fails leaves its text to this process, which reports what is wrong with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from mlcref.codegen.kernel_source import KernelSource
from mlcref.runtime.build import LoadedKernels, ToC, build_kernels, cython_to_c

_HELPER = """
import gc, sys
from Cython.Compiler import Main
gc.disable()
for line in sys.stdin:
    source = line.rstrip("\\n")
    options = Main.CompilationOptions(Main.default_options, output_file=source[:-3] + "c", errors_to_stderr=0,
                                      use_listing_file=0, language_level=3)
    result = Main.compile(source, options)
    print("done" if result is not None and not result.num_errors else "failed", flush=True)
    gc.collect()
"""

Built = tuple[KernelSource, LoadedKernels]
_Job = tuple[KernelSource, "Future[LoadedKernels]"]


def build_batches(sources: Iterable[KernelSource]) -> list[Built]:
    """The kernels of each of ``sources``, which may be made one after the other as they are asked for.

    Raises ``CompileError`` as ``build_kernels`` does, for the first source with which something is wrong.
    """
    waiting: deque[_Job] = deque()
    jobs: list[_Job] = []
    with ExitStack() as stack:
        helpers = [stack.enter_context(Helper(waiting)) for _ in range(_other_cores())]
        for source in sources:
            jobs.append((source, Future()))
            waiting.append(jobs[-1])
            for helper in helpers if len(jobs) > 1 else ():
                helper.wake()
        _empty(waiting, None)
    return [(source, future.result()) for source, future in jobs]


def _other_cores() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count - 1


class Helper:
    """A thread that builds what is waiting, and the process that runs Cython for it, once there is something to do."""

    def __init__(self, waiting: deque[_Job]) -> None:
        self.waiting = waiting
        self.thread = ThreadPoolExecutor(1, "mlcref-build")
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *reason: object) -> None:
        self.thread.shutdown()
        if self.process is not None:
            self.process.communicate()

    def wake(self) -> None:
        """Something is waiting."""
        self.thread.submit(_empty, self.waiting, self.to_c)

    def to_c(self, source: Path) -> Path:
        """The C file that Cython makes of ``source``, in the process; in this one when that fails."""
        try:
            answer = self._ask(f"{source}\n")
        except OSError:  # it cannot be started, or has ended
            answer = ""
        return source.with_suffix(".c") if answer == "done\n" else cython_to_c(source)

    def _ask(self, line: str) -> str:
        if self.process is None:
            self.process = subprocess.Popen([sys.executable, "-c", _HELPER], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()
        return self.process.stdout.readline()


def _empty(waiting: deque[_Job], to_c: ToC | None) -> None:
    """Build what is waiting until nothing is; whoever asks a future for its result gets the error, too."""
    while True:
        try:
            source, future = waiting.popleft()
        except IndexError:
            return
        try:
            future.set_result(build_kernels(source.text, source.names, to_c))
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
