"""Building kernels: what is compiled, what is found again, and what is said when it cannot be."""

import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from mlcref.errors import CompileError
from mlcref.runtime import BufferParam, Launcher, build_kernels, find_compiler, why_no_compiler
from mlcref.runtime.cache import cache_root, digest, scratch

STORE = """
cdef void store(void** args) noexcept nogil:
    (<int*>args[0])[0] = {value}
"""
PROGRAM = f"""
import sys
from mlcref.runtime import build_kernels
build_kernels('''{STORE.format(value=7)}''', ["store"])
print("Cython.Compiler.Main" in sys.modules)
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the test's own; skips where there is no compiler."""
    reason = why_no_compiler()
    if reason is not None:
        pytest.skip(reason.splitlines()[0])
    monkeypatch.setenv("MLCREF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(kernels):
    out = np.zeros(1, "int32")
    Launcher(kernels.address("store"), [BufferParam("out", "int32", (1,), True)], "store")(out)
    return out[0]


def wrapped_compiler(folder, line):
    """A compiler command that runs a line of shell first."""
    script = folder / "wrapped-cc"
    real = find_compiler().command
    script.write_text(f'#!/bin/sh\n{line}\nexec {" ".join(real)} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def start(**environment):
    """Build ``PROGRAM``'s kernel in another process."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.strip()


def test_several_kernels_of_one_module(cache):
    text = STORE.format(value=1) + STORE.format(value=2).replace("store", "other")
    kernels = build_kernels(text, ["store", "other"])
    assert stored(kernels) == 1
    assert kernels.address("other") != kernels.address("store")
    assert kernels.source.startswith("# cython: ")
    assert STORE.format(value=1).strip() in kernels.source
    assert kernels.path.parent == cache
    assert build_kernels(text, ["store", "other"]) is kernels
    with pytest.raises(KeyError, match="missing"):
        kernels.address("missing")


def test_a_hit_starts_no_compiler(cache, tmp_path):
    log = tmp_path / "log"
    compiler = wrapped_compiler(tmp_path, f"echo called >> {log}")
    assert finish(start(CC=compiler)) == "True"
    calls = log.read_text()
    assert calls
    assert finish(start(CC=compiler)) == "False"
    assert log.read_text() == calls


def test_another_compiler_builds_again(cache, tmp_path):
    finish(start())
    finish(start(CC=wrapped_compiler(tmp_path, ":")))
    assert len(list(cache.glob("mlcref_*"))) == 2


def test_two_processes_build_the_same(cache):
    both = [start(), start()]
    for process in both:
        finish(process)
    assert len(list(cache.glob("mlcref_*"))) == 1
    assert not list(cache.glob("scratch-*"))
    assert stored(build_kernels(STORE.format(value=7), ["store"])) == 7


def test_a_killed_build_leaves_nothing_that_matters(cache, tmp_path):
    compiler = wrapped_compiler(tmp_path, 'case "$*" in *mlcref_*) sleep 60;; esac')
    killed = start(CC=compiler)
    deadline = time.monotonic() + 30
    while not list(cache.glob("scratch-*/mlcref_*.c")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert list(cache.glob("scratch-*"))
    assert not list(cache.glob("mlcref_*"))
    assert stored(build_kernels(STORE.format(value=7), ["store"])) == 7


def test_abandoned_folders_are_swept_after_a_day(cache):
    old, recent = cache / "scratch-old", cache / "scratch-recent"
    for folder in (old, recent):
        folder.mkdir(parents=True)
        (folder / "half.c").write_text("")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    with scratch() as folder:
        assert folder.is_dir()
    assert not old.exists()
    assert not folder.exists()
    assert recent.exists()


def test_a_damaged_file_is_built_again(cache):
    finish(start())
    [built] = cache.glob("mlcref_*")
    built.write_bytes(b"\x7fELF nothing")
    finish(start())
    assert built.stat().st_size > 1000


def test_a_damaged_compiler_record_is_made_again(cache):
    finish(start())
    [record] = cache.glob("compiler-*.json")
    good = record.read_text()
    record.write_text(good[:20])
    finish(start())
    assert record.read_text() == good


def test_cython_refuses(cache, capfd):
    words = r"(?s)Cython refuses the generated code:.*undeclared name.*nowhere.*\[build.cython\]"
    with pytest.raises(CompileError, match=words):
        build_kernels("cdef void k(void** args) noexcept nogil:\n    (<int*>args[0])[0] = nowhere\n", ["k"])
    assert capfd.readouterr().err == ""
    assert not list(cache.glob("scratch-*"))


def test_the_compiler_refuses(cache):
    text = 'cdef extern from *:\n    """\n    #error "not on my watch"\n    """\n' + STORE.format(value=3)
    with pytest.raises(CompileError, match=r"(?s)failed:.*not on my watch.*\[build.compiler\]"):
        build_kernels(text, ["store"])


def test_no_compiler_on_path(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "no C compiler found" in why_no_compiler()
    with pytest.raises(CompileError, match=r"neither gcc, clang nor cc .*\[build.compiler\]\nhint: install gcc"):
        build_kernels(STORE.format(value=4), ["store"])


def test_a_chosen_compiler_that_is_missing(monkeypatch):
    monkeypatch.setenv("CC", "/nonexistent -m64")
    words = r"CC is set to '/nonexistent -m64', but '/nonexistent' is no program .*\nhint: unset CC"
    with pytest.raises(CompileError, match=words):
        find_compiler()


def test_a_compiler_that_does_not_work(monkeypatch, cache, tmp_path):
    monkeypatch.setenv("CC", wrapped_compiler(tmp_path, "echo out of licences >&2; exit 3"))
    with pytest.raises(CompileError, match=r"wrapped-cc failed:\nout of licences  \[build.compiler\]"):
        find_compiler()
    assert "out of licences" in why_no_compiler()


def test_a_compiler_without_a_c_library(monkeypatch, cache, tmp_path):
    monkeypatch.setenv("CC", wrapped_compiler(tmp_path, 'case "$*" in *probe.c*) echo no stdio.h >&2; exit 1;; esac'))
    with pytest.raises(CompileError, match=r"(?s)cannot build an extension module: .*no stdio.h.*\nhint: .*libc6-dev"):
        find_compiler()


def test_flags_that_a_compiler_does_not_take_are_left_out(monkeypatch, cache, tmp_path):
    monkeypatch.setenv("CC", wrapped_compiler(tmp_path, 'case "$*" in *fopenmp*|*lmvec*) exit 1;; esac'))
    compiler = find_compiler()
    assert not compiler.openmp
    assert "-march=native" in compiler.flags
    assert compiler.libraries == ("-lm",)
    assert stored(build_kernels(STORE.format(value=6), ["store"])) == 6


def test_no_python_headers(monkeypatch, cache, tmp_path):
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(CompileError, match=r"Python.h is not in .*\nhint: install the headers .*python3-dev"):
        find_compiler()


def test_cache_that_cannot_be_written(monkeypatch, cache, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("MLCREF_CACHE", str(file))
    words = r"cannot write to the kernel cache .*\[build.cache\]\nhint: set MLCREF_CACHE"
    with pytest.raises(CompileError, match=words):
        build_kernels(STORE.format(value=5), ["store"])


def test_cache_root(monkeypatch, tmp_path):
    monkeypatch.delenv("MLCREF_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "mlcref"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "mlcref"


def test_digest_tells_parts_apart():
    assert len({digest(), digest(""), digest("", ""), digest("ab"), digest("a", "b")}) == 5


def test_arithmetic_is_not_reassociated(cache):
    text = """
cdef void round_to_even(void** args) noexcept nogil:
    cdef int i
    for i in range(8):
        (<float*>args[1])[i] = ((<float*>args[0])[i] + <float>12582912.0) - <float>12582912.0
"""
    x = np.array([0.5, 1.5, -0.4, -0.5, 2.5, 1e-3, 7.75, -3.5], "float32")
    y = np.zeros(8, "float32")
    params = [BufferParam("x", "float32", (8,)), BufferParam("y", "float32", (8,), True)]
    Launcher(build_kernels(text, ["round_to_even"]).address("round_to_even"), params, "round")(x, y)
    np.testing.assert_array_equal(y, np.rint(x))
    assert not {"-ffast-math", "-fassociative-math", "-fno-signed-zeros", "-Ofast"} & set(find_compiler().flags)
