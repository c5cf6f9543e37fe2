"""Builds the compiled extensions of mlcref/_kernels; everything else stands in pyproject.toml.

Each extension is optional: where it cannot be built (no compiler, no Python headers) the installation goes on without
it and ``mlcref.runtime.launch`` uses its pure-Python twin.
"""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = Path("mlcref") / "_kernels"
OPTIMISE = ["-O3", "-fno-math-errno"]
OPENMP = "-fopenmp"


def links_with(flag: str) -> bool:
    """Does the C compiler of this build take the flag, linking included?"""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text("int main(void) { return 0; }\n")
        command = [*compiler, flag, str(source), "-o", str(source.with_suffix(""))]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            return False


def extension(source: Path) -> Extension:
    """The optional extension of one .pyx file; only those that use OpenMP are linked to it, since linking loads it."""
    uses_openmp = "cython.parallel" in source.read_text(encoding="utf-8")
    openmp = [OPENMP] if uses_openmp and links_with(OPENMP) else []
    return Extension(
        f"mlcref._kernels.{source.stem}",
        [str(source)],
        include_dirs=[numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=[*OPTIMISE, *openmp],
        extra_link_args=openmp,
    )


extensions = cythonize([extension(source) for source in sorted(KERNELS.glob("*.pyx"))], language_level=3)
for built in extensions:
    built.optional = True  # cythonize drops it
setup(ext_modules=extensions)
