"""The operators as loops over arrays, for numba's ``njit(parallel=True)``: the outermost loop is ``prange``.

numba compiles the text of these functions: they use nothing but ``math``, numbers and each other's arguments.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np

prange: Any = range
"""numba's own takes its place before the first function is compiled."""


def matmul(a, b, c):
    for i in prange(a.shape[0]):
        for j in range(b.shape[1]):
            c[i, j] = 0
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                c[i, j] += a[i, k] * b[k, j]


def integer_matmul(a, b, c):
    for i in prange(a.shape[0]):
        for j in range(b.shape[1]):
            c[i, j] = 0
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                c[i, j] += np.int32(a[i, k]) * np.int32(b[k, j])


def qkt(q, k, s):
    for h in prange(q.shape[0]):
        for i in range(q.shape[1]):
            for j in range(k.shape[1]):
                total = np.float32(0)
                for d in range(q.shape[2]):
                    total += q[h, i, d] * k[h, j, d]
                s[h, i, j] = total


def softmax(x, y):
    for i in prange(x.shape[0]):
        largest = x[i, 0]
        for j in range(x.shape[1]):
            largest = max(largest, x[i, j])
        total = np.float32(0)
        for j in range(x.shape[1]):
            y[i, j] = math.exp(x[i, j] - largest)
            total += y[i, j]
        for j in range(x.shape[1]):
            y[i, j] /= total


def layernorm(x, g, b, y):
    for i in prange(x.shape[0]):
        total = np.float32(0)
        for j in range(x.shape[1]):
            total += x[i, j]
        mean = total / np.float32(x.shape[1])
        squares = np.float32(0)
        for j in range(x.shape[1]):
            y[i, j] = x[i, j] - mean
            squares += y[i, j] * y[i, j]
        deviation = np.sqrt(squares / np.float32(x.shape[1]) + np.float32(1e-5))
        for j in range(x.shape[1]):
            y[i, j] = y[i, j] / deviation * g[j] + b[j]


def gelu(x, y):
    for i in prange(x.shape[0]):
        for j in range(x.shape[1]):
            half = x[i, j] * np.float32(0.5)
            y[i, j] = half * (np.float32(math.erf(x[i, j] * np.float32(0.70710678))) + np.float32(1))


def exp(x, y):
    for i in prange(x.shape[0]):
        for j in range(x.shape[1]):
            y[i, j] = math.exp(x[i, j])


def transpose(x, y):
    for j in prange(x.shape[1]):
        for i in range(x.shape[0]):
            y[j, i] = x[i, j]


def sum_rows(x, y):
    for i in prange(x.shape[0]):
        total = np.float32(0)
        for j in range(x.shape[1]):
            total += x[i, j]
        y[i] = total


def max_rows(x, y):
    for i in prange(x.shape[0]):
        largest = x[i, 0]
        for j in range(x.shape[1]):
            largest = max(largest, x[i, j])
        y[i] = largest


def sum_columns(x, y):
    for j in range(x.shape[1]):
        y[j] = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[j] += x[i, j]


def max_columns(x, y):
    for j in range(x.shape[1]):
        y[j] = x[0, j]
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[j] = max(y[j], x[i, j])


def stencil(x, y):
    for i in prange(y.shape[0]):
        for j in range(y.shape[1]):
            total = x[i + 1, j + 1] + x[i, j + 1] + x[i + 2, j + 1] + x[i + 1, j] + x[i + 1, j + 2]
            y[i, j] = total * np.float32(0.2)


def gather(table, index, y):
    for i in prange(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = table[index[i], j]


def conv2d_nchw(x, w, y, stride, padding, groups):
    per_group = y.shape[1] // groups
    for f in prange(y.shape[1]):
        first = f // per_group * w.shape[1]
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                y[0, f, i, j] = 0
        for c in range(w.shape[1]):
            for a in range(w.shape[2]):
                for b in range(w.shape[3]):
                    for i in range(y.shape[2]):
                        row = i * stride + a - padding
                        if 0 <= row < x.shape[2]:
                            for j in range(y.shape[3]):
                                column = j * stride + b - padding
                                if 0 <= column < x.shape[3]:
                                    y[0, f, i, j] += x[0, first + c, row, column] * w[f, c, a, b]


def conv2d_nhwc(x, w, y, stride, padding, groups):
    per_group = y.shape[3] // groups
    for i in prange(y.shape[1]):
        for j in range(y.shape[2]):
            for f in range(y.shape[3]):
                y[0, i, j, f] = 0
            for a in range(w.shape[0]):
                row = i * stride + a - padding
                for b in range(w.shape[1]):
                    column = j * stride + b - padding
                    if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                        for c in range(w.shape[2]):
                            for f in range(y.shape[3]):
                                first = f // per_group * w.shape[2]
                                y[0, i, j, f] += x[0, row, column, first + c] * w[a, b, c, f]


def depthwise_nchw(x, w, y, stride, padding):
    for c in prange(y.shape[1]):
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                total = np.float32(0)
                for a in range(w.shape[1]):
                    for b in range(w.shape[2]):
                        row, column = i * stride + a - padding, j * stride + b - padding
                        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                            total += x[0, c, row, column] * w[c, a, b]
                y[0, c, i, j] = total


def depthwise_nhwc(x, w, y, stride, padding):
    for i in prange(y.shape[1]):
        for j in range(y.shape[2]):
            for c in range(y.shape[3]):
                y[0, i, j, c] = 0
            for a in range(w.shape[0]):
                for b in range(w.shape[1]):
                    row, column = i * stride + a - padding, j * stride + b - padding
                    if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                        for c in range(y.shape[3]):
                            y[0, i, j, c] += x[0, row, column, c] * w[a, b, c]
