"""Reads a slot's memory block from another process, at any moment, also after its writer was killed."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Final

import orjson

from tasker_actors.stats.block import map_block
from tasker_actors.stats.counters import InProcessEventBusStats, RouterTally, Snapshot
from tasker_actors.stats.figures import BUCKETS, Figures, HistogramValue, Labels
from tasker_actors.stats.layout import (
    BUS_CELLS,
    BUS_LANE,
    ENTRY_HEAD_CELLS,
    HALF,
    HALF_MASK,
    HEARTBEAT_CELL,
    INCARNATION_CELL,
    PROGRESS_CELL,
    ROUTER_CELLS,
    ROUTER_LANE,
    SHARED_LANE,
    SLOT_CELL,
    TOKENS,
    entry_checksum,
    key_cells,
)
from tasker_actors.telemetry.metrics import BY_INSTRUMENT, Metric, MetricKind


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When the worker last said that it lives (`time.monotonic_ns`, 0 before the first time) and its progress then."""

    monotonic_ns: int
    progress: int


class BlockReader:
    """The supervisor's side of a block.

    `snapshot`, `locate` and `remove` belong to one thread; the other methods may be called from any until the block is
    removed, and raise ValueError then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mapping, self._layout = map_block(path, mmap.ACCESS_READ)
        view = memoryview(self._mapping)
        self._bytes = view
        self._cells = view.cast("Q")
        self._doubles = view.cast("d")
        self._next = self._layout.directory
        self._entries: list[tuple[Metric, Labels, int]] = []
        self._starts: list[int] = []
        self.slot: Final = self._cells[SLOT_CELL]
        self.incarnation: Final = self._cells[INCARNATION_CELL]

    def snapshot(self) -> Snapshot:
        """Every figure now. Each is whole; figures that belong together may be one increment apart."""
        self._read_new_entries()
        cells = self._cells
        bus = zip(cells[BUS_LANE : BUS_LANE + BUS_CELLS], cells[SHARED_LANE : SHARED_LANE + BUS_CELLS], strict=True)
        return Snapshot(
            router=RouterTally(*cells[ROUTER_LANE : ROUTER_LANE + ROUTER_CELLS]),
            bus=InProcessEventBusStats(*(own + shared for own, shared in bus)),
            figures=self._figures(),
        )

    def locate(self, cell: int) -> tuple[Metric, Labels, int] | None:
        """The series that a cell counts for, and which of its buckets; None for a cell of none."""
        self._read_new_entries()
        entry = bisect_right(self._starts, cell) - 1
        if entry < 0:
            return None
        metric, labels, start = self._entries[entry]
        buckets = BUCKETS if metric.kind is MetricKind.HISTOGRAM else 1
        return (metric, labels, cell - start) if cell - start < buckets else None

    def running_tokens(self) -> tuple[int, ...]:
        """What each executor is running, 0 for nothing: after the worker's death, what it died in."""
        return tuple(self._cells[TOKENS : TOKENS + self._layout.executors])

    def running_until_ns(self) -> int:
        """When the last time limit of what runs now ends (`time.monotonic_ns`); 0 if nothing runs."""
        deadlines = self._cells[self._layout.deadlines : self._layout.begun]
        running = zip(self.running_tokens(), deadlines, strict=True)
        return max((deadline for token, deadline in running if token), default=0)

    def begun_tokens(self) -> frozenset[int]:
        """The attempts that have begun and are not known to be committed: one of them may have caused a death."""
        return frozenset(token for token in self._cells[self._layout.begun : self._layout.directory] if token)

    def heartbeat(self) -> Heartbeat:
        """The last sign of life."""
        return Heartbeat(self._cells[HEARTBEAT_CELL], self._cells[PROGRESS_CELL])

    def remove(self) -> None:
        """Unmap the block and delete its file; nothing can be read afterwards. Does nothing the second time."""
        if self._mapping.closed:
            return
        for view in (self._doubles, self._cells, self._bytes):
            view.release()
        self._mapping.close()
        self._path.unlink(missing_ok=True)

    def _read_new_entries(self) -> None:
        """Find entries appended since the last time; stops at one whose writer has not committed it."""
        while self._next < self._layout.cells and (commit := self._cells[self._next]):
            size, checksum = commit >> HALF, commit & HALF_MASK
            key_start = self._next + ENTRY_HEAD_CELLS
            head = self._cells[self._next + 1]
            key_bytes, values = head & HALF_MASK, head >> HALF
            with self._cells[key_start : key_start + key_cells(key_bytes)].cast("B") as place:
                key = bytes(place[:key_bytes])
            if entry_checksum(head, key) != checksum:
                return
            instrument, *labels = orjson.loads(key)
            start = self._next + size - values
            self._entries.append((BY_INSTRUMENT[instrument], tuple(labels), start))
            self._starts.append(start)
            self._next += size

    def _figures(self) -> Figures:
        cells, doubles = self._cells, self._doubles
        figures = Figures()
        for metric, labels, index in self._entries:
            match metric.kind:
                case MetricKind.COUNTER:
                    figures.count(metric, labels, cells[index])
                case MetricKind.GAUGE:
                    if not isnan(value := doubles[index]):
                        figures.set_gauge(metric, labels, value)
                case MetricKind.HISTOGRAM:
                    buckets = tuple(cells[index : index + BUCKETS])
                    figures.add_histogram(metric, labels, HistogramValue.of(buckets, doubles[index + BUCKETS]))
        return figures
