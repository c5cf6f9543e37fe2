"""Images, labels and weights of the demo, and a small drawing of an image for the terminal.

Fashion-MNIST (Xiao, Rasul, Vollgraf: https://arxiv.org/abs/1708.07747) comes as files in the *idx* format: two zero
bytes, a type code (8: unsigned byte), the number of dimensions, one big-endian 32-bit size per dimension, then the
elements. The package carries the first 1,000 of the 10,000 test images in that format (MIT, see
``LICENSE.fashion-mnist``). Debian's package ``dataset-fashion-mnist`` installs all of them.
"""

from __future__ import annotations

import gzip
import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from mlcref.errors import MlcrefError

class_names = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SHIPPED_FOLDER = Path(__file__).parent
SHIPPED_STEM = "fashion_mnist_1000"
WEIGHTS_FILE = SHIPPED_FOLDER / "mlp_784_128_10.npz"
WEIGHT_SHAPES = {"w0": (128, 784), "b0": (128,), "w1": (10, 128), "b1": (10,)}
SIDE = 28
GREYS = " .:-=+*#%@"
UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What gzip, zipfile and numpy raise on a damaged file."""

Weights = dict[str, NDArray[np.float32]]


class DatasetError(MlcrefError):
    """A file of the demo is missing, or does not hold what its name promises."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images with their labels.

    ``images`` is float32 ``(n, 784)`` in [0, 1], row by row from the top left; ``labels`` is int64 ``(n,)``, indices
    into ``class_names``; ``source`` says in words where they come from.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Images:
        """The first ``count`` images (all of them if there are fewer)."""
        return Images(self.images[:count], self.labels[:count], self.class_names, self.source)


def load_images(path: str | Path | None = None, *, shipped: bool = False) -> Images:
    """The images to classify: a folder's test set, else Debian's (10,000), else the 1,000 of this package.

    ``path`` is a folder with ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each plain or with ``.gz``;
    ``shipped=True`` takes the 1,000 of this package even if more are installed.
    Raises DatasetError when a file is missing or damaged, or when both arguments are given.

    >>> load_images(shipped=True).images.shape
    (1000, 784)
    """
    if path is not None and shipped:
        raise DatasetError("a path and shipped=True were both given", hint="drop one of them")
    if path is not None:
        return load_split(path, "t10k")
    if not shipped and _find(DEBIAN_FOLDER, "t10k-images-idx3-ubyte"):
        return load_split(DEBIAN_FOLDER, "t10k")
    return load_split(SHIPPED_FOLDER, SHIPPED_STEM)


def load_split(folder: str | Path, stem: str) -> Images:
    """One part of the data set: ``<stem>-images-idx3-ubyte`` and ``<stem>-labels-idx1-ubyte``, each plain or ``.gz``.

    Upstream's stems are ``train`` (60,000) and ``t10k`` (10,000).
    Raises DatasetError when a file is missing or damaged, or when the two files do not fit each other.

    >>> load_split(SHIPPED_FOLDER, SHIPPED_STEM).labels[:4]
    array([9, 2, 1, 1])
    """
    images_file = _require(Path(folder), f"{stem}-images-idx3-ubyte")
    labels_file = _require(Path(folder), f"{stem}-labels-idx1-ubyte")
    pixels, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if pixels.shape[1:] != (SIDE, SIDE):
        height, width = pixels.shape[1:]
        raise DatasetError(f"{images_file}: images of {height} x {width} pixels, expected {SIDE} x {SIDE}")
    if len(pixels) != len(labels):
        raise DatasetError(f"{images_file} holds {len(pixels)} images, but {labels_file} {len(labels)} labels")
    if len(labels) == 0:
        raise DatasetError(f"{images_file}: no image in it")
    if labels.max() >= len(class_names):
        raise DatasetError(f"{labels_file}: label {labels.max()}, expected 0 to {len(class_names) - 1}")
    images = pixels.reshape(len(pixels), SIDE * SIDE).astype(np.float32) / np.float32(255)
    return Images(images, labels.astype(np.int64), class_names, f"{len(labels):,} images of {images_file}")


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{name}.gz", folder / name)
    return next((file for file in candidates if file.is_file()), None)


