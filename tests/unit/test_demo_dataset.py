"""The demo's files: the shipped images and weights, the readers' refusals, training, the drawings."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rich.console import Console

from mlcref.demo import dataset, train
from mlcref.demo.dataset import (
    DatasetError,
    ImagePreview,
    Images,
    Weights,
    ascii_image,
    load_images,
    load_split,
    load_weights,
)
from mlcref.errors import MlcrefError

Files = dict[str, bytes]
IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder: Path, pixels: NDArray[np.uint8], labels: NDArray[np.uint8], compressed: bool = False) -> None:
    for name, array in ((IMAGES, pixels), (LABELS, labels)):
        content = idx(array)
        (folder / f"{name}.gz").unlink(missing_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / (f"{name}.gz" if compressed else name)).write_bytes(gzip.compress(content) if compressed else content)


@pytest.fixture(scope="module")
def shipped() -> Images:
    return load_images(shipped=True)


def test_the_shipped_images(shipped: Images) -> None:
    assert shipped.images.shape == (1000, 784) and shipped.images.dtype == np.float32
    assert shipped.labels.shape == (1000,) and shipped.labels.dtype == np.int64
    assert shipped.images.min() == 0 and shipped.images.max() == 1
    assert len(shipped) == 1000 and shipped.source.startswith("1,000 images of ")
    assert [shipped.class_names[label] for label in shipped.labels[:3]] == ["Ankle boot", "Pullover", "Trouser"]
    assert np.bincount(shipped.labels).tolist() == [107, 105, 111, 93, 115, 87, 97, 95, 95, 95]


def test_the_licence_of_the_images_is_shipped() -> None:
    licence = (dataset.SHIPPED_FOLDER / "LICENSE.fashion-mnist").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE" in licence and "Permission is hereby granted" in licence


def test_first_keeps_labels_with_images(shipped: Images) -> None:
    few = shipped.first(20)
    assert len(few) == 20 and few.images.shape == (20, 784) and few.source == shipped.source
    np.testing.assert_array_equal(few.labels, shipped.labels[:20])


def test_the_shipped_images_are_the_first_of_debian_s(shipped: Images) -> None:
    if not dataset.DEBIAN_FOLDER.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    full = load_images()
    assert len(full) == 10_000
    np.testing.assert_array_equal(full.images[:1000], shipped.images)
    np.testing.assert_array_equal(full.labels[:1000], shipped.labels)
    assert train.accuracy(load_weights(), full) == pytest.approx(0.8943, abs=0.0002)


def test_without_debian_s_set_the_shipped_one_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dataset, "DEBIAN_FOLDER", tmp_path)
    assert len(load_images()) == 1000


def test_a_damaged_installed_set_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dataset, "DEBIAN_FOLDER", tmp_path)
    (tmp_path / IMAGES).write_bytes(b"")
    with pytest.raises(DatasetError, match=f"neither {LABELS}.gz nor {LABELS} is there"):
        load_images()


def test_the_shipped_weights_classify(shipped: Images) -> None:
    weights = load_weights()
    assert {name: array.shape for name, array in weights.items()} == dataset.WEIGHT_SHAPES
    assert train.accuracy(weights, shipped) == pytest.approx(0.896, abs=0.0005)


def test_no_order_of_summation_can_change_a_prediction(shipped: Images) -> None:
    weights = load_weights()
    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    reference = np.maximum(shipped.images @ exact["w0"].T + exact["b0"], 0) @ exact["w1"].T + exact["b1"]
    error = np.abs(dataset.logits(weights, shipped.images) - reference).max()
    assert train.smallest_margin(weights, shipped) > 100 * error


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data(), count=st.integers(1, 3), compressed=st.booleans())
def test_a_folder_is_read_as_written(drawn: st.DataObject, count: int, compressed: bool, tmp_path: Path) -> None:
    pixels = drawn.draw(arrays(np.uint8, (count, 28, 28)))
    labels = drawn.draw(arrays(np.uint8, count, elements=st.integers(0, 9)))
    write(tmp_path, pixels, labels, compressed)
    images = load_images(tmp_path)
    np.testing.assert_array_equal(np.rint(images.images * 255), pixels.reshape(count, 784))
    np.testing.assert_array_equal(images.labels, labels)


PIXELS, NUMBERS = np.zeros((2, 28, 28), np.uint8), np.array([1, 9], np.uint8)
DAMAGE: dict[str, tuple[str, bytes | None, str]] = {
    "missing": (LABELS, None, f"neither {LABELS}.gz nor {LABELS} is there"),
    "empty": (IMAGES, b"", r"starts with nothing, expected 00 00 08 03 \(idx file\)"),
    "magic": (IMAGES, b"\x00\x00\x0d\x03" + idx(PIXELS)[4:], "starts with 00 00 0d 03, expected 00 00 08 03"),
    "swapped": (IMAGES, idx(NUMBERS), "starts with 00 00 08 01, expected 00 00 08 03"),
    "header": (IMAGES, idx(PIXELS)[:9], "ends after 9 bytes, inside its header of 16"),
    "short": (IMAGES, idx(PIXELS)[:-1], "1567 bytes after the header, which promises 2 x 28 x 28 = 1568"),
    "long": (LABELS, idx(NUMBERS) + b"\x00", "3 bytes after the header, which promises 2 = 2"),
    "size": (IMAGES, idx(np.zeros((2, 32, 30), np.uint8)), "images of 32 x 30 pixels, expected 28 x 28"),
    "count": (LABELS, idx(np.zeros(3, np.uint8)), "holds 2 images, but .* 3 labels"),
    "label": (LABELS, idx(np.array([1, 10], np.uint8)), "label 10, expected 0 to 9"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_folder_is_refused(case: str, tmp_path: Path) -> None:
    name, content, message = DAMAGE[case]
    write(tmp_path, PIXELS, NUMBERS)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        load_images(tmp_path)


def test_no_images_at_all_are_refused(tmp_path: Path) -> None:
    write(tmp_path, PIXELS[:0], NUMBERS[:0])
    with pytest.raises(DatasetError, match="no image in it"):
        load_images(tmp_path)


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MlcrefError, match=r"(?s)neither .* is there.*hint: .*dataset-fashion-mnist"):
        load_images(tmp_path / "nowhere")


def test_a_path_and_the_shipped_set_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="both given"):
        load_images(tmp_path, shipped=True)


def saved(**changes: NDArray[np.generic] | None) -> bytes:
    content = io.BytesIO()
    kept: dict[str, Any] = {name: array for name, array in {**load_weights(), **changes}.items() if array is not None}
    np.savez(content, **kept)
    return content.getvalue()


WEIGHT_DAMAGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "not zip": (lambda: b"weights", "cannot be read: File is not a zip file"),
    "one absent": (lambda: saved(b0=None), "no array b0 in it, only w0, w1, b1"),
    "shape": (
        lambda: saved(w1=np.zeros((1, 10), np.float32)),
        r"w1 is float32 \(1, 10\), expected float32 \(10, 128\)",
    ),
    "dtype": (lambda: saved(b1=np.zeros(10)), r"b1 is float64 \(10,\), expected float32 \(10,\)"),
    "pickle": (lambda: saved(b1=np.array([{}], dtype=object)), "cannot be read: Object arrays"),
}


@pytest.mark.parametrize("case", WEIGHT_DAMAGE)
def test_damaged_weights_are_refused(case: str, tmp_path: Path) -> None:
    content, message = WEIGHT_DAMAGE[case]
    (tmp_path / "w.npz").write_bytes(content())
    with pytest.raises(DatasetError, match=message):
        load_weights(tmp_path / "w.npz")


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"(?s)no such file.*hint: python -m mlcref\.demo\.train"):
        load_weights(tmp_path / "w.npz")


def read_weights(file: Path) -> NDArray[np.float32]:
    return np.concatenate([array.ravel() for array in load_weights(file).values()])


def read_labels(file: Path) -> NDArray[np.uint8]:
    return dataset.read_idx(file, 1)


READERS: dict[Path, Callable[[Path], NDArray[Any]]] = {
    dataset.WEIGHTS_FILE: read_weights,
    dataset.SHIPPED_FOLDER / f"{dataset.SHIPPED_STEM}-labels-idx1-ubyte.gz": read_labels,
}


@pytest.mark.parametrize("original", READERS, ids=lambda file: file.suffix)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_harmless_or_refused(original: Path, place: float, value: int, cut: bool, tmp_path: Path) -> None:
    """One byte changed, or all from there on lost: DatasetError, or what the whole file holds."""
    content = original.read_bytes()
    at = int(place * len(content))
    damaged = tmp_path / original.name
    damaged.write_bytes(content[:at] + (b"" if cut else bytes([value]) + content[at + 1 :]))
    try:
        found = READERS[original](damaged)
    except DatasetError:
        return
    np.testing.assert_array_equal(found, READERS[original](original))


def test_training_learns_and_repeats(shipped: Images) -> None:
    losses: list[float] = []
    recipe = train.Recipe(epochs=4)
    weights = train.train(shipped, recipe, lambda epoch, loss: losses.append(loss))
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)
    assert train.accuracy(weights, shipped) > 0.7
    again = train.train(shipped, recipe)
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_the_gradient_is_the_slope_of_the_loss(shipped: Images) -> None:
    """In float64, along a random direction of each weight; the step is too small to cross a kink of relu."""
    rng, step = np.random.default_rng(1), 1e-7
    exact = {name: array.astype(np.float64) for name, array in train.initial_weights(rng).items()}
    images, labels = shipped.images[:32].astype(np.float64), shipped.labels[:32]

    def evaluate(weights: dict[str, NDArray[np.float64]]) -> tuple[float, Weights]:
        return train.loss_and_gradient(cast(Weights, weights), cast(NDArray[np.float32], images), labels)

    _, gradient = evaluate(exact)
    for name, array in exact.items():
        direction = rng.standard_normal(array.shape)
        above, _ = evaluate({**exact, name: array + step * direction})
        below, _ = evaluate({**exact, name: array - step * direction})
        assert (above - below) / (2 * step) == pytest.approx(float((gradient[name] * direction).sum()), rel=1e-5)


def test_the_script_writes_weights_that_load(
    tmp_path: Path, shipped: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    few = np.rint(shipped.images[:300] * 255).astype(np.uint8).reshape(300, 28, 28)
    write(tmp_path, few, shipped.labels[:300].astype(np.uint8))
    for name in (IMAGES, LABELS):
        (tmp_path / name.replace("t10k", "train")).write_bytes((tmp_path / name).read_bytes())
    out = tmp_path / "w.npz"
    assert train.main(["--data", str(tmp_path), "--out", str(out), "--epochs", "3"]) == 0
    expected = train.train(load_split(tmp_path, "train"), train.Recipe(epochs=3))
    written = load_weights(out)
    assert all(np.array_equal(expected[name], written[name]) for name in expected)
    assert "1,000" in capsys.readouterr().out


def test_the_script_without_data_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--data", str(tmp_path)]) == 2
    assert "neither train-images-idx3-ubyte.gz" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", ["0", "many"])
def test_the_script_refuses_a_senseless_number_of_epochs(epochs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(["--epochs", epochs])
    assert "--epochs" in capsys.readouterr().err


def test_ascii_image_keeps_places_and_greys() -> None:
    image = np.zeros((28, 28), np.float32)
    image[0:2, 0], image[26, 27] = 1.0, 1.0
    lines = ascii_image(image.reshape(784)).split("\n")
    assert len(lines) == 14 and {len(line) for line in lines} == {28}
    assert lines[0] == "@" + " " * 27 and lines[13] == " " * 27 + "="
    assert "".join(lines[1:13]).strip() == ""


def test_ascii_image_refuses_another_size() -> None:
    with pytest.raises(DatasetError, match="784 elements is needed, not of 100"):
        ascii_image(np.zeros(100, np.float32))


def printed(image: NDArray[np.float32], colours: bool) -> str:
    stream = io.StringIO()
    system: Literal["truecolor"] | None = "truecolor" if colours else None
    Console(file=stream, width=28, force_terminal=colours, color_system=system).print(ImagePreview(image))
    return stream.getvalue()


def test_a_preview_is_half_blocks_in_colour_and_ascii_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    image = np.zeros((28, 28), np.float32)
    image[0, 0], image[3, 5] = 1.0, 0.2
    assert printed(image, colours=False) == ascii_image(image) + "\n"
    drawn = printed(image, colours=True).splitlines()
    assert len(drawn) == 14 and all(line.count("▀") == 28 for line in drawn)
    assert drawn[0].startswith("\x1b[38;2;255;255;255;48;2;0;0;0m▀")
    assert "38;2;0;0;0;48;2;51;51;51m▀" in drawn[1]
