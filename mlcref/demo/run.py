"""``python -m mlcref demo``: the whole way of a model, from TVMScript to compiled kernels, shown and checked as it
goes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.columns import Columns
from rich.console import Console, Group
from rich.progress import track
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from mlcref.demo.access import access_trace, reordered
from mlcref.demo.dataset import ImagePreview, Images, Weights, load_images, load_weights
from mlcref.demo.engines import EngineResult, classify, compiled_engine, numpy_engine, oracle_engine
from mlcref.demo.model import BIG_LAYER, model
from mlcref.demo.search import Trial, measure, search
from mlcref.ir import IRModule
from mlcref.verify import Verdict, check_equivalent

TARGET = "cython --num-cores=1"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    json: bool = False
    data: str | None = None
    trials: int = 8
    oracle_images: int = 20
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything the demo found out."""

    source: str
    engines: tuple[EngineResult, ...]
    trials: tuple[Trial, ...]
    layer_before: float
    full_size: Verdict

    @property
    def agree(self) -> bool:
        """Do all engines predict the same class for every image that they saw?"""
        reference = self.engines[-1].predictions
        return all(engine.predictions == reference[: len(engine.predictions)] for engine in self.engines)

    @property
    def verified(self) -> bool:
        """Did every verdict accept?"""
        return bool(self.full_size) and all(trial.verified for trial in self.trials)

    def as_json(self) -> dict[str, Any]:
        """The outcome as plain values."""
        best = self.trials[0]
        return {
            "data": self.source,
            "engines": [engine.as_json() for engine in self.engines],
            "engines_agree": self.agree,
            "verified": self.verified,
            "instructions_checked": sum(s.verdict is not None for t in self.trials for s in t.steps),
            "full_size_verdict": str(self.full_size),
            "layer_seconds": {"unscheduled": self.layer_before, "scheduled": best.seconds},
            "winning_trace": best.trace.as_json(),
        }


class Tour:
    """The steps of the demo, each shown on the console as it is done."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options, self.console = options, console

    def title(self, text: str) -> None:
        """The headline of a step."""
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left")

    def steps(self, text: str) -> Any:
        """A progress bar around a loop."""
        return lambda items: track(
            items, text, console=self.console, transient=True, disable=not self.console.is_terminal
        )

    def run(self) -> Outcome:
        """All steps in order."""
        images, weights = load_images(self.options.data), load_weights()
        self.title(f"1  The model: {len(images)} images from {images.source}")
        mod = model()
        self.console.print(Syntax(mod.script(), "python", background_color="default", word_wrap=True))
        seen = images.first(self.options.oracle_images)
        self.title(f"2  The oracle classifies {len(seen)} images")
        progress = self.steps("the oracle multiplies")
        oracle = classify("oracle", oracle_engine(mod, weights), seen, progress, warm_up=False)
        self.show_images(seen, oracle)
        self.show_access(mod)
        trials, before = self.search(mod, images, weights)
        best, full = trials[0], self.check_full_size(mod, trials[0])
        scheduled = mod.clone()
        scheduled.update_func(BIG_LAYER, best.func.with_attr("global_symbol", BIG_LAYER))
        self.title(f"5  Every engine classifies {len(images)} images")
        engines = (
            oracle,
            classify("numpy", numpy_engine(weights), images, self.steps("numpy")),
            classify("compiled, unscheduled", compiled_engine(mod, weights, TARGET), images, self.steps("unscheduled")),
            classify(
                "compiled, scheduled", compiled_engine(scheduled, weights, TARGET), images, self.steps("scheduled")
            ),
            classify(
                "compiled, by rules", compiled_engine(mod, weights, TARGET, optimised=True), images,
                self.steps("by rules"),
            ),
        )  # fmt: skip
        outcome = Outcome(images.source, engines, tuple(trials), before, full)
        self.show_outcome(outcome)
        return outcome

    def show_images(self, images: Images, result: EngineResult) -> None:
        """The first images with what the oracle says they are."""
        cells = []
        for i in range(min(4, len(images))):
            right = result.predictions[i] == result.labels[i]
            label = Text(images.class_names[result.predictions[i]], style="green" if right else "red")
            cells.append(Group(ImagePreview(images.images[i]), label))
        self.console.print(Columns(cells, padding=(0, 3)))
        hits = sum(p == y for p, y in zip(result.predictions, result.labels, strict=True))
        self.console.print(f"{hits} of {len(result.labels)} right, {result.seconds:.2f} s per image")

    def show_access(self, mod: IRModule) -> None:
        """What consecutive iterations of the big layer touch, before and after a reorder."""
        self.title("3  What consecutive iterations of the big layer touch")
        layer = mod[BIG_LAYER]
        for text, func in (("i, j, k as written", layer), ("after reorder(k, j)", reordered(layer))):
            table = Table(
                "buffer", "elements read by consecutive iterations", "stride", title=text, title_justify="left"
            )
            for row in access_trace(func):
                table.add_row(*row)
            self.console.print(table)

    def search(self, mod: IRModule, images: Images, weights: Weights) -> tuple[list[Trial], float]:
        """Random search; the trials, fastest first, and the seconds of the layer without a schedule."""
        self.title(f"4  Random search: {self.options.trials} sampled schedules, each instruction checked by the oracle")
        arrays = [images.images[:1], weights["w0"], weights["b0"], np.zeros((1, 128), np.float32)]
        before = measure(mod[BIG_LAYER], arrays, TARGET)
        self.console.print(f"unscheduled {before * 1e6:8.1f} µs")

        def report(trial: Trial) -> None:
            checked = sum(step.verdict is not None for step in trial.steps)
            mark = "[green]equivalent[/]" if trial.verified else "[red]NOT equivalent[/]"
            tiles = ", ".join(str(decision) for decision in trial.trace.decisions.values())
            self.console.print(f"{trial.seconds * 1e6:8.1f} µs   {checked} instructions {mark}   decisions {tiles}")

        trials = search(mod, arrays, trials=self.options.trials, seed=self.options.seed, target=TARGET, report=report)
        return trials, before

    def check_full_size(self, mod: IRModule, best: Trial) -> Verdict:
        """The winner against the layer as written, at full size."""
        with self.console.status("the oracle runs the winner at full size"):
            verdict = check_equivalent(mod[BIG_LAYER], best.func, trials=1)
        self.console.print(f"the winner at full size: {verdict}", markup=False)
        return verdict

    def show_outcome(self, outcome: Outcome) -> None:
        """The table at the end."""
        table = Table("engine", "images", "accuracy", "time per image", title="Result", title_justify="left")
        for engine in outcome.engines:
            table.add_row(engine.name, str(len(engine.labels)), f"{engine.accuracy:.4f}", _duration(engine.seconds))
        self.console.print(table)
        best = outcome.trials[0]
        self.console.print(f"big layer: {_duration(outcome.layer_before)} → {_duration(best.seconds)}")
        self.console.print(
            "engines agree: " + _yes(outcome.agree) + ", every verdict accepts: " + _yes(outcome.verified)
        )
        self.console.print("the winning trace:")
        self.console.print(Syntax(str(best.trace), "python", background_color="default", word_wrap=True))


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def _yes(value: bool) -> str:
    return "[green]yes[/]" if value else "[red]NO[/]"


def run(options: Options) -> int:
    """Run the demo; 0 when every engine predicts the same and every verdict accepts, else 1."""
    console = Console(quiet=options.json)
    outcome = Tour(options, console).run()
    if options.json:
        print(json.dumps(outcome.as_json(), indent=2))
    return 0 if outcome.agree and outcome.verified else 1
