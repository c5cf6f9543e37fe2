"""Finds the C compiler and the flags it takes, and remembers both, so that a cached kernel starts no compiler."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shlex
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from mlcref.errors import CompileError
from mlcref.records import dataclass
from mlcref.runtime.cache import cache_root, digest, publish, scratch

# Nothing here may let the compiler reassociate or drop a sign of zero: sums are reordered by schedules alone, where the
# oracle sees it. Contracting a*b+c is the one deviation that backends declare.
_BASE = ("-O3", "-fPIC", "-shared", "-fno-strict-aliasing", "-w")
_WANTED = ("-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
_WIDE_VECTORS = "-mprefer-vector-width=512"
_NO_MASKED_LOADS = "-fno-tree-loop-if-convert"
"""gcc 12 loses elements of ``T[i, j] = 1 <= i && i < 9 ? A[i - 1, j] : 0`` for two ``j``, of any type: where it takes
several masked loads for one loop it gives all of them the first one's mask. It masks what it has taken conditions from.
"""
_NO_CARRIED_LOADS = "-fno-predictive-commoning"
"""gcc keeps what one iteration loads for the next one to use. The rows of a register tile of a convolution are such
loads, and there are no registers left for them: half the time of the loop goes into moving them to the stack and back.
"""
_GCC_ONLY = (_NO_MASKED_LOADS, _NO_CARRIED_LOADS)
_OPENMP = "-fopenmp"
_LIBRARIES = ("-lmvec", "-lm")

_MODULE_PROBE = """
#include <Python.h>
#include <stdio.h>
int answer(void) { return 42; }
"""
_FLAG_PROBE = """
#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif
int main(int count, char **arguments) {
    double sum[64] = {0};
    #pragma omp parallel for
    for (int i = 0; i < 64; i++) sum[i] += sqrt(count + i);
    return sum[count % 64] < 0;
}
"""


@dataclass(frozen=True)
class Compiler:
    """A C compiler that builds kernels: its command, what it says its version is, and the flags it was seen to take."""

    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...]
    libraries: tuple[str, ...]

    @property
    def openmp(self) -> bool:
        """Can kernels run parallel loops on several threads?"""
        return _OPENMP in self.flags

    @property
    def identity(self) -> str:
        """Everything about the compiler that a built kernel depends on."""
        return json.dumps(asdict(self))

    def shared_library(self, source: Path, target: Path) -> None:
        """Compile one C file to a Python extension module; raises ``CompileError`` with the compiler's own words."""
        include = f"-I{sysconfig.get_paths()['include']}"
        run(self.command, [*self.flags, include, str(source), "-o", str(target), *self.libraries])


def run(command: Sequence[str], arguments: Sequence[str]) -> str:
    """What the compiler prints; raises ``CompileError`` when it fails or cannot be started."""
    import subprocess  # here, since a cached kernel starts no compiler

    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except OSError as reason:
        raise CompileError(f"cannot run {shlex.join(command)}: {reason}", rule="build.compiler") from reason
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise CompileError(f"{shlex.join(command)} failed:\n{words}", rule="build.compiler")
    return done.stdout


