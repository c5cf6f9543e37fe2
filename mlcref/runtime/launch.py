"""Calls a compiled kernel: the compiled launcher where the installation has it, else its pure-Python twin.

``Launcher(address, params, name, noalias=True, parallel=False)`` wraps the kernel at ``address``. Calling it with one
argument per parameter checks count, data type, rank, every extent, layout, alignment, writability and, with
``noalias``, overlap, and raises ``CallError`` before the kernel writes anything. Arguments are numpy arrays,
``NDArray``, or what shares its memory through the buffer protocol or DLPack; scalars are Python or numpy numbers. The
kernel runs without the GIL.

``launcher.bind(*args)`` checks once and gives a ``Bound``, which runs the kernel when called; ``time_calls`` runs one
in a loop. ``parallel`` marks a kernel that starts OpenMP threads: a child forked later runs it on one thread.

``KernelSequence(params, steps, results, memory, holder, single)`` is several kernels as one call, in the compiled
launcher only (elsewhere None). ``params`` are those of the whole, buffers of constant shape that are only read, at most
``MOST_ARGUMENTS``. A step is a launcher with what its slots point to: an array or 8 bytes that stay what they are, or
("argument", number), ("result", number), ("memory", offset) in ``memory`` bytes that the kernels use between them.
``sequence.run(args)`` gives the results on fresh memory, ``holder`` of each array, a tuple of them unless ``single``;
None where an argument is not just what its parameter says, and then nothing has run. The memory is kept for the next
call until ``release``; calls at the same time have their own. ``sequence.time_kernels(args)`` makes the same call and
gives the seconds that each kernel took.

The ABI of a kernel is ``void k(void **args)``: a pointer per buffer, a pointer to an 8-byte slot holding the value per
scalar, then an ``int64`` slot per name that ``signature.extra_symbols`` lists.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType

from mlcref.runtime import call_check, launch_ctypes

_launchers: list[ModuleType] = [launch_ctypes]
try:
    from mlcref._kernels import launcher as _compiled
    from mlcref._kernels.launcher import ArrayHolder, Bound, Launcher, time_calls
except ImportError:  # installed where the extension could not be built
    from mlcref.runtime.launch_ctypes import ArrayHolder, Bound, Launcher, time_calls  # type: ignore[assignment]
else:
    _launchers.append(_compiled)
try:
    from mlcref._kernels.launcher import MOST_ARGUMENTS, KernelSequence
except ImportError:  # the same, or the extension is older than this file
    MOST_ARGUMENTS, KernelSequence = 0, None  # type: ignore[misc, assignment]

__all__ = ["COMPILED", "MOST_ARGUMENTS", "ArrayHolder", "Bound", "KernelSequence", "Launcher", "time_calls"]

COMPILED = len(_launchers) == 2
"""Is the compiled launcher in use?"""

for _launcher in _launchers:
    _launcher.set_resolve(partial(call_check.resolve, ArrayHolder))


# A pool of threads does not survive fork: libgomp in the child waits for threads that are gone. A child therefore runs
# its parallel regions on the calling thread: those nested deeper than "max active levels" are serial; with 0, all are.
# (Other OpenMP runtimes see to it themselves.) Libraries share libgomp and its pool, PyTorch among them: if a process
# has any other thread, that may be one of a pool that another library used.

_LIMIT_REGIONS = "omp_set_max_active_levels"
_limits: list[Callable[[int], object]] = []


def _find_limits() -> list[Callable[[int], object]]:
    """The function of every libgomp that a kernel may have been bound to; loads none."""
    loaded = [ctypes.CDLL(None)]  # another package may have loaded its own for all to see
    with suppress(OSError):
        loaded.append(ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW))
    return [getattr(library, _LIMIT_REGIONS) for library in loaded if hasattr(library, _LIMIT_REGIONS)]


def _has_other_threads() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) > 1
    except OSError:
        return True


def _before_fork() -> None:
    if any(launcher.parallel_has_run() for launcher in _launchers) or _has_other_threads():
        _limits[:] = _find_limits()


def _after_fork_in_child() -> None:
    for limit in _limits:
        limit(0)


if sys.platform == "linux":
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
