"""What TVM's operators mean to the oracle: built by TVM, printed by TVM, read here, run here, compared with TVM's code.

    python tests/compat/topi_agreement.py            # measures all and writes data/topi.json
    python tests/compat/topi_agreement.py softmax    # shows some operators, writes nothing

Each case is a function that ``tvm.te.create_prim_func`` makes from topi. Its script, as TVM prints it, is parsed by
``mlcref.script`` and run by the oracle on small integers and on random numbers; TVM compiles the same function for the
CPU with LLVM and runs it on the same arguments. Elements that are not equal bit by bit must lie within the bound that
:class:`PeerArithmetic` computes for each of them, or, where that bound knows nothing, within ``ULPS`` units in the last
place. Where TVM compiles an operator for float32 but not for float16, its float32 code is given the same numbers, and
its results are rounded. Our print of each function must be read by TVM as the same function. Every case of the
catalogue is in the list.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from rich.progress import track
from tvm import te
from tvm.s_tir import meta_schedule

from mlcref import dtype as dt
from mlcref.errors import MlcrefError
from mlcref.interp import interpret
from mlcref.interp.bound import Bounded, BoundArithmetic, Undecided, error_of
from mlcref.interp.run import execute
from mlcref.ir import Add, Buffer, Div, Mul, PrimFunc, Sub, structural_equal
from mlcref.script import from_source
from mlcref.verify import check_equivalent
from topi_catalog import OPERATORS, Operator, Spec

Array = np.ndarray[Any, Any]
Code = Callable[[Sequence[Array]], list[Array]]
"""The arguments after a call."""

LIST = Path(__file__).parent / "data" / "topi.json"
TARGET = {"kind": "llvm", "num-cores": 2}
SCHEDULED = ("matmul", "dense", "batch_matmul", "softmax", "conv2d_nchw", "conv2d_nhwc", "max_pool2d", "relu", "sum",
             "transpose", "layer_norm", "bilinear_matmul_relu", "conv1d_ncw", "log_softmax", "argmax",
             "depthwise_conv2d_nchw")  # fmt: skip
FLOAT32_CODE = "TVM's code for float32, rounded to float16"
SAMPLES = 2
"""How often each design space of MetaSchedule is sampled."""
MOST_SCHEDULES = 8
"""Of each function, taken in the order in which they are sampled."""
MOST_STATEMENTS = 100_000
BITS = {"float64": 53, "float32": 24, "float16": 11}
ULPS = 64
"""Units in the last place granted where no bound is known: functions such as tan, pow, tanh of LLVM's runtime."""
INTRINSIC_ULPS = 8
"""What the functions that TVM calls or expands to may be wrong by, where the bound knows how errors pass through."""


@dataclass(frozen=True)
class Case:
    """One line of the list.

    ``status`` is "agree", "disagree", "unsupported", or "no reference" where TVM does not compile its own function.
    ``method`` is the weakest comparison that was needed ("bits", "bound", "ulps"), ``cause`` why the status is not
    "agree", ``reference`` what was compared with, if not TVM's code of the function itself. ``print`` is "equal",
    "equal values" (TVM prints it as our program again; what may differ is said in docs/tvm_agreement.md), "differs",
    or why TVM does not read our print.
    """

    operator: str
    arguments: str
    status: str
    method: str = ""
    cause: str = ""
    print: str = ""
    schedule: str = ""
    reference: str = ""


class PeerArithmetic(BoundArithmetic):
    """The error bound of the oracle, widened by what another compiler may do in the same order: other roundings (it
    may contract a product and a sum), and functions that are wrong by ``INTRINSIC_ULPS``."""

    def binary(self, kind: Any, dtype: str, exact: bool) -> Callable[..., Any]:
        operation = super().binary(kind, dtype, exact)
        if kind not in (Add, Sub, Mul, Div) or dtype not in BITS:
            return operation
        return lambda a, b: widened(operation(a, b), dtype, 1)

    def intrinsic(self, name: str, operand: str, result: str) -> Callable[..., Any]:
        operation = super().intrinsic(name, operand, result)
        if result not in BITS or name in ("abs", "floor", "ceil", "trunc", "round", "nearbyint"):
            return operation
        return lambda *operands: widened(operation(*operands), result, INTRINSIC_ULPS)


