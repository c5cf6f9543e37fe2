"""Files kept by the hash of what they were made from, shared by every process of the user.

A file appears under its final name by a rename: a reader sees all of it or nothing, whatever becomes of the writer.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlcref.errors import CompileError

try:
    from _blake2 import blake2b  # hashlib's; that loads OpenSSL as well, which takes 2 ms
except ImportError:
    from hashlib import blake2b

_SCRATCH = "scratch-"
_ABANDONED_SECONDS = 24 * 3600


def cache_root() -> Path:
    """The folder for built kernels: ``MLCREF_CACHE``, or ``mlcref`` in the platform's folder for caches."""
    chosen = os.environ.get("MLCREF_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mlcref"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlcref"


def digest(*parts: str) -> str:
    """A name for everything that went into a file: 32 hexadecimal digits that differ where a part differs.

    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    counted = blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8")
        counted.update(len(encoded).to_bytes(8, "little") + encoded)
    return counted.hexdigest()


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder in the cache, gone afterwards; also sweeps those that killed processes left more than a day ago.

    Raises ``CompileError`` where the cache cannot be written.
    """
    import shutil  # here, as tempfile, since what is found in the cache needs neither
    import tempfile

    root = cache_root()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=root))
    except OSError as reason:
        message = f"cannot write to the kernel cache {root}: {reason}"
        hint = "set MLCREF_CACHE to a folder that can be written"
        raise CompileError(message, rule="build.cache", hint=hint) from reason
    _sweep(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(made: Path, name: str) -> Path:
    """Move a finished file to ``name`` in the cache, replacing what another process may have put there."""
    final = cache_root() / name
    os.replace(made, final)
    return final


def _sweep(root: Path) -> None:
    oldest = time.time() - _ABANDONED_SECONDS
    for folder in root.glob(f"{_SCRATCH}*"):
        with suppress(FileNotFoundError):  # another process sweeps too
            if folder.stat().st_mtime < oldest:
                import shutil

                shutil.rmtree(folder, ignore_errors=True)
