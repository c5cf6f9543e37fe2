"""A fuzzer of TVM's schedule primitives: random programs, random primitives by TVM's own API, the oracle as the judge.

    python examples/found_in_tvm/fuzz.py --minutes 10 --log fuzz.jsonl     # goes on where the log ends
    python examples/found_in_tvm/fuzz.py --minutes 5 --without merge       # looks past what is known already
    python examples/found_in_tvm/fuzz.py --seed 17                         # shows one seed

Seed n draws a small valid program, hands it to TVM as text, and applies up to eight random primitives; what TVM refuses
is left out. TVM's print of the result is read back and must refine the original (``check_equivalent``). One result in
three is also compiled by TVM and compared with the oracle. A wrong result is minimised at once: fewest instructions,
then the smallest program. Batches of seeds run in a child process, so that a crash of TVM is a finding like others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import tvm
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mlcref.errors import ScriptError, UnsupportedError
from mlcref.interp import interpret
from mlcref.ir import IRModule, PrimFunc
from mlcref.script import from_source
from mlcref.verify import check_equivalent
from mlcref.verify.generate import program
from mlcref.verify.inputs import arguments

BATCH = 40
MOST_STEPS = 8
MOST_STATEMENTS = 40_000
REFUSED = "refused by the compiler"
TARGET = {"kind": "llvm", "num-cores": 2}
REFUSALS = (
    tvm.error.InternalError, tvm.s_tir.ScheduleError, tvm.error.DiagnosticError, ValueError, TypeError, LookupError,
    AssertionError, RuntimeError,
)  # fmt: skip
MAPS = {
    1: ("lambda i: (i // 2, i % 2)", "lambda i: (i // 3, i % 3)", "lambda i: i + 1"),
    2: ("lambda i, j: (j, i)", "lambda i, j: (i // 2, j, i % 2)", "lambda i, j: (i, j // 3, j % 3)",
        "lambda i, j: i * 8 + j", "lambda i, j: (i, 7 - j)"),
    3: ("lambda i, j, k: (k, i, j)", "lambda i, j, k: (i, j // 2, k, j % 2)", "lambda i, j, k: (j, i, k)"),
    4: ("lambda i, j, k, l: (i, k, j, l)",),
}  # fmt: skip
"""Index maps by number of dimensions."""


class Choices:
    """A ``pick`` that replays a list of positions and then draws; ``taken`` is what it chose, with how many there
    were. Lower positions mean smaller programs."""

    def __init__(self, rng: Random | None, given: Sequence[int] = ()) -> None:
        self.rng, self.given = rng, list(given)
        self.taken: list[int] = []

    def __call__(self, options: Sequence[Any]) -> Any:
        turn = len(self.taken)
        position = self.given[turn] if turn < len(self.given) else self.rng.randrange(len(options)) if self.rng else 0
        self.taken.append(min(position, len(options) - 1))
        return options[self.taken[-1]]


class Blocks:
    """The blocks of a schedule as its script names them, and random arguments of primitives as Python text."""

    def __init__(self, sch: Any, rng: Random) -> None:
        self.sch, self.rng = sch, rng
        self.found: dict[str, Any] = {}
        self.collect(sch.get_sblock("root"))
        self.name = rng.choice(list(self.found))
        self.block = f'sch.get_sblock("{self.name}")'

    def collect(self, parent: Any) -> None:
        """The blocks inside of a block, by name."""
        for child in self.sch.get_child_blocks(parent):
            block = self.sch.get(child)
            self.found[block.name_hint] = block
            self.collect(child)

    def depth(self, name: str) -> int:
        return len(self.sch.get_loops(self.sch.get_sblock(name)))

    def loop(self, at: int, name: str = "") -> str:
        return f'sch.get_loops(sch.get_sblock("{name or self.name}"))[{at}]'

    def a_loop(self) -> str:
        return self.loop(self.rng.randrange(self.depth(self.name)))

    def different_loop(self) -> str:
        """A loop of another block: TVM dies of ``merge`` of a loop with itself (``merge_with_itself.py``)."""
        others = [name for name in self.found if name != self.name]
        name = self.rng.choice(others or [self.name])
        return self.loop(0 if others else 1, name)

    def other_loop(self) -> str:
        name = self.rng.choice(list(self.found))
        return self.loop(self.rng.randrange(self.depth(name)), name)

    def buffer(self, *kinds: str) -> str:
        kind = self.rng.choice(kinds)
        regions = getattr(self.found[self.name], kind + "s")
        return f'("{kind}", {self.rng.randrange(max(1, len(regions)))})'

    def read(self) -> int:
        return self.rng.randrange(max(1, len(self.found[self.name].reads)))

    def index_map(self, rank: int) -> str:
        return self.rng.choice(MAPS.get(rank, ("lambda *i: i[::-1]",)))

    def scope(self) -> str:
        return self.rng.choice(['"global"', '"local"', '"shared"'])


def factors(b: Blocks) -> list[int | None]:
    made: list[int | None] = [b.rng.choice([2, 3, 4, 5]) for _ in range(b.rng.choice([1, 1, 2]))]
    made.insert(b.rng.randrange(len(made) + 1), None)
    return made


def fuse(b: Blocks) -> str:
    first = b.rng.randrange(max(1, b.depth(b.name) - 1))
    return f"sch.fuse({b.loop(first)}, {b.loop(first + 1)})"


def reorder(b: Blocks) -> str:
    depth = b.depth(b.name)
    chosen = b.rng.sample(range(depth), b.rng.randint(min(2, depth), depth))
    return f"sch.reorder({', '.join(b.loop(at) for at in chosen)})"


def transform_layout(b: Blocks) -> str:
    kind, at = b.rng.choice(["read", "write"]), 0
    regions = getattr(b.found[b.name], kind + "s")
    rank = len(regions[at].region) if len(regions) else 1
    pad = b.rng.choice(["None", "None", "0"])
    return f'sch.transform_layout({b.block}, ("{kind}", {at}), {b.index_map(rank)}, pad_value={pad})'


def permutation(b: Blocks) -> list[int]:
    order = list(range(len(b.found[b.name].iter_vars)))
    b.rng.shuffle(order)
    return order


def axis(b: Blocks) -> int:
    return b.rng.randint(-1, 2)


PRIMITIVES: dict[str, Callable[[Blocks], str]] = {
    "split": lambda b: f"sch.split({b.a_loop()}, {factors(b)})",
    "loop_partition": lambda b: f"sch.loop_partition({b.a_loop()}, {factors(b)})",
    "fuse": fuse,
    "reorder": reorder,
    "merge": lambda b: f"sch.merge({b.loop(0)}, {b.different_loop()})",
    "add_unit_loop": lambda b: f"sch.add_unit_loop({b.rng.choice([b.block, b.a_loop()])})",
    "reorder_block_iter_var": lambda b: f"sch.reorder_block_iter_var({b.block}, {permutation(b)})",
    "compute_at": lambda b: f"sch.compute_at({b.block}, {b.other_loop()}, preserve_unit_loops={b.rng.random() < 0.3})",
    "reverse_compute_at": lambda b: (
        f"sch.reverse_compute_at({b.block}, {b.other_loop()}, preserve_unit_loops={b.rng.random() < 0.3})"
    ),
    "compute_inline": lambda b: f"sch.compute_inline({b.block})",
    "reverse_compute_inline": lambda b: f"sch.reverse_compute_inline({b.block})",
    "cache_read": lambda b: f"sch.cache_read({b.block}, {b.read()}, {b.scope()})",
    "cache_write": lambda b: f"sch.cache_write({b.block}, 0, {b.scope()})",
    "cache_inplace": lambda b: f"sch.cache_inplace({b.block}, 0, {b.scope()})",
    "reindex": lambda b: f"sch.reindex({b.block}, {b.buffer('read', 'write')})",
    "reindex_cache_read": lambda b: (
        f"sch.reindex_cache_read({b.block}, {b.read()}, {b.scope()}, {b.index_map(len(b.found[b.name].iter_vars))})"
    ),
    "reindex_cache_write": lambda b: (
        f"sch.reindex_cache_write({b.block}, 0, {b.scope()}, {b.index_map(len(b.found[b.name].iter_vars))})"
    ),
    "cache_index": lambda b: f"sch.cache_index({b.block}, {b.scope()}, 0)",
    "set_scope": lambda b: f"sch.set_scope({b.block}, 0, {b.scope()})",
    "storage_align": lambda b: f"sch.storage_align({b.block}, 0, axis={axis(b)}, factor=4, offset=1)",
    "decompose_reduction": lambda b: f"sch.decompose_reduction({b.block}, {b.a_loop()})",
    "rfactor": lambda b: f"sch.rfactor({b.a_loop()}, {axis(b)})",
    "blockize": lambda b: f"sch.blockize({b.a_loop()})",
    "transform_layout": transform_layout,
    "transform_block_layout": lambda b: (
        f"sch.transform_block_layout({b.block}, {b.index_map(len(b.found[b.name].iter_vars))})"
    ),
    "pad_einsum": lambda b: (
        f"sch.pad_einsum({b.block}, {[b.rng.choice([1, 2, 4, 5]) for _ in b.found[b.name].iter_vars]})"
    ),
    "decompose_padding": lambda b: f"sch.decompose_padding({b.block}, {b.a_loop()})",
    "rolling_buffer": lambda b: f"sch.rolling_buffer({b.block}, 0)",
    "parallel": lambda b: f"sch.parallel({b.a_loop()})",
    "vectorize": lambda b: f"sch.vectorize({b.a_loop()})",
    "unroll": lambda b: f"sch.unroll({b.a_loop()})",
}
"""Every primitive under test, and how a random call of it is written."""
COMMON = ("split", "fuse", "reorder", "compute_at", "reverse_compute_at", "rfactor", "cache_write", "cache_read")


def scheduled(func: PrimFunc, steps: Sequence[str]) -> Any:
    """TVM's schedule of ``func`` after ``steps``."""
    sch = tvm.s_tir.Schedule(
        tvm.script.from_source(IRModule({"main": func}).script(dialect="tirx")), error_render_level="fast"
    )
    for step in steps:
        eval(step, {"sch": sch})
    return sch


