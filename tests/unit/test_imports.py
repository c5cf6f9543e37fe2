"""What is imported when: packages whose names come on use, and what a new process with a warm cache does without."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import mlcref
from mlcref.script import from_source

ROOT = Path(mlcref.__file__).parents[1]
LAZY = [
    ".".join(file.relative_to(ROOT).parts[:-1])
    for file in sorted((ROOT / "mlcref").rglob("__init__.py"))
    if "names_on_use(" in file.read_text(encoding="utf-8")
]


def in_new_process(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def for_type_checkers(package: str) -> Iterator[tuple[str, str, str]]:
    """Module, name and name here of each import that only type checkers read."""
    tree = ast.parse(Path(str(import_module(package).__file__)).read_text(encoding="utf-8"))
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    for statement in guarded.body:
        assert isinstance(statement, ast.ImportFrom)
        yield from ((str(statement.module), name.name, name.asname or name.name) for name in statement.names)


def on_use(package: str) -> set[tuple[str, str]]:
    """Module and name of each entry of the table that the package gives ``names_on_use``."""
    tree = ast.parse(Path(str(import_module(package).__file__)).read_text(encoding="utf-8"))
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "names_on_use"]
    table, submodules = ast.literal_eval(call.args[1]), [ast.literal_eval(item) for item in call.args[2:]]
    names = {(module, name) for module, listed in table.items() for name in listed.split()}
    return names | {(package, name) for listed in submodules for name in listed}


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_see_what_programs_get(package: str) -> None:
    for module, name, here in for_type_checkers(package):
        found, wanted = getattr(import_module(package), here), getattr(import_module(module), name)
        assert found is wanted or module in CALLED
    assert {here for _, _, here in for_type_checkers(package)} >= {name for _, name in on_use(package)} - HIDDEN


CALLED = {"mlcref.autoschedule", "mlcref.lower"}
"""Packages that are called like a function."""
HIDDEN = {"codegen", "driver"}
"""Packages that ``mlcref`` has as attributes but does not offer."""


@pytest.mark.parametrize("package", LAZY)
def test_no_name_is_a_module_too(package: str) -> None:
    for module, name in on_use(package):
        assert module == package or find_spec(f"{package}.{name}") is None


@pytest.mark.parametrize("package", ["mlcref", *LAZY])
def test_what_is_offered_is_there_and_listed(package: str) -> None:
    module = import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert all(hasattr(module, name) for name in module.__all__)


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="module 'mlcref' has no attribute 'complie'"):
        _ = mlcref.complie  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "first", ["import mlcref", "from mlcref.autoschedule import Machine", "from mlcref.autoschedule import core"]
)
def test_autoschedule_is_called_whatever_came_first(first: str) -> None:
    program = f"{first}\nimport mlcref\ntry: mlcref.autoschedule(3)\nexcept mlcref.MlcrefError as error: print(error)"
    assert "IRModule" in in_new_process(program)


def test_functions_of_the_runtime_are_registered_on_use() -> None:
    program = """
import sys, mlcref
mlcref.register_func("tvm.contrib.sort.topk", len, override=True)
assert "tvm.contrib.sort.argsort" in mlcref.list_global_func_names()
mlcref.remove_global_func("tvm.contrib.sort.argsort_nms")
import mlcref.interp.sorting as sorting
assert mlcref.get_global_func("tvm.contrib.sort.topk") is len
assert mlcref.get_global_func("tvm.contrib.sort.argsort_nms", allow_missing=True) is None
print(type(mlcref.get_global_func("tvm.contrib.sort.sort")).__name__)
"""
    assert in_new_process(program) == "HostFunction\n"


ADD_ONE = """
@T.prim_func
def f(A: T.Buffer((8,), "float32")):
    for i in range(8):
        A[i] = A[i] + T.float32(1)
"""
UNUSED = (
    "Cython", "hypothesis", "islpy", "rich", "pygments", "subprocess", "concurrent.futures", "tempfile",
    "mlcref.autoschedule", "mlcref.codegen.cython", "mlcref.interp.run", "mlcref.lower.pipeline", "mlcref.relax",
    "mlcref.schedule", "mlcref.tir", "mlcref.verify",
)  # fmt: skip


def test_a_cached_program_runs_without_the_compiler() -> None:
    mlcref.compile(from_source(ADD_ONE), "cython")
    program = f"""
import sys
import mlcref
import numpy as np
x = np.zeros(8, "float32")
mlcref.compile(mlcref.script.from_source({ADD_ONE!r}), "cython")["f"](x)
print(x.sum(), [name for name in {UNUSED} if name in sys.modules])
"""
    assert in_new_process(program) == "8.0 []\n"
