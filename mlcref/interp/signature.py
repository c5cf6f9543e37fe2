"""What blocks declare against what they do: regions, spatial iterators, reduction epochs, coverage (rules of severity
signature)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mlcref.errors import OracleError
from mlcref.interp.arguments import Binding
from mlcref.interp.blocks import Epoch, Frame, Key
from mlcref.interp.evaluate import Evaluator
from mlcref.interp.machine import Machine
from mlcref.interp.memory import Storage, View, element
from mlcref.ir.base import Node
from mlcref.ir.buffer import Buffer
from mlcref.ir.function import PrimFunc
from mlcref.ir.stmt import Block, BufferRegion, Token
from mlcref.ir.visit import walk

Cell = tuple[Storage, int]
Point = tuple[int, ...]
Box = tuple[tuple[int, int], ...]


class _Instance:
    """What is known about one block instance while it runs."""

    __slots__ = ("histories", "points", "read_first", "reads", "users", "writes", "wrote")

    def __init__(self, reads: dict[Buffer, list[Box]], writes: dict[Buffer, list[Box]]) -> None:
        self.reads, self.writes = reads, writes
        self.read_first: set[Cell] = set()
        self.wrote: set[Cell] = set()
        # About the blocks inside: by cell, who writes and reads it; by point, how often it ran; by key, its epochs.
        self.users: dict[tuple[Token, Cell], list[Point | None]] = {}
        self.points: dict[tuple[Token, Point], tuple[int, bool]] = {}
        self.histories: dict[Key, list[Epoch]] = {}


class SignatureCheck:
    """A watcher that collects findings; with ``stop`` it raises the first."""

    def __init__(self, stop: bool = False) -> None:
        self.found: list[OracleError] = []
        self.stop = stop
        self._reported: set[tuple[str, object]] = set()
        self._instances: dict[Frame, _Instance] = {}
        self._owners: dict[Cell, Epoch] = {}
        self._exempt: dict[Block, set[Buffer]] = {}

    def report(self, machine: Machine | Evaluator, rule: str, about: object, what: str, marks: Any, hint: str) -> None:
        """Note a finding, once per rule and place."""
        if (rule, about) in self._reported:
            return
        self._reported.add((rule, about))
        self.found.append(machine.failure(rule, what, marks, hint=hint))
        if self.stop:
            raise self.found[-1]

    def instance(self, frame: Frame) -> _Instance:
        """The notes about an instance; the one that stands for the call has no regions."""
        return self._instances.setdefault(frame, _Instance({}, {}))

    # --- block instances ---

    def enter(self, machine: Machine, frame: Frame) -> None:
        """Note the regions of a block instance, and the epoch it belongs to."""
        assert frame.block is not None and frame.parent is not None
        self._instances[frame] = _Instance(_boxes(machine, frame.block.reads), _boxes(machine, frame.block.writes))
        epoch = frame.epoch
        if epoch is None:
            return
        if frame.starts:
            self.instance(frame.parent).histories.setdefault(epoch.key, []).append(epoch)
        elif epoch.read_by is not None:
            who, name = epoch.read_by
            self.report(
                machine,
                "block.epoch",
                frame.block.token,
                f"{who} reads {name} before block {frame.block.name} has finished it",
                [(frame.block, f"goes on with {name} here")],
                "move the reader behind the reduction",
            )

    def leave(self, machine: Machine, frame: Frame) -> None:
        """Check what is known only at the end of an instance."""
        assert frame.block is not None and frame.parent is not None
        notes = self._instances.pop(frame)
        self.check_epochs(machine, notes)
        if frame.block.iter_vars and all(it.iter_type == "spatial" for it in frame.block.iter_vars):
            self.check_repetition(machine, frame, notes)
        outer = self.instance(frame.parent)
        outer.read_first |= notes.read_first - outer.wrote
        outer.wrote |= notes.wrote

    def check_repetition(self, machine: Machine, frame: Frame, notes: _Instance) -> None:
        """Rule block.spatial: a point that runs twice must not read what it writes."""
        assert frame.block is not None and frame.parent is not None
        points = self.instance(frame.parent).points
        key = (frame.block.token, frame.point)
        count, updates = points.get(key, (0, False))
        updates = updates or bool(notes.read_first & notes.wrote)
        points[key] = (count + 1, updates)
        if count and updates:
            self.report(
                machine,
                "block.spatial",
                frame.block.token,
                f"block {frame.block.name} runs the point {list(frame.point)} again and reads what it wrote there",
                [(frame.block, "its iterators are spatial")],
                "make the iterator a reduce iterator with an init",
            )

    def check_epochs(self, machine: Machine | Evaluator, notes: _Instance) -> None:
        """Rule block.epoch: every epoch has all the reduce points that any epoch of its key has."""
        for key, epochs in notes.histories.items():
            most = bytes(map(max, *[epoch.seen for epoch in epochs])) if len(epochs) > 1 else bytes(epochs[0].seen)
            for epoch in epochs:
                if bytes(epoch.seen) != most:
                    done = f"{sum(epoch.seen)} of {sum(most)} updates"
                    what = f"block {key[0].hint} at {list(key[1])} ends or starts again after {done}"
                    self.report(machine, "block.epoch", key[0], what, (), "finish the reduction before the next init")

    # --- accesses ---

    def read(self, machine: Evaluator, view: View, position: int, indices: Point, node: Node) -> None:
        """Check one load."""
        cell = (view.storage, position)
        self.check_regions(machine, view, indices, node, "read")
        tokens = set()
        for frame in _frames(machine):
            tokens.add(frame.block.token if frame.block else None)
            self.check_spatial(machine, frame, cell, view, indices, write=False)
        innermost = self.instance(machine.frame)  # type: ignore[attr-defined]
        if cell not in innermost.wrote:
            innermost.read_first.add(cell)
        epoch = self._owners.get(cell)
        if epoch is not None and epoch.read_by is None and epoch.key[0] not in tokens:
            reader = machine.frame.block  # type: ignore[attr-defined]
            epoch.read_by = (f"block {reader.name}" if reader else "a statement", element(view.buffer, indices))

    def write(self, machine: Evaluator, view: View, position: int, indices: Point, node: Node, value: Any) -> None:
        """Check one store."""
        cell = (view.storage, position)
        self.check_regions(machine, view, indices, node, "write")
        epoch = None
        for frame in _frames(machine):
            epoch = epoch or frame.epoch
            self.check_spatial(machine, frame, cell, view, indices, write=True)
        self.instance(machine.frame).wrote.add(cell)  # type: ignore[attr-defined]
        if epoch is None:
            self._owners.pop(cell, None)
        else:
            self._owners[cell] = epoch

    def check_regions(self, machine: Evaluator, view: View, indices: Point, node: Node, kind: str) -> None:
        """Rule block.regions, for every block around the access."""
        for frame in _frames(machine):
            block = frame.block
            if block is None or (frame.parent is not None and frame.parent.block is None and not block.iter_vars):
                continue
            if view.source is not None and any(match.buffer is view.buffer for match in block.match_buffers):
                view, start = view.source
                dropped = (0,) * (len(start) - len(indices))
                indices = tuple(low + index for low, index in zip(start, dropped + indices, strict=True))
            notes = self.instance(frame)
            boxes = notes.writes.get(view.buffer, []) + (notes.reads.get(view.buffer, []) if kind == "read" else [])
            if not any(_inside(indices, box) for box in boxes) and view.buffer not in self.exempt(block):
                name = element(view.buffer, indices)
                self.report(
                    machine,
                    "block.regions",
                    (block.token, view.buffer, kind),
                    f"block {block.name} {kind}s {name}, which its T.{kind}s does not cover",
                    [(block, f"T.{kind}s does not cover {name}"), (node, f"{kind} here")],
                    f"declare the region in T.{kind}s, or leave T.reads and T.writes out",
                )

    def exempt(self, block: Block) -> set[Buffer]:
        """The buffers that are allocated inside of ``block``."""
        found = self._exempt.get(block)
        if found is None:
            inner = [node for node in walk(block) if type(node) is Block]
            found = self._exempt[block] = {buffer for b in inner for buffer in b.alloc_buffers}
        return found

    def check_spatial(
        self, machine: Evaluator, frame: Frame, cell: Cell, view: View, indices: Point, *, write: bool
    ) -> None:
        """Rule block.spatial: instances with different spatial values do not conflict."""
        block = frame.block
        if block is None or frame.parent is None or not block.iter_vars:
            return
        pairs = zip(block.iter_vars, frame.point, strict=True)
        spatial = tuple(value for it, value in pairs if it.iter_type == "spatial")
        users = self.instance(frame.parent).users.setdefault((block.token, cell), [None, None, None])
        writer, *readers = users  # of two readers that differ, any writer conflicts with one
        other = next((p for p in ((writer, *readers) if write else (writer,)) if p is not None and p != spatial), None)
        if other is not None:
            name = element(view.buffer, indices)
            self.report(
                machine,
                "block.spatial",
                block.token,
                f"block {block.name}: the spatial points {list(other)} and {list(spatial)} conflict on {name}",
                [(block, f"both use {name}, and one writes it")],
                "an iterator over which instances share an element is a reduce iterator",
            )
        if write:
            users[0] = spatial
        elif spatial not in readers:
            users[1 if readers[0] is None else 2] = spatial

    # --- the end ---

    def uncovered(self, func: PrimFunc, binding: Binding) -> None:
        """Rule block.coverage: outputs of which some elements were not written. Call when the run is over.

        A parameter whose old content is read is updated in place: what is not written is kept on purpose.
        """
        machine = Evaluator(func, {}, {})
        updated: set[Storage] = set()
        for notes in self._instances.values():
            self.check_epochs(machine, notes)
            updated |= {storage for storage, _ in notes.read_first}
        for slot in binding.slots:
            touched = slot.touched()
            missing = int(touched.size - touched.sum())
            if not missing or missing == touched.size or slot.view.storage in updated:
                continue
            name, first = slot.param.name, element(slot.param, [int(i) for i in np.argwhere(~touched)[0]])
            self.report(
                machine,
                "block.coverage",
                slot.param,
                f"{missing} of {math.prod(touched.shape)} elements of {name} are never written, first {first}",
                [(slot.param, f"{first} is never written")],
                "compare the loop extents with the shape",
            )


def _frames(machine: Any) -> Iterator[Frame]:
    """The block instances around the running statement, inner to outer, and the call."""
    frame = machine.frame
    while frame is not None:
        yield frame
        frame = frame.parent


def _boxes(machine: Machine, regions: Sequence[BufferRegion]) -> dict[Buffer, list[Box]]:
    boxes: dict[Buffer, list[Box]] = {}
    for region in regions:
        box = tuple((machine.integer(r.min), machine.integer(r.extent)) for r in region.region)
        boxes.setdefault(region.buffer, []).append(box)
    return boxes


def _inside(indices: Point, box: Box) -> bool:
    return all(low <= index < low + extent for index, (low, extent) in zip(indices, box, strict=True))