def random_steps(func: PrimFunc, rng: Random, tried: Counter[str], without: Sequence[str]) -> tuple[Any, list[str]]:
    """A schedule, and the steps that TVM accepted."""
    sch, steps = scheduled(func, ()), []
    names = [name for name in (*PRIMITIVES, *COMMON) if name not in without]
    for _ in range(rng.randint(2, MOST_STEPS) * 3):
        name = rng.choice(names)
        try:
            blocks = Blocks(sch, rng)
            step = PRIMITIVES[name](blocks)
            print(f"+ {step}", flush=True)
            eval(step, {"sch": sch})
        except REFUSALS:
            print("-", flush=True)
            tried[f"{name} refused"] += 1
            continue
        tried[f"{name} applied"] += 1
        steps.append(step)
        if len(steps) == MOST_STEPS:
            break
    print("judging", flush=True)
    return sch, steps


def judge(func: PrimFunc, sch: Any, compile_it: bool) -> tuple[str, str]:
    """What the result is: "ok", "unsupported", or the kind of wrong: a rule of the oracle, "value", "malformed",
    "compiled"."""
    text = sch.mod.script()
    try:
        result = from_source(text)
    except UnsupportedError as error:
        return "unsupported", error.what
    except ScriptError as error:
        return "malformed", error.what
    verdict = check_equivalent(func, result, trials=2, max_statements=MOST_STATEMENTS)
    if verdict.status == "UNSUPPORTED":
        return "unsupported", verdict.detail
    if verdict.status == "REFUTED":
        found = verdict.counterexample
        assert found is not None
        return (found.error.rule or "error") if found.error is not None else "value", str(verdict)
    return compiled_result(func, sch.mod) if compile_it else ("ok", "")


