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
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mlcref.codegen.kernel_source import KernelSource
from mlcref.runtime.build import LoadedKernels, ToC, build_kernels, cython_to_c

_HELPER = """
import gc, sys
from Cython.Compiler import Main, ParseTreeTransforms  # the second takes 0.5 s, while the first text is being made
gc.disable()
for line in sys.stdin:
    source = line.rstrip("\\n")
    options = Main.CompilationOptions(Main.default_options, output_file=source[:-3] + "c", errors_to_stderr=0,
                                      use_listing_file=0, language_level=3)
    result = Main.compile(source, options)
    print("done" if result is not None and not result.num_errors else "failed", flush=True)
    if gc.get_count()[0] > 1_000_000:  # trees of 0.15 GB
        gc.collect()
"""

Built = tuple[KernelSource, LoadedKernels]
_Job = tuple[KernelSource, "Future[LoadedKernels]"]


class Builders:
    """Builds sources as they are added: this thread at the end, helpers meanwhile. A context manager.

    >>> text = "cdef void nothing{}(void** args) noexcept nogil:\\n    pass\\n"
    >>> with Builders() as builders:
    ...     for n in range(2):
    ...         builders.add(KernelSource(text.format(n), (f"nothing{n}",), ()))
    ...     [sorted(kernels.addresses) for _, kernels in builders.built()]
    [['nothing0'], ['nothing1']]
    """

    def __init__(self) -> None:
        self.waiting: deque[_Job] = deque()
        self.jobs: list[_Job] = []
        self.helpers = [Helper(self.waiting) for _ in range(_other_cores())]

    def __enter__(self) -> Builders:
        return self

    def __exit__(self, *reason: object) -> None:
        self.waiting.clear()
        for helper in self.helpers:
            helper.close()

    def start(self) -> None:
        """Sources will follow soon: let helpers get ready, which takes as long as making the first source."""
        for helper in self.helpers:
            helper.start()

    def add(self, source: KernelSource) -> None:
        """Build ``source`` as soon as somebody has time."""
        self.jobs.append((source, Future()))
        self.waiting.append(self.jobs[-1])
        for helper in self.helpers:
            helper.wake()

    def built(self) -> list[Built]:
        """The kernels of each source, in order. Raises ``CompileError`` as ``build_kernels`` does, for the first source
        with which something is wrong.
        """
        _empty(self.waiting, None)
        return [(source, future.result()) for source, future in self.jobs]


def _other_cores() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count - 1


class Helper:
    """A thread that builds what is waiting, and the process that runs Cython for it."""

    def __init__(self, waiting: deque[_Job]) -> None:
        self.waiting = waiting
        self.thread = ThreadPoolExecutor(1, "mlcref-build")
        self.process: subprocess.Popen[str] | None = None

    def close(self) -> None:
        """Wait for what is being built; end the process."""
        self.thread.shutdown()
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    def start(self) -> None:
        """Start the process, unless that was done or cannot be done."""
        self.thread.submit(self._start)

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
        process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        process.stdin.flush()
        return process.stdout.readline()

    def _start(self) -> subprocess.Popen[str]:
        if self.process is None:
            self.process = subprocess.Popen([sys.executable, "-c", _HELPER], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
        return self.process


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
