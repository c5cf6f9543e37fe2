"""``tvm.contrib.utils``: temporary folders."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref


class TempDirectory:
    """A folder that goes away with this object, or with :meth:`remove`."""

    def __init__(self) -> None:
        self.temp_dir = tempfile.mkdtemp(prefix="mlcref-")
        self.remove = weakref.finalize(self, shutil.rmtree, self.temp_dir, True)

    @property
    def path(self) -> str:
        """Where the folder is."""
        return self.temp_dir

    def relpath(self, name: str) -> str:
        """The path of ``name`` in the folder."""
        return os.path.join(self.temp_dir, name)

    def listdir(self) -> list[str]:
        """The names of the files in the folder."""
        return sorted(os.listdir(self.temp_dir))


def tempdir() -> TempDirectory:
    """A new temporary folder.

    >>> folder = tempdir()
    >>> folder.listdir()
    []
    """
    return TempDirectory()
