"""Builds generated kernels: Cython text → C → shared library → loaded module, cached by content.

The text holds kernels ``cdef void k(void** args) noexcept nogil`` and whatever they call, no directives, no Python
code: ``build_kernels`` puts ``DIRECTIVES`` before it and the table of addresses after it; ``LoadedKernels.source`` is
the whole of what was compiled. A kernel's integer division is C's: ``cdivision`` is on.

A module is found again by the hash of its source, of compiler, flags and libraries, of the Cython version, the Python
ABI and the CPU; a hit starts no compiler and imports no Cython compiler (0.7 s).
"""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import os
import re
import sysconfig
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from mlcref.errors import CompileError
from mlcref.records import dataclass
from mlcref.runtime.cache import cache_root, digest, publish, scratch
from mlcref.runtime.compiler import Compiler, cpu_features, find_compiler

DIRECTIVES = (
    "# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True\n"
    "# cython: initializedcheck=False, nonecheck=False, binding=False, embedsignature=False, auto_pickle=False\n"
    "# cython: emit_code_comments=False\n"
)
_EXTENSION = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
_VERSION = re.compile(r"""^__version__ = ["']([^"']+)["']""", re.MULTILINE)
_SPIN_COUNT, _BRIEFLY = "GOMP_SPINCOUNT", "10000"


@dataclass(frozen=True)
class LoadedKernels:
    """Kernels of one module, loaded: their addresses, the Cython ``source``, and the ``path`` of the shared library."""

    source: str
    path: Path
    addresses: dict[str, int]

    def address(self, name: str) -> int:
        """Where the kernel ``name`` starts, for a ``Launcher``; raises ``KeyError`` for a name that was not built."""
        return self.addresses[name]


_loaded: dict[str, LoadedKernels] = {}
_load_lock = threading.RLock()
_cython_lock = threading.Lock()  # Cython keeps its errors and types in globals


ToC = Callable[[Path], Path]
"""Makes a C file of a .pyx file, beside it."""


def build_kernels(source: str, names: Sequence[str], to_c: ToC | None = None) -> LoadedKernels:
    """The kernels ``names`` of a Cython text, compiled and loaded, or taken from memory or from the cache on disk.

    Raises ``CompileError``: rule ``build.compiler`` where no compiler works or it refuses the C, ``build.cython`` where
    Cython refuses the text, ``build.cache`` where the cache cannot be written. ``to_c`` runs Cython elsewhere than in
    this process.

    >>> text = '''
    ... cdef void twice(void** args) noexcept nogil:
    ...     (<double*>args[1])[0] = 2 * (<double*>args[0])[0]
    ... '''
    >>> build_kernels(text, ["twice"]).address("twice") != 0
    True
    """
    compiler = find_compiler()
    text = _whole(source, names)
    key = digest(text, compiler.identity, cython_version(), _EXTENSION, cpu_features())
    found = _loaded.get(key)
    if found is not None:
        return found
    module = f"mlcref_{key}"
    path = cache_root() / f"{module}{_EXTENSION}"
    if not path.exists():
        _build(module, text, compiler, path.name, to_c or cython_to_c)
    try:
        return _load(key, module, path, text, names)
    except ImportError:  # a file damaged on disk
        _build(module, text, compiler, path.name, to_c or cython_to_c)
        return _load(key, module, path, text, names)


@cache
def cython_version() -> str:
    """The version of Cython, read off the text that says it where there is one: importing Cython takes 3 ms."""
    found = importlib.util.find_spec("Cython")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        with suppress(OSError):
            said = _VERSION.search((Path(folder) / "Shadow.py").read_text(encoding="utf-8", errors="replace"))
            if said is not None:
                return said[1]
    import Cython

    return str(Cython.__version__)


def _whole(source: str, names: Sequence[str]) -> str:
    addresses = ", ".join(f'"{name}": <size_t>&{name}' for name in names)
    return f"{DIRECTIVES}{source.rstrip()}\n\nADDRESSES = {{{addresses}}}\n"


def _build(module: str, text: str, compiler: Compiler, name: str, to_c: ToC) -> None:
    with scratch() as folder:
        source = folder / f"{module}.pyx"
        source.write_text(text, encoding="utf-8")
        made = folder / name
        compiler.shared_library(to_c(source), made)
        publish(made, name)


def cython_to_c(source: Path) -> Path:
    """The C file that Cython makes of a .pyx file; raises ``CompileError`` with Cython's messages."""
    listing = source.with_suffix(".lis")
    with _cython_lock, no_garbage_collection():
        from Cython.Compiler import Main  # here, since importing it takes 0.5 s that a cached kernel need not pay

        options = Main.CompilationOptions(
            Main.default_options, output_file=str(source.with_suffix(".c")), use_listing_file=1, errors_to_stderr=0,
            language_level=3,
        )  # fmt: skip
        result = Main.compile(str(source), options)
    if result is None or result.num_errors:
        words = listing.read_text(encoding="utf-8", errors="replace").strip()
        raise CompileError(f"Cython refuses the generated code:\n{words}", rule="build.cython")
    return source.with_suffix(".c")


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the collector from walking growing trees again and again: a fifth of Cython's time, a tenth of lowering's.
    Reference cycles wait for the next collection.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load(key: str, module: str, path: Path, text: str, names: Sequence[str]) -> LoadedKernels:
    with _load_lock:
        if key not in _loaded:
            loader = importlib.machinery.ExtensionFileLoader(module, str(path))
            spec = importlib.util.spec_from_file_location(module, path, loader=loader)
            assert spec is not None
            with _brief_spinning():
                extension = importlib.util.module_from_spec(spec)
            loader.exec_module(extension)
            addresses = {name: extension.ADDRESSES[name] for name in names}
            _loaded[key] = LoadedKernels(text, path, addresses)
        return _loaded[key]


@contextmanager
def _brief_spinning() -> Iterator[None]:
    """Let libgomp, should it be loaded now, spin its idle threads only briefly, unless the user has said otherwise.

    Measured on two cores, a region of 77 us: its default (milliseconds) makes that 10 ms when two processes compete,
    sleeping at once makes it 180 us when none does; this gives 77 us and 0.5 ms. The variable is read on loading only.
    """
    if _SPIN_COUNT in os.environ or "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ[_SPIN_COUNT] = _BRIEFLY
    try:
        yield
    finally:
        os.environ.pop(_SPIN_COUNT, None)