def widened(value: Any, dtype: str, ulps: int) -> Any:
    error = error_of(value)
    if error == 0 or not math.isfinite(value):
        return value
    return Bounded(float(value), 2 * error + ulps * 2.0 ** -BITS[dtype] * (abs(value) + error))


def made_by_tvm(operator: Operator, case: Sequence[Spec]) -> Any:
    """The PrimFunc of TVM: the arguments, then the outputs."""
    arguments = [te.placeholder(shape, dtype, name=f"A{i}") for i, (shape, dtype) in enumerate(case)]
    built = operator.build(*arguments)
    outputs = [built] if isinstance(built, te.Tensor) else list(built)
    return te.create_prim_func([*arguments, *outputs])


def contents(func: PrimFunc, operator: Operator, count: int, kind: str, seed: int) -> list[Array]:
    """Arguments of ``func``; of which the first ``count`` are inputs, and the others hold what nobody wrote."""
    rng = np.random.default_rng(seed)
    made = []
    for number, buffer in enumerate(func.params):
        assert isinstance(buffer, Buffer)
        shape = [int(extent.value) for extent in buffer.shape]  # type: ignore[attr-defined]
        numpy_type = dt.numpy_dtype(buffer.type)
        unsigned = buffer.type == "bool" or buffer.type.startswith("uint")
        low, high = operator.ranges.get(number, (0, 1) if buffer.type == "bool" else (0 if unsigned else -3, 3))
        if number >= count:
            made.append(np.zeros(shape, numpy_type))
        elif dt.is_float(buffer.type) and kind == "random":
            made.append(rng.uniform(low, high, shape).astype(numpy_type))
        else:
            made.append(rng.integers(math.ceil(low), math.floor(high), shape, endpoint=True).astype(numpy_type))
    return made


def print_accepted(theirs: Any, ours: PrimFunc) -> str:
    """Does TVM read our print as the function that it printed?"""
    again = read_by_tvm(ours.script(dialect="tirx"))
    if isinstance(again, str):
        own = read_by_tvm(theirs.script())
        return f"refused: {again}" + ("; TVM refuses its own print, too" if isinstance(own, str) else "")
    if tvm_ffi.structural_equal(theirs, again):
        return "equal"
    if structural_equal(from_source(again.script()), ours):
        own = read_by_tvm(theirs.script())
        known = not isinstance(own, str) and tvm_ffi.structural_equal(theirs, own)
        return "equal values" if known else "equal values; TVM reads its own print as another function"
    return "differs"


def read_by_tvm(text: str) -> Any:
    """The function, or why not."""
    try:
        return tvm.script.from_source(text)
    except (tvm.error.DiagnosticError, tvm.error.InternalError, ValueError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0][:160]


def code_of(theirs: Any) -> Code:
    """TVM's code of its function, on numpy arrays. Raises ``tvm.error.InternalError`` where TVM does not compile it."""
    compiled = tvm.compile(tvm.IRModule({"main": theirs}), target=tvm.target.Target(TARGET))

    def run(arguments: Sequence[Array]) -> list[Array]:
        tensors = [tvm.runtime.tensor(a) for a in arguments]
        compiled["main"](*tensors)
        return [tensor.numpy() for tensor in tensors]

    return run


def float32_code(operator: Operator, case: Sequence[Spec]) -> Code:
    """TVM's code of ``operator`` for float32, on the numbers of float16 arguments; the results are rounded."""
    wide = code_of(made_by_tvm(operator, [(shape, dtype.replace("float16", "float32")) for shape, dtype in case]))

    def run(arguments: Sequence[Array]) -> list[Array]:
        given = [a.astype("float32") if a.dtype == "float16" else a for a in arguments]
        return [result.astype(a.dtype) for a, result in zip(arguments, wide(given), strict=True)]

    return run


def reference(theirs: Any, operator: Operator, case: Sequence[Spec]) -> tuple[Code, str]:
    """What ``theirs`` computes, and where that comes from, if not from its own code."""
    try:
        return code_of(theirs), ""
    except tvm.error.InternalError as error:
        if "unknown intrinsic" not in str(error) or all(dtype != "float16" for _, dtype in case):
            raise
    return float32_code(operator, case), FLOAT32_CODE


