"""The memory of parameters as flat arrays, which generated programs work on, and as the machine's cells when asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcref import dtype as dt
from mlcref.interp.arguments import Slot
from mlcref.interp.memory import Storage
from mlcref.ir.buffer import Buffer

Array = np.ndarray[Any, Any]


def held_as(dtype: str) -> np.dtype[Any]:
    """The numpy type in which elements are held: their own where Python can look at single elements, else float64."""
    numpy_type = dt.numpy_dtype(dtype)
    return numpy_type if numpy_type.kind in "biu" or numpy_type in (np.float32, np.float64) else np.dtype(np.float64)


class ArrayStorage(Storage):
    """Storage as a flat array; ``cells`` is made from it when someone looks."""

    __slots__ = ("_cells", "flat", "poisoned")

    def __init__(self, param: Buffer, array: Array, poisoned: bool) -> None:
        with np.errstate(invalid="ignore"):  # the conversion of a signalling NaN
            self.flat = np.array(array, held_as(param.type), order="C").reshape(-1)
        self.poisoned, self.depth = poisoned, 0
        self.touched = bytearray(self.flat.size)
        self.writers, self.readers = {}, {}
        self._cells: list[Any] | None = None

    @property
    def cells(self) -> list[Any]:  # type: ignore[override]
        """The elements as Python numbers; None where a poisoned one was never written."""
        if self._cells is None:
            self._cells = self.flat.tolist()
            if self.poisoned:
                pairs = zip(self._cells, self.touched, strict=True)
                self._cells = [cell if touched else None for cell, touched in pairs]
        return self._cells

    @property
    def complete(self) -> bool:
        """Has every element a value?"""
        return not self.poisoned or 0 not in self.touched

    def write_back(self, slot: Slot) -> None:
        """Copy the written elements into the caller's memory, as :meth:`Slot.write_back` does."""
        if 1 not in self.touched:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.flat.reshape(slot.array.shape).astype(slot.array.dtype)
        if 0 not in self.touched:
            slot.array[...] = values
        else:
            touched = np.frombuffer(self.touched, np.bool_).reshape(slot.array.shape)
            slot.array[touched] = values[touched]
        slot.publish()
