"""What each script here does: a program, TVM's schedule of it, the oracle's verdict, and what TVM's code computes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from rich.console import Console
from rich.syntax import Syntax

from mlcref.errors import ScriptError, UnsupportedError
from mlcref.ir import PrimFunc
from mlcref.script import from_source
from mlcref.verify import Verdict, check_equivalent, inputs

Array = np.ndarray[Any, Any]
Steps = Callable[[Any], None]
TARGET = {"kind": "llvm", "num-cores": 2}


def scheduled(program: str, steps: Steps) -> Any:
    """TVM's schedule of ``program`` after ``steps``."""
    sch = tvm.s_tir.Schedule(tvm.script.from_source(program))
    steps(sch)
    return sch


def verdict(program: str, steps: Steps) -> Verdict:
    """Does TVM's result refine the program? A text with free variables is no program, and so refuted."""
    text = scheduled(program, steps).mod.script()
    try:
        return check_equivalent(from_source(program), from_source(text))
    except UnsupportedError:
        raise
    except ScriptError as error:
        return Verdict("REFUTED", str(error))


def computed(mod: Any, arguments: Sequence[Array]) -> Array | str:
    """What TVM's code leaves in the last argument; in a process of its own, because wrong code may write anywhere."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def call() -> None:
        tensors = [tvm.runtime.tensor(a) for a in arguments]
        try:
            tvm.compile(mod, target=tvm.target.Target(TARGET))["main"](*tensors)
            sender.send(tensors[-1].numpy())
        except (tvm.error.InternalError, ValueError) as error:
            sender.send(f"TVM does not compile it: {str(error).strip().splitlines()[-1]}")

    child = context.Process(target=call)
    child.start()
    sender.close()
    try:
        result: Array | str = receiver.recv()
    except EOFError:
        result = "the process died"
    child.join()
    return result


def small_integers(func: PrimFunc) -> tuple[Any, ...]:
    """Arguments where sums and products are exact."""
    return inputs.arguments(func, {}, "small", np.random.default_rng(7))


def show(program: str, steps: Steps, why: str, larger: Steps | None = None) -> None:
    """Print all of it; ``larger`` are the steps with numbers that make damage visible in TVM's code."""
    console = Console()
    sch = scheduled(program, steps)
    for title, text in (("The program", program), ("TVM's result", sch.mod["main"].script())):
        console.rule(title)
        console.print(Syntax(text.strip(), "python", background_color="default"))
    console.rule("The oracle")
    found = verdict(program, steps)
    console.print(str(found), markup=False)
    console.rule("TVM's own code, on small integers")
    func = from_source(program)
    assert isinstance(func, PrimFunc)
    refuted = found.counterexample
    arguments = refuted.arguments if refuted else small_integers(func)
    original = tvm.IRModule({"main": tvm.script.from_source(program)})
    runs = [("before the schedule", original), ("after it", sch.mod)]
    runs += [("after it, with a large factor", scheduled(program, larger).mod)] if larger else []
    for title, mod in runs:
        console.print(f"{title}: {computed(mod, arguments)}", markup=False)
    console.rule("Why")
    console.print(why.strip(), markup=False)