@cache
def cpu_features() -> str:
    """The instruction sets of this machine, as the system names them; part of every kernel's key."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("flags", "Features", "model name", "CPU part")
    first = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    return " ".join([platform.machine(), *(first[key] for key in wanted if key in first)])


def find_compiler() -> Compiler:
    """The compiler for kernels: ``CC`` where set, else gcc, clang, cc, else the one in the ``ziglang`` wheel.

    Raises ``CompileError`` (rule ``build.compiler``) where there is none or it cannot build an extension module.
    """
    return _probed(_command())


def why_no_compiler() -> str | None:
    """Why kernels cannot be built here, with the way out; ``None`` where they can."""
    try:
        find_compiler()
    except CompileError as error:
        return str(error)
    return None


def _command() -> tuple[str, ...]:
    chosen = os.environ.get("CC", "").strip()
    if chosen:
        program, *arguments = shlex.split(chosen)
        path = _found(program)
        if path is None:
            message = f"CC is set to {chosen!r}, but {program!r} is no program that can be run"
            raise CompileError(message, rule="build.compiler", hint="unset CC or set it to a C compiler")
        return (path, *arguments)
    for program in ("gcc", "clang", "cc"):
        path = _found(program)
        if path is not None:
            return (path,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "cc")
    hint = "install gcc (apt-get install gcc libc6-dev), or pip install ziglang, or set CC"
    raise CompileError("no C compiler found: neither gcc, clang nor cc is on PATH", rule="build.compiler", hint=hint)


def _found(program: str) -> str | None:
    """Where a program stands, as ``shutil.which`` says; importing that takes longer than looking."""
    folders = [""] if os.path.dirname(program) else os.get_exec_path()
    paths = [os.path.join(folder, program) for folder in folders]
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)


_known: dict[str, Compiler] = {}


def _probed(command: tuple[str, ...]) -> Compiler:
    """The compiler behind the command, from memory, from the cache or by trying it out."""
    program = Path(command[0]).resolve()
    status = program.stat()
    include = sysconfig.get_paths()["include"]
    stamp = f"{program} {status.st_mtime_ns} {status.st_size}"
    key = digest(*command, stamp, cpu_features(), include, *_BASE, *_WANTED, *_GCC_ONLY)
    name = f"compiler-{key}.json"
    if name not in _known:
        _known[name] = _read(cache_root() / name) or _try_out(command, name)
    return _known[name]


def _read(path: Path) -> Compiler | None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        command, flags, libraries = (tuple(fields[name]) for name in ("command", "flags", "libraries"))
        return Compiler(command, str(fields["version"]), flags, libraries)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _try_out(command: tuple[str, ...], name: str) -> Compiler:
    with scratch() as folder:
        version = run(command, ["--version"]).strip()
        _require_headers(command, folder)
        wanted = [*_WANTED, _OPENMP]
        if "avx512f" in cpu_features():
            wanted.append(_WIDE_VECTORS)
        if "clang" not in version.lower():
            wanted += _GCC_ONLY
        flags = _accepted(command, folder, wanted)
        libraries = _accepted(command, folder, _LIBRARIES)
        compiler = Compiler(command, version, (*_BASE, *flags), libraries)
        made = folder / name
        made.write_text(compiler.identity, encoding="utf-8")
        publish(made, name)
    return compiler


def _require_headers(command: tuple[str, ...], folder: Path) -> None:
    include = sysconfig.get_paths()["include"]
    if not (Path(include) / "Python.h").exists():
        hint = "install the headers of this Python (apt-get install python3-dev)"
        raise CompileError(f"Python.h is not in {include}: kernels cannot be built", rule="build.compiler", hint=hint)
    try:
        _compile(command, folder, ["-fPIC", "-shared", f"-I{include}"], _MODULE_PROBE)
    except CompileError as error:
        hint = "a C library with headers is needed as well (apt-get install libc6-dev)"
        message = f"cannot build an extension module: {error.what}"
        raise CompileError(message, rule="build.compiler", hint=hint) from error


def _accepted(command: tuple[str, ...], folder: Path, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those flags with which a program compiles and links; tried together first, one by one when that fails."""
    if _takes(command, folder, wanted):
        return tuple(wanted)
    return tuple(flag for flag in wanted if _takes(command, folder, [flag]))


def _takes(command: tuple[str, ...], folder: Path, flags: Sequence[str]) -> bool:
    try:
        _compile(command, folder, flags, _FLAG_PROBE)
    except CompileError:
        return False
    return True


def _compile(command: tuple[str, ...], folder: Path, flags: Sequence[str], text: str) -> None:
    source = folder / "probe.c"
    source.write_text(text, encoding="utf-8")
    libraries = [flag for flag in flags if flag.startswith("-l")]
    others = [flag for flag in flags if not flag.startswith("-l")]
    run(command, [*others, str(source), "-o", str(folder / "probe"), *libraries, "-lm"])
