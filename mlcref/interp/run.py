"""Calls of a function in the oracle: arguments in, the machine, reports or results out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlcref.errors import OracleError, UnsupportedError
from mlcref.interp.arguments import Binding, Slot, bind
from mlcref.interp.evaluate import Evaluator, Watcher
from mlcref.interp.lanes import LaneMachine
from mlcref.interp.memory import View, element
from mlcref.interp.numeric import MACHINE, Arithmetic
from mlcref.interp.placement import facts_of
from mlcref.interp.pygen import execute_generated
from mlcref.interp.pygen_code import NotGenerated
from mlcref.interp.pygen_memory import ArrayStorage
from mlcref.interp.races import RaceCheck
from mlcref.interp.signature import SignatureCheck
from mlcref.ir.base import Node
from mlcref.ir.buffer import Buffer
from mlcref.ir.function import IRModule, PrimFunc
from mlcref.ir.stmt import Stmt

ENGINES = ("auto", "machine", "pygen")
_WORTH_GENERATING = 64
"""Programs of fewer statements run faster in the machine."""


def execute(
    func: PrimFunc,
    args: Sequence[object],
    *,
    poison: Sequence[str] = (),
    arithmetic: Arithmetic = MACHINE,
    watchers: Sequence[Watcher] = (),
    max_statements: int | None = None,
    engine: str = "auto",
    functions: Mapping[str, PrimFunc] | None = None,
) -> Binding:
    """Run ``func`` and return its memory; ``args`` stay as they are. What :func:`interpret` and the verdicts are made
    of. Only the machine has watchers and other arithmetics. ``functions`` are those that ``func`` may call.

    Raises as :func:`interpret` does, except that outputs may be undefined.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is one of {', '.join(ENGINES)}, not {engine!r}")
    if engine != "machine" and arithmetic is MACHINE and not watchers:
        least = _WORTH_GENERATING if engine == "auto" else 0
        try:
            done = execute_generated(func, args, poison, least=least, max_statements=max_statements)
        except NotGenerated:
            if engine == "pygen":
                raise
            done = None
        if done is not None:
            return done
    binding = bind(func, args, poison, lambda e, env: Evaluator(func, dict(env), {}).integer(e))
    watching = [RaceCheck()] if any(facts_of(f).forks for f in (func, *(functions or {}).values())) else []
    views: dict[Buffer, Any] = {slot.param: slot.view for slot in binding.slots}
    machine = LaneMachine(
        func,
        dict(binding.env),
        views,
        arithmetic=arithmetic,
        watchers=[*watching, *watchers],
        block_watchers=[w for w in watchers if isinstance(w, SignatureCheck)],
        max_statements=max_statements,
        functions=functions,
    )
    try:
        binding.result = machine.execute()
    except RecursionError:
        raise UnsupportedError(f"{func.name} nests its expressions or statements too deeply for the oracle") from None
    return binding


def interpret(
    program: PrimFunc | IRModule,
    *args: object,
    poison: Sequence[str] = (),
    entry: str = "main",
    checks: str = "meaning",
    max_statements: int | None = None,
    engine: str = "auto",
) -> Any:
    """Run a tensor program as ``docs/semantics.md`` defines it, and write its results into the arguments. Gives the
    value that the function returns, None where it returns none.

    ``args`` are one array per buffer parameter (numpy, of the parameter's dtype and shape, with any strides; or an
    object that shows its memory to numpy) and one number per scalar parameter. ``poison`` names parameters that start
    undefined: every element of them must be written. ``entry`` picks the function of a module. ``checks="signature"``
    also refuses what :func:`findings` would list. ``max_statements`` bounds the run (``UnsupportedError``). ``engine``
    is "machine", "pygen" (generated code; ``UnsupportedError`` for what it does not cover) or "auto", which chooses;
    results and refusals are the same.

    Raises ``CallError`` for arguments that do not fit and ``OracleError`` for a program that means nothing; then the
    arguments are unchanged.

    >>> import numpy as np
    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((3,), "float32")):
    ...     for i in range(3):
    ...         A[i] = A[i] * T.float32(2)
    ... ''')
    >>> a = np.array([1, 2, 3], "float32")
    >>> interpret(f, a)
    >>> a
    array([2., 4., 6.], dtype=float32)
    """
    func = select(program, entry)
    if checks not in ("meaning", "signature"):
        raise ValueError(f'checks is "meaning" or "signature", not {checks!r}')
    signature = [SignatureCheck(stop=True)] if checks == "signature" else []
    binding = execute(func, args, poison=poison, watchers=signature, max_statements=max_statements, engine=engine,
                      functions=callable_from(program))  # fmt: skip
    for check in signature:
        check.uncovered(func, binding)
    for slot in binding.slots:
        check_output(func, slot)
    for slot in binding.slots:
        storage = slot.view.storage
        if isinstance(storage, ArrayStorage):
            storage.write_back(slot)
        else:
            slot.write_back()
    return binding.result


