"""Axes of a schedule: the loops that splitting and fusing makes, and the threads that loops are bound to."""

from __future__ import annotations

from typing import Any, NoReturn

from mlcref.errors import ScheduleError, UnsupportedError
from mlcref.ir.stmt import THREAD_TAGS
from mlcref.te.axis import Axis


class LoopAxis:
    """A loop of a stage that no operation named: a part of a split axis, or fused ones. ``kind`` is "spatial" or
    "reduce", as that of the axes it comes from."""

    __slots__ = ("kind", "name")

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def __repr__(self) -> str:
        return f"LoopAxis({self.name}, {self.kind})"


class ThreadAxis:
    """Threads that loops are bound to: ``thread_tag`` is "threadIdx.x" and so on. Loops of several stages that are
    bound to one axis run in the same threads.
    """

    __slots__ = ("extent", "thread_tag")

    def __init__(self, thread_tag: str, extent: int | None) -> None:
        self.thread_tag, self.extent = thread_tag, extent

    def __repr__(self) -> str:
        return f"ThreadAxis({self.thread_tag})"


StageAxis = Axis | LoopAxis
"""What the loops of a stage are known by."""


def thread_axis(dom: Any = None, tag: str = "", name: str = "") -> ThreadAxis:
    """A thread axis: ``te.thread_axis("threadIdx.x")``, or ``te.thread_axis((0, 64), "threadIdx.x")`` to state the
    number of threads, which binding checks. ``name`` is for readers. As ``tvm.te.thread_axis``.

    Raises ``ScheduleError`` for a tag that is none, and for threads that do not count from 0.

    >>> thread_axis("blockIdx.y").thread_tag
    'blockIdx.y'
    """
    if isinstance(dom, str):
        dom, tag = None, dom
    if tag not in THREAD_TAGS:
        raise ScheduleError(f"there is no thread axis {tag!r}", rule="te.S1", hint=f"one of {', '.join(THREAD_TAGS)}")
    if dom is None:
        return ThreadAxis(tag, None)
    if not isinstance(dom, tuple | list) or len(dom) != 2 or int(dom[0]) != 0:
        raise ScheduleError(f"the domain of thread axis {tag} must be a pair (0, n), not {dom!r}", rule="te.S1")
    return ThreadAxis(tag, int(dom[1]))


def decl_tensor_intrin(*_: Any, **__: Any) -> NoReturn:
    """Unsupported: an intrinsic described by a tensor expression. Raises ``UnsupportedError`` (te.S11).

    >>> decl_tensor_intrin()
    Traceback (most recent call last):
    mlcref.errors.UnsupportedError: decl_tensor_intrin: intrinsics are described in TensorIR  [te.S11]
    hint: tir.TensorIntrin.register(name, desc, impl), then s[C].tensorize(loop, name)
    """
    hint = "tir.TensorIntrin.register(name, desc, impl), then s[C].tensorize(loop, name)"
    raise UnsupportedError("decl_tensor_intrin: intrinsics are described in TensorIR", rule="te.S11", hint=hint)
