"""Devices by TVM's names: ``tvm.cuda(0)``, and the older ``tvm.gpu(0)`` and ``tvm.context``."""

from __future__ import annotations

from mlcref.runtime.array import Device, device


def cuda(index: int = 0) -> Device:
    """A CUDA device, to be named: there is none here (``exist`` says so), and arrays on it are refused.

    >>> cuda(0).exist
    False
    """
    return Device("cuda", index)


def gpu(index: int = 0) -> Device:
    """TVM's older name of :func:`cuda`."""
    return cuda(index)


def context(name: str, index: int = 0) -> Device:
    """TVM's older name of ``device``: where a target's arrays live, its options aside.

    Raises ``UnsupportedError`` for a device that arrays cannot live on.

    >>> context("llvm -mcpu=skylake-avx512", 0)
    cpu(0)
    """
    return device(name.partition(" ")[0], index)
