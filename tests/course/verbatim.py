"""Run the courses' own text: ``python -m tests.course.verbatim FOLDER`` with a checkout of mlc-en or of d2l-tvm.

Each page's blocks run in order as they stand, with mlcref in TVM's place. Downloads and plots are replaced: pictures
and weights are those that mlcref ships, or drawn ones, and what draws does nothing. A block may fail where
``docs/course.md`` gives it a reason, or where the reader is to complete it; else it is listed, and the status is 1.
It needs torch.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np

import mlcref
from mlcref.demo.dataset import class_names, load_images, load_weights
from tests.course.blocks import CHAPTERS
from tests.course.chapters import Chapter

PAGES = {
    "case_study": "chapter_tensor_program/case_study.md",
    "tensorir_exercises": "chapter_tensor_program/tensorir_exercises.md",
    "auto_program_optimization": "chapter_auto_program_optimization/index.md",
    "end_to_end": "chapter_end_to_end/index.md", "e2e_assignment": "chapter_end_to_end/e2e-assignment.md",
    "gpu_1": "chapter_gpu_acceleration/part1.md", "gpu_2": "chapter_gpu_acceleration/part2.md",
    "graph_optimization": "chapter_graph_optimization/index.md", "integration": "chapter_integration/index.md",
    "vector_add": "chapter_getting_started/vector_add.md",
    "index_shape": "chapter_expressions/index_shape_expressions.md",
    **{name: f"chapter_expressions/{name}.md"
       for name in ("data_types", "shapes", "reductions", "if_then_else", "all_any")},
    **{f"op_{name}": f"chapter_common_operators/{name}.md"
       for name in ("broadcast_add", "matmul", "conv", "depthwise_conv", "pooling", "batch_norm")},
}  # fmt: skip
NOT_WHOLE = {
    "case_study": {13}, "tensorir_exercises": {8, 11, 16, 17, 18}, "e2e_assignment": {8, 9, 10, 14, 15}, "gpu_2": {19},
}  # fmt: skip
"""Blocks that the reader completes, and those that need them; ``tests/course`` has them whole."""
FOLLOWS_FROM_TUNING = {"auto_program_optimization": {46, 47}}
"""Blocks that run what the search before them should have found."""
MODULES = (
    "contrib", "contrib.clang", "contrib.utils", "ir", "ir.module", "ir.transform", "relax", "runtime", "script",
    "script.relax", "script.tir", "target", "te", "tir", "topi",
)  # fmt: skip


def blocks_in(text: str) -> list[str]:
    """The blocks of a page, without what only a notebook understands."""
    found: list[str] = []
    lines: list[str] | None = None
    for line in text.splitlines():
        if line.startswith("```"):
            if lines is not None:
                found.append("\n".join(lines))
            lines = None if lines is not None else []
        elif lines is not None:
            lines.append("" if re.match(r"\s*[!%]", line) else line)
    return found


def failures(page: str, blocks: list[str]) -> dict[int, BaseException]:
    """What the blocks of a page raise, by number from 1. They run in one namespace; decorators need their source, so
    that each is a file in the current folder.
    """
    raised: dict[int, BaseException] = {}
    names: dict[str, Any] = {"__name__": page}
    for number, block in enumerate(blocks, start=1):
        path = Path(f"{page}_{number}.py").resolve()
        path.write_text(block + "\n", encoding="utf-8")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block, str(path), "exec"), names)
        except Exception as error:  # noqa: BLE001 - the reader's code may raise anything; all of it is reported
            raised[number] = error
    return raised


def excused(chapter: Chapter) -> set[int]:
    """The blocks that may fail."""
    reasons = {number for row in chapter.rows if row.reason for number in row.numbers}
    return reasons | NOT_WHOLE.get(chapter.key, set()) | FOLLOWS_FROM_TUNING.get(chapter.key, set())


class Pictures:
    """``torchvision.datasets.FashionMNIST`` of the first pictures that mlcref ships."""

    classes = class_names

    def __init__(self, *_: Any, **__: Any) -> None:
        self.pictures = load_images(shipped=True).first(16)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.pictures.images[index].reshape(1, 28, 28).copy()
        return import_module("torch").from_numpy(image), int(self.pictures.labels[index])


def replaced_modules() -> dict[str, Any]:
    """mlcref under TVM's names, and what stands for libraries that draw, download or are no more."""
    found: dict[str, Any] = {f"tvm.{name}": import_module(f"mlcref.{name}") for name in MODULES}
    found |= {"tvm": mlcref, "topi": mlcref.topi, "mxnet": MagicMock()}
    display = SimpleNamespace(
        Code=lambda text, language=None: text, HTML=lambda text: text, set_matplotlib_formats=lambda *_: None
    )
    found |= {"IPython": SimpleNamespace(display=display), "IPython.display": display}
    found |= {"matplotlib": MagicMock(), "matplotlib.pyplot": MagicMock()}
    vision = SimpleNamespace(datasets=SimpleNamespace(FashionMNIST=Pictures), transforms=MagicMock())
    found |= {"torchvision": vision}
    found |= {f"torchvision.{name}": getattr(vision, name) for name in ("datasets", "transforms")}
    return found


def write_weights() -> None:
    """The files of weights that the courses download, in the current folder."""
    rng = np.random.default_rng(0)
    shapes = {"conv2d_weight": (32, 1, 3, 3), "conv2d_bias": (32,), "linear0_weight": (100, 5408),
              "linear0_bias": (100,), "linear1_weight": (10, 100), "linear1_bias": (10,)}  # fmt: skip
    drawn = {name: rng.standard_normal(shape, "float32") * 0.05 for name, shape in shapes.items()}
    for name, weights in {"mlp": load_weights(), "mlp_assignment": drawn}.items():
        Path(f"fasionmnist_{name}_params.pkl").write_bytes(pickle.dumps(weights))


def report(chapter: Chapter, blocks: list[str]) -> int:
    """Run a page and print what happened; how many blocks fail that should not."""
    raised = failures(chapter.key, blocks)
    wrong = sorted(raised.keys() - excused(chapter))
    run, rest = len(blocks) - len(raised), len(raised) - len(wrong)
    print(f"{chapter.title}: {len(blocks)} blocks, {run} run, {rest} excused")
    for number in wrong:
        print(f"  {number}: {type(raised[number]).__name__}: {raised[number]}".splitlines()[0])
    return len(wrong)


def main(course: Path) -> int:
    """Run all pages that ``course`` has; 1 when a block fails that should not."""
    pages = {chapter: course.resolve() / PAGES.get(chapter.key, "none") for chapter in CHAPTERS}
    sys.path.insert(0, str(course.resolve()))
    sys.modules.update(replaced_modules())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_weights()
        texts = {chapter: page.read_text(encoding="utf-8") for chapter, page in pages.items() if page.is_file()}
        unexpected = sum([report(chapter, blocks_in(text)) for chapter, text in texts.items()])
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