def compare(func: PrimFunc, code: Code, operator: Operator, count: int, kind: str) -> tuple[str, str]:
    """The weakest method that some element needed, and the first difference that no method explains."""
    arguments = contents(func, operator, count, kind, seed=len(func.params))
    ours = [a.copy() for a in arguments]
    interpret(func, *ours, poison=[p.name for p in func.params[count:]], max_statements=MOST_STATEMENTS)
    theirs = code(arguments)
    method = "bits"
    bounds: list[Any] | None = None
    for number in range(len(func.params)):
        want, got = ours[number], theirs[number]
        for place in np.argwhere(~same_bits(want, got)):
            at = tuple(int(i) for i in place)
            bounds = tolerances(func, arguments) if bounds is None else bounds
            used, allowed = allowance(bounds, number, at, want[at], got[at])
            if not abs(float(want[at]) - float(got[at])) <= allowed:
                name = f"{func.params[number].name}[{', '.join(map(str, at))}]"
                return used, f"{kind}: {name} is {want[at]!r} here and {got[at]!r} in TVM; {used} allow {allowed:.3g}"
            method = max(method, used, key=("bits", "bound", "ulps").index)
    return method, ""


def same_bits(x: Array, y: Array) -> Array:
    """Where two arrays hold the same bits; all NaNs are one."""
    if x.dtype.kind != "f":
        return np.asarray(x == y)
    return np.asarray(((x == y) & (np.signbit(x) == np.signbit(y))) | (np.isnan(x) & np.isnan(y)))


def tolerances(func: PrimFunc, arguments: Sequence[Array]) -> list[Any]:
    """The memory after a run that carries errors; empty where a branch depends on rounding."""
    try:
        return list(execute(func, arguments, arithmetic=PeerArithmetic(), max_statements=MOST_STATEMENTS).slots)
    except Undecided:
        return []


def allowance(bounds: list[Any], number: int, at: tuple[int, ...], want: Any, got: Any) -> tuple[str, float]:
    """By which method, and by how much an element may differ."""
    if want.dtype.kind != "f" or not (np.isfinite(want) and np.isfinite(got)):
        return "bits", 0.0
    if bounds:
        slot = bounds[number]
        error = error_of(slot.view.storage.cells[slot.positions[at]])
        if math.isfinite(error):
            return "bound", 2 * error
    return "ulps", ULPS * float(max(np.spacing(abs(want)), np.spacing(abs(got))))


def measure(operator: Operator, case: Sequence[Spec], theirs: Any, schedule: str = "") -> Case:
    """Read, print, run and compare one function of TVM."""
    line: dict[str, str] = {"operator": operator.name, "arguments": told(case), "schedule": schedule}
    try:
        ours = from_source(theirs.script())
        assert isinstance(ours, PrimFunc)
        line["print"] = print_accepted(theirs, ours)
        code, line["reference"] = reference(theirs, operator, case)
        methods, causes = zip(*(compare(ours, code, operator, len(case), kind) for kind in ("small", "random")),
                              strict=True)  # fmt: skip
    except MlcrefError as error:
        return Case(**line, status=status_of(error), cause=f"{type(error).__name__}: {error.what} [{error.rule}]")
    except tvm.error.InternalError as error:
        return Case(**line, status="no reference", cause=f"TVM does not compile it: {last_line(error)}")
    cause = next(filter(None, causes), "")
    worst = max(methods, key=("bits", "bound", "ulps").index)
    return Case(**line, status="disagree" if cause else "agree", method=worst, cause=cause)


def last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:160]


def status_of(error: MlcrefError) -> str:
    """A program of TVM that the oracle calls meaningless is a disagreement; one it cannot read or run is not."""
    return "disagree" if type(error).__name__ in ("OracleError", "CallError") else "unsupported"


def design_spaces(theirs: Any, seed: int) -> Iterator[Any]:
    """The schedules of every sketch of MetaSchedule, sampled with ``seed``, after its postprocessors."""
    context = meta_schedule.TuneContext(
        mod=tvm.IRModule({"main": theirs}), target=tvm.target.Target(TARGET), space_generator="post-order-apply",
        rand_state=seed, num_threads=1,
    )  # fmt: skip
    for schedule in context.generate_design_space():
        schedule.enter_postproc()
        if all(rule.apply(schedule) for rule in context.space_generator.postprocs):
            yield schedule