def callable_from(program: PrimFunc | IRModule) -> Mapping[str, PrimFunc]:
    """The functions that a program may call: those of its module."""
    return {} if isinstance(program, PrimFunc) else program.prim_funcs()


def select(program: PrimFunc | IRModule, entry: str) -> PrimFunc:
    """The tensor program to run: ``program`` itself, or the function ``entry`` of a module (or its only one)."""
    if isinstance(program, PrimFunc):
        return program
    func = program[entry] if entry in program or len(program) != 1 else next(iter(program.functions.values()))
    if not isinstance(func, PrimFunc):
        raise UnsupportedError(f"{entry} is no tensor program", hint="the oracle of graph functions is interpret_graph")
    return func


def check_output(func: PrimFunc, slot: Slot) -> None:
    """Rule memory.output: every element of every parameter has a value in the end."""
    storage = slot.view.storage
    if isinstance(storage, ArrayStorage) and storage.complete:
        return
    found = slot.undefined()
    if found is None:
        return
    indices, origin = found
    name = element(slot.param, indices)
    if origin is None:
        raise OracleError(
            f"{name} is never written, and {slot.param.name} starts undefined",
            rule="memory.output",
            root=func,
            marks=[(slot.param, "starts undefined")],
            hint="cover every element of the output, or do not poison it",
        )
    source = element(origin.buffer, origin.indices)
    raise OracleError(
        f"{name} is undefined in the end: it comes from {source}, loaded{origin.place} before it was ever written",
        rule="memory.output",
        root=func,
        marks=[(origin.node, f"{source} has no value yet")],
        hint=f"write {source} first, or give the block that computes it an init",
    )


def findings(
    program: PrimFunc | IRModule, *args: object, poison: Sequence[str] = (), entry: str = "main"
) -> list[OracleError]:
    """The rules of severity "signature" that a run of ``program`` breaks, one report per rule and place; ``args``
    stay as they are.

    Such programs compute what they say, but their declarations (regions, spatial iterators, reductions) are not true.
    Raises as :func:`interpret` does.

    >>> import numpy as np
    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((4,), "float32")):
    ...     for i in range(3):
    ...         with T.block("A"):
    ...             vi = T.axis.spatial(3, i)
    ...             A[vi + 1] = A[vi] + A[vi + 1]
    ... ''')
    >>> [report.rule for report in findings(f, np.ones(4, "float32"))]
    ['block.spatial']
    """
    func = select(program, entry)
    check = SignatureCheck()
    binding = execute(func, args, poison=poison, watchers=[check], functions=callable_from(program))
    check.uncovered(func, binding)
    for slot in binding.slots:
        check_output(func, slot)
    return check.found


@dataclass(frozen=True)
class Access:
    """One access to memory: ``kind`` is "read" or "write", ``values`` the loop variables and iterators in scope,
    outer first."""

    buffer: Buffer
    indices: tuple[int, ...]
    kind: str
    values: dict[str, int]
    statement: Stmt


class _Enough(Exception):
    """The recorder has what it was asked for."""


class _Recorder:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.accesses: list[Access] = []

    def add(self, machine: Evaluator, view: View, indices: tuple[int, ...], kind: str) -> None:
        if len(self.accesses) >= self.limit:
            raise _Enough
        values = {var.name: value for var, value in machine.env.items() if var not in machine.hidden}
        self.accesses.append(Access(view.buffer, indices, kind, values, machine.statement))

    def read(self, machine: Evaluator, view: View, position: int, indices: tuple[int, ...], node: Node) -> None:
        self.add(machine, view, indices, "read")

    def write(
        self, machine: Evaluator, view: View, position: int, indices: tuple[int, ...], node: Node, value: Any
    ) -> None:
        self.add(machine, view, indices, "write")


def record_accesses(
    program: PrimFunc | IRModule, *args: object, limit: int = 1000, poison: Sequence[str] = (), entry: str = "main"
) -> list[Access]:
    """The first ``limit`` accesses to memory of a run, in order; ``args`` stay as they are. Raises as
    :func:`interpret` does.

    >>> import numpy as np
    >>> from mlcref.script import from_source
    >>> f = from_source('''
    ... @T.prim_func
    ... def f(A: T.Buffer((4,), "float32")):
    ...     for i in range(3):
    ...         A[i + 1] = A[i]
    ... ''')
    >>> [(access.kind, access.indices, access.values) for access in record_accesses(f, np.ones(4, "float32"), limit=3)]
    [('read', (0,), {'i': 0}), ('write', (1,), {'i': 0}), ('read', (1,), {'i': 1})]
    """
    recorder = _Recorder(limit)
    with suppress(_Enough):
        execute(select(program, entry), args, poison=poison, watchers=[recorder], functions=callable_from(program))
    return recorder.accesses
