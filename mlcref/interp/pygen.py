"""The fast engine: a program as Python source, which computes the bits that the machine computes.

Whole loop nests become numpy statements where that is possible (:mod:`mlcref.interp.pygen_vector`); all else is Python,
one number at a time, with addresses hoisted out of loops. Kernels are cut at their barriers into loop nests over their
threads (:mod:`mlcref.interp.pygen_threads`). Every check of the machine is made when the program runs, unless a short
argument over intervals shows that it cannot fail (:mod:`mlcref.interp.pygen_static`).

Generated programs only detect. Where something does not hold, or is not decided (an undefined value is loaded, say),
they give up, and the machine runs the program from the start: results of doubtful programs and all reports are its.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from mlcref import dtype as dt
from mlcref.errors import UnsupportedError
from mlcref.interp.arguments import Binding, bind, written_buffers
from mlcref.interp.evaluate import Evaluator
from mlcref.interp.numeric import Refusal
from mlcref.interp.pygen_blocks import Instance
from mlcref.interp.pygen_code import Memory, NotGenerated, flatten
from mlcref.interp.pygen_memory import ArrayStorage, held_as
from mlcref.interp.pygen_static import INFINITE, Known, Linear
from mlcref.interp.pygen_support import NAMES, Doubt
from mlcref.interp.pygen_threads import Threads
from mlcref.ir.buffer import Buffer
from mlcref.ir.expr import Var
from mlcref.ir.features import special_node
from mlcref.ir.function import PrimFunc
from mlcref.ir.index import stmt_children
from mlcref.ir.stmt import For, Stmt, While

Sizes = tuple[tuple[Var, int], ...]

_NAMES = re.compile(r"\s+(\w+) = (?:view\(|memoryview\(|np\.frombuffer\(|bytes\(|b\")")
_MOST_PROGRAMS = 64
"""Generated programs that are kept per function: one for each choice of sizes and poisoned parameters."""


@dataclass(frozen=True)
class Generated:
    """A generated program: its source, and the function that it defines."""

    source: str
    function: Any


class _Cache:
    """What is known about one function."""

    def __init__(self) -> None:
        # A text says what cannot be generated; an exception would keep the function alive.
        self.programs: dict[Any, Generated | str] = {}
        self.statements: dict[Any, int] = {}


_caches: WeakKeyDictionary[PrimFunc, _Cache] = WeakKeyDictionary()


def source(func: PrimFunc, *, sizes: dict[str, int] | None = None, poison: Sequence[str] = ()) -> str:
    """The program as readable low-level numpy. ``sizes`` gives the variables in shapes a value.

    Raises ``UnsupportedError`` for what only the machine runs, naming it.

    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((64,), "float32")):
    ...     for i in range(64):
    ...         A[i] = A[i] * T.float32(2)
    ... ''')
    >>> print(source(f).splitlines()[-3].strip())
    A_part[...] = (A_part * number)
    """
    values = sizes or {}
    missing = [var.name for var in func.shape_vars() if var.name not in values]
    if missing:
        raise UnsupportedError(f"the source depends on {', '.join(missing)}", hint="give them a value with sizes={...}")
    chosen = tuple((var, values[var.name]) for var in func.shape_vars())
    return _generate(func, chosen, [b.name in poison for b in func.buffers], comments=True).source


def generated(func: PrimFunc, sizes: Sizes, poisoned: tuple[bool, ...], *, arrays: bool = True) -> Generated:
    """The generated program, made once; ``arrays=False`` keeps to one number at a time."""
    cache = _caches.setdefault(func, _Cache())
    key = (tuple(value for _, value in sizes), poisoned, arrays)
    found = cache.programs.get(key)
    if found is None:
        if len(cache.programs) >= _MOST_PROGRAMS:
            cache.programs.clear()
        try:
            found = _generate(func, sizes, poisoned, arrays=arrays)
        except UnsupportedError as error:
            found = error.what
        except RecursionError:
            found = "expressions or statements nested this deep"
        cache.programs[key] = found
    if isinstance(found, str):
        raise NotGenerated(f"generated code does not cover {found}")
    return found


def _generate(
    func: PrimFunc, sizes: Sizes, poisoned: Sequence[bool], *, arrays: bool = True, comments: bool = False
) -> Generated:
    special = special_node(func)
    if special is not None:
        raise NotGenerated(special[1])
    code = Threads(func, dict(sizes))
    code.arrays, code.comments = arrays, comments
    written, name = written_buffers(func), code.fresh(func.name)
    with code.level():
        for var in func.scalars:
            code.depth[var] = 0
            code.names[var] = code.fresh(var.name)
        for buffer, poison in zip(func.buffers, poisoned, strict=True):
            code.declare(buffer, parameter=True, checked=poison).written = buffer in written
        prologue: list[Any] = []
        code.body.append(prologue)
        code.instances.append(Instance(prologue))
        code.stmt(func.body)
    parameters = [
        f"{code.views[p].memory.name}_np, {code.views[p].memory.name}_w" if isinstance(p, Buffer) else code.names[p]
        for p in func.params
    ]
    lines = [f"def {name}({', '.join(parameters)}):"]
    before = [f"t = cells({code.slots})"] if code.slots else []
    after: list[str] = []
    for memory in code.memories:
        before += _prepare(memory)
        if memory.parameter and memory.written and not memory.arrays and memory.size:
            after.append(f"{memory.name}_np[:] = {memory.name}")
    lines += flatten([[before, code.body, after]], 1)
    text = "\n".join([*_used(lines), "    return", ""])
    namespace = {**NAMES, **code.namespace}
    exec(compile(text, f"<generated {func.name}>", "exec"), namespace)
    return Generated(text, namespace[name])


def _used(lines: Sequence[str]) -> list[str]:
    """The lines without those that only name what nobody uses."""
    uses = Counter(re.findall(r"\w+", "\n".join(line for line in lines if not line.lstrip().startswith("#"))))
    names = ((line, _NAMES.match(line)) for line in lines)
    return [line for line, name in names if name is None or uses[name[1]] > 1]


def _prepare(memory: Memory) -> list[str]:
    """The lines that open a memory."""
    name, size, dtype = memory.name, memory.size, held_as(memory.buffer.type)
    lines = []
    if memory.parameter or memory.tracked:
        lines.append(f'{name}_one = b"\\1" * {size}')
    if not memory.parameter:
        if memory.tracked or memory.arrays:
            lines += [f"{name}_zero = bytes({size})", f"{name}_w = bytearray({size})"]
        if memory.arrays:
            lines.append(f'{name}_np = np.zeros({size}, "{dtype}")')
        else:
            zero = "False" if dt.is_bool(memory.buffer.type) else "0.0" if dt.is_float(memory.buffer.type) else "0"
            lines.append(f"{name} = [{zero}] * {size}")
    elif not memory.arrays:
        lines.append(f"{name} = {name}_np.tolist()")
    if memory.arrays:
        lines.append(f"{name} = memoryview({name}_np)")
        lines.append(f"{name}_w_np = np.frombuffer({name}_w, np.bool_)")
    return lines


def statements(func: PrimFunc, sizes: Sizes) -> int:
    """How many statements the machine runs at most; a huge number where that is not known."""
    cache = _caches.setdefault(func, _Cache())
    key = tuple(value for _, value in sizes)
    if key not in cache.statements:
        cache.statements[key] = _count(func.body, Known(forms={var: Linear({}, value) for var, value in sizes}))
    return cache.statements[key]


def _count(stmt: Stmt, known: Known) -> int:
    if isinstance(stmt, While):
        return INFINITE
    inner = [_count(part, known) for part in stmt_children(stmt)]
    if not isinstance(stmt, For):
        return 1 + sum(inner)
    extent = known.linear(stmt.extent)
    return INFINITE if extent is None or extent.terms else 1 + max(extent.constant, 0) * inner[0]


def execute_generated(
    func: PrimFunc,
    args: Sequence[object],
    poison: Sequence[str],
    *,
    least: int = 0,
    max_statements: int | None = None,
    arrays: bool = True,
) -> Binding | None:
    """Run the generated program; its memory, or None where the machine must decide.

    ``least`` leaves programs of fewer statements to the machine. Raises ``CallError`` as the machine does, and
    :class:`NotGenerated` for what only the machine runs.
    """
    binding = bind(func, args, poison, lambda e, env: Evaluator(func, dict(env), {}).integer(e), storage=ArrayStorage)
    sizes = tuple((var, binding.env[var]) for var in func.shape_vars())
    if least or max_statements is not None:
        count = statements(func, sizes)
        if count < least or (max_statements is not None and count > max_statements):
            return None
    storages = [slot.view.storage for slot in binding.slots]
    if len(set(map(id, storages))) < len(storages) or not all(isinstance(s, ArrayStorage) for s in storages):
        return None
    program = generated(func, sizes, tuple(slot.param.name in poison for slot in binding.slots), arrays=arrays)
    values: list[Any] = []
    slots = iter(binding.slots)
    for param in func.params:
        if isinstance(param, Var):
            values.append(binding.env[param])
        else:
            storage = next(slots).view.storage
            values += [storage.flat, storage.touched]  # type: ignore[attr-defined]
    try:
        with np.errstate(all="ignore"):
            program.function(*values)
    except (Doubt, Refusal, ArithmeticError, LookupError, TypeError, ValueError):
        return None  # whatever it was, the machine finds it again and says where
    return binding