def compiled_result(func: PrimFunc, mod: Any) -> tuple[str, str]:
    """Does TVM's code of ``mod`` compute on small integers what the oracle says of ``func``?"""
    want = list(arguments(func, {}, "small", np.random.default_rng(7)))
    got = [tvm.runtime.tensor(a) for a in want]
    interpret(func, *want)
    try:
        tvm.compile(mod, target=tvm.target.Target(TARGET))["main"](*got)
    except REFUSALS as error:
        return REFUSED, str(error).strip().splitlines()[-1][:300]
    for param, ours, theirs in zip(func.params, want, got, strict=True):
        if not np.array_equal(ours, theirs.numpy()):
            return "compiled", f"{param.name}: expected {ours.tolist()}, TVM computes {theirs.numpy().tolist()}"
    return "ok", ""


def wrong(given: Sequence[int], steps: Sequence[str], kind: str) -> list[int] | None:
    """Do ``steps`` go wrong in the same way on the program of ``given``? Its positions, if so."""
    choices = Choices(None, given)
    func = program(choices)
    try:
        sch = scheduled(func, steps)
    except REFUSALS:
        return None
    return choices.taken if judge(func, sch, kind == "compiled")[0] == kind else None


def minimised(given: list[int], steps: list[str], kind: str) -> tuple[list[int], list[str]]:
    """The fewest steps, then the smallest program, that go wrong in the same way."""
    steps = next(steps[:n] for n in range(1, len(steps) + 1) if n == len(steps) or wrong(given, steps[:n], kind))
    size = None
    while size != (len(steps), sum(given), len(given)):
        size = (len(steps), sum(given), len(given))
        for at in reversed(range(len(steps))):
            fewer = steps[:at] + steps[at + 1 :]
            if wrong(given, fewer, kind) is not None:
                steps = fewer
        for at in range(len(given)):
            for lower in range(given[at] if at < len(given) else 0):
                found = wrong([*given[:at], lower, *given[at + 1 :]], steps, kind)
                if found is not None and (len(found), sum(found)) < (len(given), sum(given)):
                    given = found
                    break
    return given, steps


