"""Cases of convolutions, pooling and images of another size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcref.testing.operators.case import FLOATS, INTEGERS, Array, Case, Draw, Operator

TYPES = (*FLOATS[:3], *INTEGERS)
_LAYOUTS = {"NCW": "OIW", "NWC": "WIO", "NCHW": "OIHW", "NHWC": "HWIO", "HWCN": "HWIO", "NCDHW": "OIDHW",
            "NDHWC": "DHWIO"}  # fmt: skip


def reordered(x: Array, old: str, new: str) -> Array:
    """``x`` with dimensions in the order ``new`` in place of ``old``."""
    return x.transpose([old.index(letter) for letter in new])


def correlation(
    x: Array, w: Array, strides: Sequence[int], before: Sequence[int], after: Sequence[int], steps: Sequence[int],
    groups: int = 1,
) -> Array:  # fmt: skip
    """The convolution of data NC… with a kernel OI…."""
    x = np.pad(x, [(0, 0), (0, 0), *zip(before, after, strict=True)])
    window = [(extent - 1) * step + 1 for extent, step in zip(w.shape[2:], steps, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(x, window, tuple(range(2, x.ndim)))
    every = tuple(slice(None, None, stride) for stride in strides) + tuple(slice(None, None, step) for step in steps)
    seen = seen[(slice(None), slice(None), *every)]
    letters = "".join("abc"[n] for n in range(len(window)))
    places = "".join("xyz"[n] for n in range(len(window)))
    parts = []
    for part, kernel in zip(np.split(seen, groups, 1), np.split(w, groups, 0), strict=True):
        parts.append(np.einsum(f"ni{places}{letters},oi{letters}->no{places}", part, kernel))
    return np.concatenate(parts, 1)


def _padding(d: Draw, window: Sequence[int]) -> tuple[Any, list[int], list[int]]:
    """What an operator is given, and the numbers before and after."""
    count = len(window)
    kind = d.pick(("VALID", "SAME", "number", "both", "each"))
    if kind == "VALID":
        return kind, [0] * count, [0] * count
    if kind == "SAME":
        return kind, [extent // 2 for extent in window], [(extent - 1) // 2 for extent in window]
    before, after = ([d.count(0, 2 if count == 1 else 1) for _ in window] for _ in range(2))
    if kind == "number":
        return before[0], [before[0]] * count, [before[0]] * count
    return (before, before, before) if kind == "both" else ((*before, *after), before, after)


def _conv(call: Callable[..., Any], layouts: Sequence[str], *, grouped: bool = False, plain: bool = False) -> Any:
    """Cases of ``call(topi, x, w, strides, padding, dilation, groups, layout)``; with ``plain`` its ``out_dtype`` is
    not given either."""

    def draw(d: Draw) -> Case:
        layout = d.pick(layouts)
        count, groups = len(layout) - 2, d.count(1, 2) if grouped else 1
        inputs, outputs = d.count(1, 1 if count == 3 else 2) * groups, d.count(1, 2) * groups
        kernel = [d.count(1, 2 if count == 3 else 3) for _ in range(count)]
        steps = [d.pick((1, 1, 2)) for _ in kernel]
        window = [(extent - 1) * step + 1 for extent, step in zip(kernel, steps, strict=True)]
        extents = [extent + d.count(0, 3 - count) for extent in window]
        strides = [d.count(1, 2) for _ in kernel]
        padding, before, after = _padding(d, window)
        dtype, names = d.pick(TYPES), "NC" + "DHW"[3 - count :]
        x = reordered(d.array([1, inputs, *extents], dtype), names, layout)
        own = "OI" + names[2:]
        w = reordered(d.array([outputs, inputs // groups, *kernel], dtype), own, _LAYOUTS[layout])

        def reference(x: Array, w: Array) -> Array:
            data, weight = reordered(x, layout, names), reordered(w, _LAYOUTS[layout], own)
            return reordered(correlation(data, weight, strides, before, after, steps, groups), names, layout)

        return Case([x, w], lambda topi, x, w: call(topi.nn, x, w, strides, padding, steps, groups, layout), reference)

    return draw


def _depthwise(layout: str) -> Callable[[Draw], Case]:
    def draw(d: Draw) -> Case:
        channels, multiplier, dtype = d.count(1, 3), d.count(1, 2), d.pick(TYPES)
        kernel, strides = [d.count(1, 3), d.count(1, 3)], [d.count(1, 2), d.count(1, 2)]
        steps = [d.pick((1, 1, 2)) for _ in kernel]
        window = [(extent - 1) * step + 1 for extent, step in zip(kernel, steps, strict=True)]
        padding, before, after = _padding(d, window)
        x = reordered(d.array([1, channels, *(extent + d.count(0, 1) for extent in window)], dtype), "NCHW", layout)
        w, order = d.array([channels, multiplier, *kernel], dtype), d.pick(("HWOI", "HWIO"))

        def reference(x: Array, w: Array) -> Array:
            weight = w.reshape(channels * multiplier, 1, *kernel)
            data = reordered(x, layout, "NCHW")
            return reordered(correlation(data, weight, strides, before, after, steps, channels), "NCHW", layout)

        if layout == "NCHW":
            return Case(
                [x, w], lambda topi, x, w: topi.nn.depthwise_conv2d_nchw(x, w, strides, padding, steps), reference
            )
        turned = reordered(w, "OIHW", order)
        return Case(
            [x, turned], lambda topi, x, w: topi.nn.depthwise_conv2d_nhwc(x, w, strides, padding, steps, order),
            lambda x, w: reference(x, reordered(w, order, "OIHW")),
        )  # fmt: skip

    return draw


def _transposed(name: str, count: int, *, grouped: bool = False) -> Operator:
    def draw(d: Draw) -> Case:
        groups = d.count(1, 2) if grouped else 1
        inputs, outputs, dtype = d.count(1, 1 if count == 3 else 2) * groups, d.count(1, 2), d.pick(TYPES)
        kernel = [d.count(1, 2 if count == 3 else 3) for _ in range(count)]
        strides = [d.count(1, 2) for _ in kernel]
        more = [d.count(0, stride - 1) for stride in strides]
        before, after = ([d.count(0, min(extent - 1, 1)) for extent in kernel] for _ in range(2))
        x = d.array([1, inputs, *(d.count(2, 3 if count == 1 else 2) for _ in kernel)], dtype)
        w = d.array([inputs, outputs, *kernel], dtype)

        def reference(x: Array, w: Array) -> Array:
            extents = [(e - 1) * stride + 1 for e, stride in zip(x.shape[2:], strides, strict=True)]
            spread = np.zeros([1, inputs, *extents], x.dtype)
            spread[(slice(None), slice(None), *(slice(None, None, stride) for stride in strides))] = x
            turned = np.flip(w, tuple(range(2, w.ndim))).reshape(groups, inputs // groups, outputs, *kernel)
            weight = turned.swapaxes(1, 2).reshape(groups * outputs, inputs // groups, *kernel)
            low = [extent - 1 - amount for extent, amount in zip(kernel, before, strict=True)]
            high = [e - 1 - amount + extra for e, amount, extra in zip(kernel, after, more, strict=True)]
            return correlation(spread, weight, [1] * count, low, high, [1] * count, groups)

        rest = (groups,) if grouped else ()
        return Case(
            [x, w],
            lambda topi, x, w: getattr(topi.nn, name)(x, w, strides, [*before, *after], x.dtype, more, *rest),
            reference,
        )

    return Operator(f"nn.{name}", draw)


def _windows(x: Array, kernel: Sequence[int], strides: Sequence[int], steps: Sequence[int]) -> Array:
    """The windows over the dimensions from the third on; their elements in the last dimensions."""
    window = [(extent - 1) * step + 1 for extent, step in zip(kernel, steps, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(x, window, tuple(range(2, x.ndim)))
    every = [slice(None, None, step) for step in (*strides, *steps)]
    return np.asarray(seen[(slice(None), slice(None), *every)])


def _pool(name: str, layouts: Sequence[str]) -> Operator:
    def draw(d: Draw) -> Case:
        layout, kind, ceil, include = d.pick(layouts), d.pick(("max", "avg")), d.flag(), d.flag()
        count, names = len(layout) - 2, "NC" + "DHW"[5 - len(layout) :]
        kernel = [d.count(1, 2 if count == 3 else 3) for _ in range(count)]
        strides = [d.count(1, 3) for _ in kernel]
        steps = [d.pick((1, 1, 2)) for _ in kernel]
        window = [(extent - 1) * step + 1 for extent, step in zip(kernel, steps, strict=True)]
        before, after = ([d.count(0, extent // 2) for extent in kernel] for _ in range(2))
        extents = [extent + d.count(0, 3 - count) for extent in window]
        dtype = d.pick(FLOATS[:3] if kind == "avg" else TYPES)
        x = reordered(d.array([1, d.count(1, 2), *extents], dtype), names, layout)
        whole = tuple(range(-count, 0))
        room = [high + (stride - 1 if ceil else 0) for high, stride in zip(after, strides, strict=True)]
        begins = [(e + low - 1) // stride + 1 for e, low, stride in zip(extents, before, strides, strict=True)]
        kept: Any = (..., *(slice(count) for count in begins), *(slice(None) for _ in kernel))

        def padded(x: Array, amounts: Sequence[int], value: Any) -> Array:
            sides = [(0, 0), (0, 0), *zip(before, amounts, strict=True)]
            seen = _windows(np.pad(x, sides, constant_values=value), kernel, strides, steps)
            return np.asarray(seen[kept]) if ceil else seen

        def reference(x: Array) -> Array:
            data = reordered(x, layout, names)
            if kind == "max":
                low = np.finfo(dtype).min if data.dtype.kind == "f" else np.iinfo(data.dtype).min
                return reordered(padded(data, room, low).max(whole), names, layout)
            inside = np.ones_like(data)
            if include:
                inside = np.pad(inside, [(0, 0), (0, 0), *zip(before, after, strict=True)], constant_values=1)
                extra = [(0, high - low) for high, low in zip(room, after, strict=True)]
                counted = _windows(np.pad(inside, [(0, 0), (0, 0), *extra]), kernel, strides, steps)
                counted = counted[kept] if ceil else counted
            else:
                counted = padded(inside, room, 0)
            mean = padded(data, room, 0).sum(whole) / np.maximum(counted.sum(whole), 1)
            return reordered(mean, names, layout)

        arguments = (kernel, strides, steps, [*before, *after], kind, ceil, layout, include)
        return Case([x], lambda topi, x: getattr(topi.nn, name)(x, *arguments), reference)

    return Operator(f"nn.{name}", draw)


def _adaptive(name: str, layouts: Sequence[str]) -> Operator:
    def draw(d: Draw) -> Case:
        layout, kind = d.pick(layouts), d.pick(("max", "avg"))
        count, names = len(layout) - 2, "NC" + "DHW"[5 - len(layout) :]
        extents = [d.count(1, 3 if count == 3 else 6) for _ in range(count)]
        sizes = [1] * count if name == "global_pool" else [d.count(1, extent + 1) for extent in extents]
        x = reordered(d.array([1, d.count(1, 2), *extents], FLOATS[:3] if kind == "avg" else TYPES), names, layout)

        def reference(x: Array) -> Array:
            data = reordered(x, layout, names)
            found = np.zeros([*data.shape[:2], *sizes], data.dtype)
            for place in np.ndindex(*sizes):
                ends = zip(place, extents, sizes, strict=True)
                part = tuple(slice(p * e // n, -(-(p + 1) * e // n)) for p, e, n in ends)
                seen = data[(slice(None), slice(None), *part)].reshape(*data.shape[:2], -1)
                found[(slice(None), slice(None), *place)] = seen.max(-1) if kind == "max" else seen.mean(-1)
            return reordered(found, names, layout)

        rest = (kind, layout) if name == "global_pool" else (sizes, kind, layout)
        return Case([x], lambda topi, x: getattr(topi.nn, name)(x, *rest), reference)

    return Operator(f"nn.{name}", draw)


def _place(pixel: Array, old: int, new: int, mode: str) -> Array:
    """Twice the position times ``new`` (``new - 1`` where corners are aligned), and that factor: exact."""
    if mode == "align_corners":
        return pixel * (old - 1) / max(new - 1, 1)
    if mode == "asymmetric":
        return pixel * old / new
    if mode == "pytorch_half_pixel" and new == 1:
        return pixel * 0.0
    return (pixel * 2 + 1) * old / (new * 2) - 0.5


_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "floor": lambda p: np.floor(p + 1e-9), "ceil": lambda p: np.ceil(p - 1e-9),
    "round": lambda p: np.floor(p + 0.5 + 1e-9), "round_prefer_floor": lambda p: np.ceil(p - 0.5 - 1e-9),
    "round_prefer_ceil": lambda p: np.floor(p + 0.5 + 1e-9),
}  # fmt: skip
"""Positions are fractions of small numbers: what is within 1e-9 of a whole number or a half is one."""


def resized(x: Array, sizes: Sequence[int], method: str, mode: str, rounding: str) -> Array:
    """``x`` (NC…) with the spatial extents ``sizes``."""
    rounding = rounding or ("round" if mode == "align_corners" else "floor")
    for axis, new in enumerate(sizes, 2):
        old = x.shape[axis]
        position = _place(np.arange(new), old, new, mode)
        if method == "nearest_neighbor":
            x = x.take(np.clip(_ROUNDINGS[rounding](position).astype(int), 0, old - 1), axis)
            continue
        low = np.floor(position + 1e-9)
        share = (position - low).reshape([-1 if n == axis else 1 for n in range(x.ndim)])
        ends = [x.take(np.clip(place.astype(int), 0, old - 1), axis) for place in (low, low + 1)]
        x = ends[0] * (1 - share) + ends[1] * share
    return x


def _resize(name: str, layouts: Sequence[str]) -> Operator:
    def draw(d: Draw) -> Case:
        layout, method = d.pick(layouts), d.pick(("nearest_neighbor", "linear"))
        count, names = len(layout) - 2, "NC" + "DHW"[5 - len(layout) :]
        mode = d.pick(("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"))
        rounding = d.pick(("", *_ROUNDINGS))
        sizes = [d.count(1, 6 - count) for _ in range(count)]
        extents = [d.count(1, 2 if count == 3 else 4) for _ in range(count)]
        x = reordered(d.array([1, d.count(1, 2), *extents], FLOATS[:3] if method == "linear" else TYPES), names, layout)

        def reference(x: Array) -> Array:
            return reordered(resized(reordered(x, layout, names), sizes, method, mode, rounding), names, layout)

        arguments = ([0.0] * (2 * count), tuple(sizes), layout, method, mode, rounding)
        return Case([x], lambda topi, x: getattr(topi.image, name)(x, *arguments), reference)

    return Operator(f"image.{name}", draw)


def _upsampling(d: Draw) -> Case:
    scales, align = (d.count(1, 3), d.count(1, 3)), d.flag()
    method, layout = d.pick(("nearest_neighbor", "bilinear")), d.pick(("NCHW", "NHWC"))
    x = reordered(d.array([1, d.count(1, 2), d.count(1, 3), d.count(1, 3)], FLOATS[:3]), "NCHW", layout)
    mode, kind = "align_corners" if align else "asymmetric", "linear" if method == "bilinear" else method

    def reference(x: Array) -> Array:
        data = reordered(x, layout, "NCHW")
        sizes = [extent * scale for extent, scale in zip(data.shape[2:], scales, strict=True)]
        return reordered(resized(data, sizes, kind, mode, ""), "NCHW", layout)

    return Case([x], lambda topi, x: topi.nn.upsampling(x, *scales, layout, method, align), reference)


_IMAGES = ("NCHW", "NHWC")
OPERATORS = (
    Operator("nn.conv", _conv(lambda nn, x, w, s, p, t, g, layout: nn.conv(x, w, s, p, t, g, layout),
                              tuple(_LAYOUTS), grouped=True)),
    Operator("nn.conv1d", _conv(lambda nn, x, w, s, p, t, g, layout: nn.conv1d(x, w, s, p, t, g, layout),
                                ("NCW", "NWC"), grouped=True)),
    Operator("nn.conv2d", _conv(lambda nn, x, w, s, p, t, g, layout: nn.conv2d(x, w, s, p, t, layout),
                                (*_IMAGES, "HWCN"))),
    *(Operator(f"nn.conv1d_{layout.lower()}", _conv(
        lambda nn, x, w, s, p, t, g, layout: getattr(nn, f"conv1d_{layout.lower()}")(x, w, s, p, t),
        (layout,))) for layout in ("NCW", "NWC")),
    *(Operator(f"nn.group_conv1d_{layout.lower()}", _conv(
        lambda nn, x, w, s, p, t, g, layout: getattr(nn, f"group_conv1d_{layout.lower()}")(x, w, s, p, t, g),
        (layout,), grouped=True)) for layout in ("NCW", "NWC")),
    *(Operator(f"nn.conv2d_{layout.lower()}", _conv(
        lambda nn, x, w, s, p, t, g, layout: getattr(nn, f"conv2d_{layout.lower()}")(x, w, s, p, t, x.dtype),
        (layout,))) for layout in (*_IMAGES, "HWCN")),
    *(Operator(f"nn.group_conv2d_{layout.lower()}", _conv(
        lambda nn, x, w, s, p, t, g, layout: getattr(nn, f"group_conv2d_{layout.lower()}")(x, w, s, p, t, g),
        (layout,), grouped=True)) for layout in _IMAGES),
    *(Operator(f"nn.conv3d_{layout.lower()}", _conv(
        lambda nn, x, w, s, p, t, g, layout: getattr(nn, f"conv3d_{layout.lower()}")(x, w, s, p, t, g, x.dtype),
        (layout,), grouped=True)) for layout in ("NCDHW", "NDHWC")),
    Operator("nn.depthwise_conv2d_nchw", _depthwise("NCHW")),
    Operator("nn.depthwise_conv2d_nhwc", _depthwise("NHWC")),
    _transposed("conv1d_transpose_ncw", 1),
    _transposed("conv2d_transpose_nchw", 2),
    _transposed("conv3d_transpose_ncdhw", 3),
    _transposed("group_conv1d_transpose_ncw", 1, grouped=True),
    _transposed("group_conv2d_transpose_nchw", 2, grouped=True),
    _pool("pool1d", ("NCW", "NWC")),
    _pool("pool2d", _IMAGES),
    _pool("pool3d", ("NCDHW",)),
    _adaptive("global_pool", _IMAGES),
    _adaptive("adaptive_pool", _IMAGES),
    _adaptive("adaptive_pool1d", ("NCW", "NWC")),
    _adaptive("adaptive_pool3d", ("NCDHW", "NDHWC")),
    _resize("resize1d", ("NCW", "NWC")),
    _resize("resize2d", _IMAGES),
    _resize("resize3d", ("NCDHW",)),
    Operator("nn.upsampling", _upsampling),
)  # fmt: skip
