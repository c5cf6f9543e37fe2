"""Hypothesis profiles, and the kernels and launchers that several tests call."""

import os
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from mlcref.runtime import LoadedKernels, build_kernels, launch, launch_ctypes, why_no_compiler

# HYPOTHESIS_PROFILE chooses: "dev" while writing code, "ci" the same examples each time, "deep" for a long search.
_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=_SLOW_IS_FINE)
settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True, suppress_health_check=_SLOW_IS_FINE)
settings.register_profile(
    "deep",
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "2000")),
    deadline=None,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

KERNELS = """
cdef void add(void** args) noexcept nogil:  # A, B, C: float32[n]
    cdef long long i, n = (<long long*>args[3])[0]
    for i in range(n):
        (<float*>args[2])[i] = (<float*>args[0])[i] + (<float*>args[1])[i]

cdef void scale(void** args) noexcept nogil:  # A: float32[n, 2] written, n: int32, s: float32
    cdef long long i
    for i in range(2 * (<int*>args[1])[0]):
        (<float*>args[0])[i] *= (<float*>args[2])[0]

cdef void scalars(void** args) noexcept nogil:
    cdef double* out = <double*>args[0]
    out[0] = (<signed char*>args[1])[0]
    out[1] = (<int*>args[2])[0]
    out[2] = <double>(<long long*>args[3])[0]
    out[3] = (<unsigned char*>args[4])[0]
    out[4] = <double>(<unsigned long long*>args[5])[0]
    out[5] = (<unsigned char*>args[6])[0]
    out[6] = (<float*>args[7])[0]
    out[7] = (<double*>args[8])[0]
    out[8] = (<unsigned short*>args[9])[0]

cdef void copy_bytes(void** args) noexcept nogil:  # A, B: 8 bytes
    (<long long*>args[1])[0] = (<long long*>args[0])[0]

cdef void sum_scalars(void** args) noexcept nogil:  # 40 of int64, then S: int64[1]
    cdef int i
    (<long long*>args[40])[0] = 0
    for i in range(40):
        (<long long*>args[40])[0] += (<long long*>args[i])[0]

cdef void wait_for_flag(void** args) noexcept nogil:  # F, S: int32[1]; gives up after a second or so
    cdef long long i
    for i in range(3000000000):
        if (<volatile int*>args[0])[0]:
            (<int*>args[1])[0] = 1
            return
"""
NAMES = ("add", "scale", "scalars", "copy_bytes", "sum_scalars", "wait_for_flag")


@pytest.fixture(scope="session")
def kernels() -> LoadedKernels:
    """The kernels above, compiled; skips where there is no compiler."""
    reason = why_no_compiler()
    if reason is not None:
        pytest.skip(reason.splitlines()[0])
    return build_kernels(KERNELS, NAMES)


@pytest.fixture(params=["compiled", "ctypes"], scope="session")
def launcher(request: pytest.FixtureRequest) -> ModuleType:
    """Each of the two launchers, as a module."""
    if request.param == "ctypes":
        return launch_ctypes
    if not launch.COMPILED and why_no_compiler() is not None:
        pytest.skip("mlcref was installed without a compiler")
    assert launch.COMPILED, "there is a compiler, but mlcref was installed without its compiled launcher"
    from mlcref._kernels import launcher

    return launcher