def _require(folder: Path, name: str) -> Path:
    file = _find(folder, name)
    if file is None:
        raise DatasetError(
            f"{folder}: neither {name}.gz nor {name} is there",
            hint="give a folder with Fashion-MNIST's idx files, or install Debian's package dataset-fashion-mnist",
        )
    return file


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an idx file, gzipped if its name ends in ``.gz``.

    Raises DatasetError when the file cannot be read, is no idx file of that many dimensions, or has another length
    than its header promises.

    >>> read_idx(SHIPPED_FOLDER / f"{SHIPPED_STEM}-images-idx3-ubyte.gz", 3).shape
    (1000, 28, 28)
    """
    content = _read_bytes(file)
    start = 4 + 4 * dimensions
    magic = bytes((0, 0, 8, dimensions))
    if content[:4] != magic:
        found = content[:4].hex(" ") or "nothing"
        raise DatasetError(f"{file}: starts with {found}, expected {magic.hex(' ')} (idx file)")
    if len(content) < start:
        raise DatasetError(f"{file}: ends after {len(content)} bytes, inside its header of {start}")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    follow, promised = len(content) - start, math.prod(shape)
    if follow != promised:
        sizes = " x ".join(map(str, shape))
        raise DatasetError(f"{file}: {follow} bytes after the header, which promises {sizes} = {promised}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _read_bytes(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if file.suffix == ".gz" else content
    except UNREADABLE as error:
        raise DatasetError(f"{file}: cannot be read: {error}") from error


def load_weights(path: str | Path | None = None) -> Weights:
    """The trained weights, keyed as in the course: ``w0`` (128, 784), ``b0`` (128,), ``w1`` (10, 128), ``b1`` (10,).

    All are float32. ``path`` is a file written by ``mlcref.demo.train``; without one, the weights of this package.
    Raises DatasetError when the file is missing or damaged, or an array is absent or has another shape or dtype.

    >>> load_weights()["w0"].shape
    (128, 784)
    """
    file = WEIGHTS_FILE if path is None else Path(path)
    if not file.is_file():
        raise DatasetError(f"{file}: no such file", hint="python -m mlcref.demo.train writes one")
    try:
        arrays = _read_npz(file)
    except UNREADABLE as error:
        raise DatasetError(f"{file}: cannot be read: {error}") from error
    return {name: _checked(file, arrays, name) for name in WEIGHT_SHAPES}


def _read_npz(file: Path) -> dict[str, NDArray[Any]]:
    # Not np.load: it parses an array's header before the archive's checksum is known to be right.
    with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        present = [name for name in WEIGHT_SHAPES if f"{name}.npy" in archive.namelist()]
        contents = {name: io.BytesIO(archive.read(f"{name}.npy")) for name in present}
    return {name: np.lib.format.read_array(content, allow_pickle=False) for name, content in contents.items()}


def _checked(file: Path, arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    shape = WEIGHT_SHAPES[name]
    if name not in arrays:
        raise DatasetError(f"{file}: no array {name} in it, only {', '.join(arrays) or 'nothing'}")
    array = arrays[name]
    if array.shape != shape or array.dtype != np.float32:
        raise DatasetError(f"{file}: {name} is {array.dtype} {array.shape}, expected float32 {shape}")
    return array


def logits(weights: Weights, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The classifier in numpy: linear, relu, linear. ``images`` float32 (n, 784) in [0, 1] → float32 (n, 10).

    >>> int(logits(load_weights(), load_images(shipped=True).images)[0].argmax())  # an ankle boot
    9
    """
    hidden = np.maximum(images @ weights["w0"].T + weights["b0"], np.float32(0))
    scores: NDArray[np.float32] = hidden @ weights["w1"].T + weights["b1"]
    return scores


def ascii_image(image: NDArray[np.float32]) -> str:
    """An image of (784,) or (28, 28) elements in [0, 1] as 14 lines of 28 ASCII characters, one for two pixels.

    >>> ascii_image(np.ones(784, np.float32)).splitlines()[0]
    '@@@@@@@@@@@@@@@@@@@@@@@@@@@@'
    """
    pairs = _rows(image).reshape(SIDE // 2, 2, SIDE).mean(axis=1)
    levels = np.rint(pairs * (len(GREYS) - 1)).astype(np.int64)
    return "\n".join("".join(GREYS[level] for level in row) for row in levels)


def _rows(image: NDArray[np.float32]) -> NDArray[np.float32]:
    if image.size != SIDE * SIDE:
        raise DatasetError(f"an image of {SIDE * SIDE} elements is needed, not of {image.size}")
    return np.clip(image.reshape(SIDE, SIDE), 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class ImagePreview:
    """A rich renderable: the image in half blocks, 28 columns by 14 lines, two grey pixels each.

    On a console with fewer than 256 colours it is ``ascii_image``.

    >>> from rich import print
    >>> print(ImagePreview(load_images(shipped=True).images[0]))  # doctest: +SKIP
    """

    image: NDArray[np.float32]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(SIDE, SIDE)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.ascii_only or console.no_color or console.color_system not in ("256", "truecolor"):
            for line in ascii_image(self.image).splitlines():
                yield Segment(line)
                yield Segment.line()
        else:
            yield from _half_blocks(self.image)


def _half_blocks(image: NDArray[np.float32]) -> Iterator[Segment]:
    greys = np.rint(_rows(image) * 255).astype(np.int64).tolist()
    for upper, lower in zip(greys[0::2], greys[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            yield Segment("▀", Style(color=_grey(above), bgcolor=_grey(below)))
        yield Segment.line()


def _grey(level: int) -> Color:
    return Color.from_rgb(level, level, level)