def one_seed(seed: int, without: Sequence[str]) -> dict[str, Any]:
    """Everything about a seed, as its line of the log."""
    rng = Random(seed)
    choices, tried = Choices(rng), Counter[str]()
    func = program(choices)
    sch, steps = random_steps(func, rng, tried, without)
    kind, why = judge(func, sch, compile_it=seed % 3 == 0)
    line: dict[str, Any] = {"seed": seed, "kind": kind, "tried": tried}
    if kind == "ok":
        return line
    if kind in ("unsupported", REFUSED):
        return {**line, "why": why[:200]}
    given, steps = minimised(choices.taken, steps, kind)
    func = program(Choices(None, given))
    why = judge(func, scheduled(func, steps), kind == "compiled")[1]
    return {**line, "given": given, "steps": steps, "why": why}


def primitives_of(line: dict[str, Any]) -> str:
    """The names of the primitives of a finding, in order: with its kind, what tells it from others."""
    return " + ".join(step[4 : step.index("(")] for step in line["steps"])


def batch(first: int, without: Sequence[str]) -> None:
    """The child process: one line of JSON per seed, the seed itself before it starts."""
    for seed in range(first, first + BATCH):
        print(seed, flush=True)
        print(json.dumps(one_seed(seed, without)), flush=True)


def lines_of_batch(first: int, without: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The lines of a child; where it dies, a line says so, and another child takes the rest."""
    seed, end = first, first + BATCH
    while seed < end:
        command = [sys.executable, __file__, "--batch", str(seed), "--without", *without]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = child.communicate()
        written = [json.loads(text) for text in out.splitlines() if text.startswith("{")]
        for line in written:
            if line["seed"] < end:
                seed = line["seed"] + 1
                yield line
        if child.returncode and seed < end:
            why = f"exit {child.returncode}: {err[-300:]}"
            yield {"seed": seed, "kind": "crash", "tried": {}, "why": why, "steps": before_death(out)}
            seed += 1


def before_death(out: str) -> list[str]:
    """The steps that TVM accepted, and the one that it died of."""
    steps: list[str] = []
    for text in out[out.rfind("}") + 1 :].splitlines():
        if text.startswith("+ "):
            steps.append(text[2:])
        elif text == "-":
            steps.pop()
        elif text == "judging":
            steps.append("judging()")
    return steps


def run(minutes: float, log: Path, without: Sequence[str]) -> None:
    """Go on where the log ends, for some minutes."""
    lines = [json.loads(text) for text in log.read_text().splitlines()] if log.exists() else []
    seed = max((line["seed"] for line in lines), default=-1) + 1
    kinds = Counter(line["kind"] for line in lines)
    end = time.monotonic() + 60 * minutes
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with log.open("a") as out, Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=60 * minutes)
        while time.monotonic() < end:
            for line in lines_of_batch(seed, without):
                kinds[line["kind"]] += 1
                out.write(json.dumps(line) + "\n")
            out.flush()
            seed += BATCH
            told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
            progress.update(bar, completed=60 * minutes - (end - time.monotonic()), description=f"{seed} seeds: {told}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--log", type=Path, default=Path("fuzz.jsonl"))
    options.add_argument("--seed", type=int)
    options.add_argument("--without", nargs="*", default=[], choices=list(PRIMITIVES), metavar="PRIMITIVE")
    options.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.batch is not None:
        batch(given.batch, given.without)
    elif given.seed is not None:
        Console().print(one_seed(given.seed, given.without))
    else:
        run(given.minutes, given.log, given.without)


if __name__ == "__main__":
    main()
