"""Remembers the Cython text of programs, so that compiling a program again neither lowers it nor writes it down.

A program is known by its script and the names of its parameters, by the target, and by the text of the packages that
take part in the translation: a changed compiler forgets what it wrote before. Kept in memory for the process and on
disk beside the built kernels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import mlcref.codegen
from mlcref.codegen.kernel_source import KernelParam, KernelSource, KernelSpec
from mlcref.ir import PrimFunc, Target
from mlcref.ir.base import script_of
from mlcref.runtime.cache import cache_root, digest, publish, scratch

_TRANSLATORS = ("ir", "arith", "lower", "codegen")
_KEPT = 256
_sources: dict[str, KernelSource] = {}


def cached_source(
    funcs: Mapping[str, PrimFunc], target: Target, translate: Callable[[Mapping[str, PrimFunc], Target], KernelSource]
) -> KernelSource:
    """What ``translate(funcs, target)`` gives, from memory or from disk where it was asked for before.

    Raises what ``translate`` raises, and ``CompileError`` (rule ``build.cache``) where the cache cannot be written.
    """
    key = _key(funcs, target)
    found = _sources.get(key)
    if found is None:
        path = cache_root() / f"source-{key}.json"
        found = _read(path)
        if found is None:
            found = translate(funcs, target)
            _write(found, path.name)
        while len(_sources) >= _KEPT:
            _sources.pop(next(iter(_sources)), None)
        _sources[key] = found
    return found


def _key(funcs: Mapping[str, PrimFunc], target: Target) -> str:
    described = [part for symbol, func in funcs.items() for part in (symbol, *_described(func))]
    return digest(_translators(), str(target), str(target.num_cores), repr(target.cpu), *described)


def _described(func: PrimFunc) -> tuple[str, str]:
    return script_of(func), json.dumps([param.name for param in func.params])


@cache
def _translators() -> str:
    """The text of everything between a program and its Cython text, as a hash."""
    root = Path(mlcref.codegen.__file__).parents[1]
    files = [root / "dtype.py", *(file for name in _TRANSLATORS for file in sorted((root / name).rglob("*.py")))]
    return digest(*(file.read_text(encoding="utf-8") for file in files))


def _read(path: Path) -> KernelSource | None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return KernelSource(fields["text"], tuple(fields["names"]), tuple([_spec(spec) for spec in fields["specs"]]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _spec(fields: dict[str, Any]) -> KernelSpec:
    params = tuple([_param(param) for param in fields["params"]])
    return KernelSpec(**{**fields, "params": params})


def _param(fields: dict[str, Any]) -> KernelParam:
    shape = fields["shape"]
    return KernelParam(**{**fields, "shape": None if shape is None else tuple(shape)})


def _write(source: KernelSource, name: str) -> None:
    with scratch() as folder:
        made = folder / name
        made.write_text(json.dumps(asdict(source)), encoding="utf-8")
        publish(made, name)