def measure_schedules(operator: Operator, case: Sequence[Spec]) -> Iterator[Case]:
    """Each distinct sampled schedule: against its own compiled code, and against the unscheduled function."""
    theirs = made_by_tvm(operator, case)
    ours = from_source(theirs.script())
    seen: set[str] = set()
    for seed, number, schedule in sampled(theirs):
        func = schedule.mod["main"]
        text = func.script()
        if text not in seen and len(seen) < MOST_SCHEDULES:
            seen.add(text)
            line = measure(operator, case, func, f"sketch {number}, seed {seed}")
            yield refined(line, ours, text) if line.status == "agree" else line


def sampled(theirs: Any) -> Iterator[tuple[int, int, Any]]:
    """Seed, number of the sketch, and the schedule."""
    for seed in range(1, SAMPLES + 1):
        for number, schedule in enumerate(design_spaces(theirs, seed)):
            yield seed, number, schedule


def refined(line: Case, ours: Any, text: str) -> Case:
    """The line, unless the scheduled function is not the one that was scheduled."""
    verdict = check_equivalent(ours, from_source(text), trials=2, max_statements=MOST_STATEMENTS)
    if verdict.status == "REFUTED":
        return Case(**{**asdict(line), "status": "disagree", "cause": f"the schedule changes the result: {verdict}"})
    return line


def plain(operator: Operator, case: Sequence[Spec]) -> Iterator[Case]:
    yield measure(operator, case, made_by_tvm(operator, case))


def apart(work: Callable[[Operator, Sequence[Spec]], Iterator[Case]], name: str, number: int) -> list[Case]:
    """The lines of one case, measured in a process of its own: a crash of TVM is a line like others."""
    operator = next(operator for operator in OPERATORS if operator.name == name)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(list(work(operator, operator.cases[number]))))
    child.start()
    sender.close()
    try:
        lines: list[Case] = receiver.recv()
    except EOFError:
        lines = [Case(name, told(operator.cases[number]), "no reference", cause="TVM crashes")]
    child.join()
    return lines


def told(case: Sequence[Spec]) -> str:
    return ", ".join(f"{'x'.join(map(str, shape))} {dtype}" for shape, dtype in case)


def totals(lines: Sequence[Case]) -> dict[str, int]:
    """How many cases there are of each status, each method and each answer of TVM to our print."""
    counts = Counter(line.status for line in lines)
    counts.update(f"by {line.method}" for line in lines if line.status == "agree")
    counts.update(f"print {line.print.split(':')[0].split(';')[0]}" for line in lines if line.print)
    return {"cases": len(lines), "operators": len({line.operator for line in lines}), **dict(sorted(counts.items()))}


def as_json(operators: Sequence[Case], schedules: Sequence[Case]) -> str:
    """The list: one case per line, without empty fields."""

    def rows(lines: Sequence[Case]) -> str:
        return ",\n".join("  " + json.dumps({k: v for k, v in asdict(x).items() if v}) for x in lines)

    head = json.dumps({"tvm": tvm.__version__, "operators": totals(operators), "schedules": totals(schedules)})
    return f'{{"totals": {head},\n"operators": [\n{rows(operators)}\n],\n"schedules": [\n{rows(schedules)}\n]}}\n'


def main(names: Sequence[str]) -> None:
    chosen = [operator for operator in OPERATORS if not names or operator.name in names]
    cases = [(operator.name, number) for operator in chosen for number in range(len(operator.cases))]
    operators = [line for case in track(cases, "operators") for line in apart(plain, *case)]
    picked = [(name, number) for name, number in cases if name in SCHEDULED and number == 0]
    schedules: list[Case] = []
    for case in track(picked, "schedules"):
        schedules += apart(measure_schedules, *case)
        if not names:  # what is there so far
            LIST.parent.mkdir(exist_ok=True)
            LIST.write_text(as_json(operators, schedules))
    for line in (*operators, *schedules):
        if names or line.status != "agree" or not line.print.startswith("equal"):
            print(" | ".join(filter(None, asdict(line).values())))
    print(totals(operators), totals(schedules), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
