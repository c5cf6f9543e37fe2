"""A worker process as its parent sees it: requests, steps with a time limit, and who was at work when it died."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from mlcref.benchmark.check import one_line
from mlcref.errors import MlcrefError

Step = Callable[[str, str | None], None]
"""Hears what begins: the step, and the system whose it is."""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMBA_NUM_THREADS",
    "TVM_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Settings of one's own that would make the comparison one of settings."""


WORKER = (sys.executable, "-m", "mlcref.benchmark.worker")


class WorkerLost(MlcrefError):
    """A worker that died or, ``late``, did not answer in time; ``system`` is the one that was at work, or None."""

    def __init__(self, what: str, system: str | None, *, late: bool = False) -> None:
        super().__init__(what, rule="bench.worker")
        self.system, self.late = system, late


def environment(threads: int) -> dict[str, str]:
    """The environment of a worker: what sizes the pools of threads of all libraries, and no overrides.

    >>> environment(2)["OPENBLAS_NUM_THREADS"]
    '2'
    """
    found = {name: value for name, value in os.environ.items() if name not in _OVERRIDES}
    return {**found, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}


class Child:
    """A worker. Use it as a context manager; ``limit`` is what any one step may take, in seconds. ``command`` gets the
    number of the file descriptor that it answers to as its last argument.
    """

    def __init__(self, threads: int, limit: float, command: Sequence[str] = WORKER) -> None:
        self.threads, self.limit = threads, limit
        descriptor, name = tempfile.mkstemp(prefix="mlcref-bench-")
        self._words = Path(name)
        self._from_child, to_parent = os.pipe()
        self._pending = b""
        with _pinned(threads):
            self._process = subprocess.Popen(
                [*command, str(to_parent)],
                stdin=subprocess.PIPE,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                env=environment(threads),
                pass_fds=(to_parent,),
                start_new_session=True,
            )
        os.close(to_parent)
        os.close(descriptor)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker and whatever it started."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # what a worker that is gone did not read
                self._process.stdin.close()
        if self._from_child >= 0:
            os.close(self._from_child)
            self._from_child = -1
        self._words.unlink(missing_ok=True)

    def ask(self, request: Mapping[str, Any], on_step: Step = lambda step, system: None) -> Any:
        """The answer to a request. Raises ``WorkerLost``, and ``MlcrefError`` for a request that failed as such."""
        step, system = "start", None
        self._send({**request, "threads": self.threads}, system)
        deadline = monotonic() + self.limit
        while True:
            line = self._line(deadline)
            if line is None:
                late = monotonic() >= deadline
                raise WorkerLost(self._obituary(step, late), system, late=late)
            message = json.loads(line)
            if "result" in message:
                return message["result"]
            if "error" in message:
                raise MlcrefError(message["error"], rule="bench.request")
            step, system = message["step"], message["system"]
            deadline = monotonic() + self.limit
            on_step(step, system)

    def _send(self, request: Mapping[str, Any], system: str | None) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerLost(self._obituary("start", late=False), system) from None

    def _line(self, deadline: float) -> bytes | None:
        """The next line; None at the end of the worker or at the deadline."""
        while b"\n" not in self._pending:
            left = deadline - monotonic()
            if left <= 0 or not select.select([self._from_child], [], [], left)[0]:
                return None
            read = os.read(self._from_child, 1 << 16)
            if not read:
                return None
            self._pending += read
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _obituary(self, step: str, late: bool) -> str:
        if late:
            return f"no end of the step {step!r} within {self.limit:g} s"
        code = self._process.wait()
        words = self._words.read_text(errors="replace").strip().splitlines()
        last = f": {one_line(words[-1])}" if words else ""
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        return f"the process ended {how} in the step {step!r}{last}"


@contextmanager
def _pinned(threads: int) -> Iterator[None]:
    """Processes started here run on as many cores as they may have threads: not every library can be told."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
