"""Writes a slot's memory block: one file, one worker that counts, one supervisor that reads (DESIGN 4).

A block lives as long as one incarnation, so its figures are cumulative since that incarnation's start. What has been
written stays readable after the writer was killed at any instruction: the kernel holds the pages.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import weakref
from pathlib import Path

import orjson

from tasker_actors.errors import StartupError
from tasker_actors.stats.cells import Cell, CounterCell, GaugeCell, HistogramCell, Memory
from tasker_actors.stats.figures import BUCKETS, Exemplar, Labels, clean_labels, overflow_labels
from tasker_actors.stats.layout import (
    BUS_CELLS,
    BUS_LANE,
    CELL_BYTES,
    DEFAULT_SIZE_BYTES,
    ENTRY_HEAD_CELLS,
    EXECUTORS_CELL,
    HALF,
    HEARTBEAT_CELL,
    INCARNATION_CELL,
    LANE_CELLS,
    MAGIC,
    MAGIC_CELL,
    PLACES_CELL,
    PROGRESS_CELL,
    RESERVE_CELLS,
    ROUTER_LANE,
    SHARED_LANE,
    SLOT_CELL,
    TABLE_VERSION,
    TABLE_VERSION_CELL,
    TOKENS,
    Layout,
    entry_checksum,
    key_cells,
)
from tasker_actors.telemetry.metrics import LABEL_SETS_PER_METRIC, MAX_EXEMPLARS, TABLE, Metric, MetricKind


def create_block(
    directory: Path,
    *,
    slot: int,
    incarnation: int,
    executors: int,
    places: int = 0,
    size_bytes: int = DEFAULT_SIZE_BYTES,
) -> Path:
    """Create the file for one incarnation, all figures 0, readable by this user only; a leftover one is replaced.

    `places` is how many attempts can have begun and not be committed at one time.

    Called by the supervisor before it starts the worker. The space is allocated here, because a full disk would
    otherwise kill the worker (SIGBUS) at some later increment. Best on a memory file system. Raises StartupError.
    """
    layout = Layout(executors, places, size_bytes)
    path = directory / f"slot-{slot}.{incarnation}.stats"
    header = {SLOT_CELL: slot, INCARNATION_CELL: incarnation, EXECUTORS_CELL: layout.executors}
    header |= {PLACES_CELL: layout.places, TABLE_VERSION_CELL: TABLE_VERSION, MAGIC_CELL: MAGIC}
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            _allocate(descriptor, size_bytes)
            for cell, value in header.items():
                os.pwrite(descriptor, value.to_bytes(CELL_BYTES, sys.byteorder), cell * CELL_BYTES)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        message = f"{path}: cannot create the stats block of {size_bytes} bytes: {error}; give a directory with room"
        raise StartupError(message) from error
    return path


def _allocate(descriptor: int, size_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
    else:
        os.write(descriptor, bytes(size_bytes))


def map_block(path: Path, access: int) -> tuple[mmap.mmap, Layout]:
    """Map a block that `create_block` made; StartupError if it is missing or of another release."""
    try:
        descriptor = os.open(path, os.O_NOFOLLOW | (os.O_RDWR if access == mmap.ACCESS_WRITE else os.O_RDONLY))
        try:
            mapping = mmap.mmap(descriptor, 0, access=access)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        message = f"{path}: cannot map the stats block: {error}"
        raise StartupError(message) from error
    header = struct.unpack(f"={TOKENS}Q", mapping[: TOKENS * CELL_BYTES].ljust(TOKENS * CELL_BYTES, b"\0"))
    if header[MAGIC_CELL] != MAGIC or header[TABLE_VERSION_CELL] != TABLE_VERSION:
        mapping.close()
        message = f"{path}: not a stats block of this release; remove it and start again"
        raise StartupError(message)
    return mapping, Layout(header[EXECUTORS_CELL], header[PLACES_CELL], len(mapping))


class BlockWriter:
    """The worker's side of a block. One in a process; nothing needs closing, the process's end is the end.

    `router` and `bus` are lanes of one thread each (EventRouter, InProcessEventBus), `tokens` has one cell for each
    executor, which that executor alone writes: 0 when idle, else the token it runs. `deadlines` likewise: the moment
    (`time.monotonic_ns`) at which the time limit of what it ran last ends. `begun` is the ledger's, for every attempt
    from its beginning until it is committed. All are incremented or set in place,
    `block.router[DURABLE] += 1`, and fetched from the block each time: in the child of a fork they are replaced
    by private memory, so that the child neither inherits nor spoils the figures.
    Labelled figures and those of the shared lane may be counted from any thread.
    """

    def __init__(
        self, path: Path, *, label_sets_per_metric: int = LABEL_SETS_PER_METRIC, max_exemplars: int = MAX_EXEMPLARS
    ) -> None:
        mapping, self._layout = map_block(path, mmap.ACCESS_WRITE)
        self._label_sets = label_sets_per_metric
        self._memory = Memory(memoryview(mapping), max_exemplars)
        self._handles: dict[Metric, dict[Labels, Cell]] = {metric: {} for metric in TABLE}
        self._announced: dict[Metric, int] = dict.fromkeys(TABLE, 0)
        self._next = self._layout.directory
        self._cut_lanes()
        after_fork = weakref.WeakMethod(self._detach)
        os.register_at_fork(after_in_child=lambda: (detach := after_fork()) and detach())

    def _cut_lanes(self) -> None:
        cells = self._memory.cells
        self.router = cells[ROUTER_LANE : ROUTER_LANE + LANE_CELLS]
        self.bus = cells[BUS_LANE : BUS_LANE + LANE_CELLS]
        self.tokens = cells[TOKENS : self._layout.deadlines]
        self.deadlines = cells[self._layout.deadlines : self._layout.begun]
        self.begun = cells[self._layout.begun : self._layout.directory]

    def _detach(self) -> None:
        self._memory.detach()
        self._cut_lanes()

    def beat(self, monotonic_ns: int, progress: int) -> None:
        """Tell the supervisor that the worker lives and how much it has done; from the worker's main thread only."""
        self._memory.cells[PROGRESS_CELL] = progress
        self._memory.cells[HEARTBEAT_CELL] = monotonic_ns

    def shared_bus_counter(self, cell: int) -> CounterCell:
        """Handle on a field of the bus (`layout.HANDLER_ERRORS`, …) for threads other than the bus's own."""
        if not 0 <= cell < BUS_CELLS:
            message = f"the bus has no counter {cell}"
            raise ValueError(message)
        return CounterCell(self._memory, SHARED_LANE + cell)

    def declare(self, metric: Metric, labels: Labels) -> None:
        """Let a label set that is known beforehand exist, at 0; it takes none of the places that are limited."""
        if labels not in self._handles[metric]:
            self._register(metric, labels, is_announced=True)

    def take_exemplars(self) -> dict[int, Exemplar]:
        """Hand over, by cell, the exemplars since the last time; they are lost with the worker."""
        return {
            cell: Exemplar(trace.trace_id, trace.span_id, value, time)
            for cell, (trace, value, time) in self._memory.take_exemplars().items()
        }

    def counter(self, metric: Metric, labels: Labels) -> CounterCell:
        """Handle on a counter; `labels` are the values of `metric.worker_labels`, in that order.

        Keep the handle where the labels are known beforehand; asking again costs one look-up. A label set past the
        limit, or one for which the block has no room, gets the handle of the overflow series. Raises TypeError for
        another kind of metric.
        """
        cell = self._find(metric, labels)
        if isinstance(cell, CounterCell):
            return cell
        raise _wrong_kind(metric, MetricKind.COUNTER)

    def gauge(self, metric: Metric, labels: Labels) -> GaugeCell:
        """Handle on a gauge, as with `counter`; an overflow series shows what was set last."""
        cell = self._find(metric, labels)
        if isinstance(cell, GaugeCell):
            return cell
        raise _wrong_kind(metric, MetricKind.GAUGE)

    def histogram(self, metric: Metric, labels: Labels) -> HistogramCell:
        """Handle on a histogram of durations in ms, as with `counter`."""
        cell = self._find(metric, labels)
        if isinstance(cell, HistogramCell):
            return cell
        raise _wrong_kind(metric, MetricKind.HISTOGRAM)

    def _find(self, metric: Metric, labels: Labels) -> Cell:
        return self._handles[metric].get(labels) or self._register(metric, labels)

    def _register(self, metric: Metric, labels: Labels, *, is_announced: bool = False) -> Cell:
        names = metric.worker_labels
        if len(labels) != len(names):
            message = f"{metric.instrument} takes the labels {', '.join(names)} and got {len(labels)} values"
            raise ValueError(message)
        labels = clean_labels(labels)
        series = self._handles[metric]
        with self._memory.lock:
            cell = series.get(labels)
            if cell is None and (is_announced or len(series) - self._announced[metric] < self._label_sets):
                cell = self._append(metric, labels, self._layout.cells - RESERVE_CELLS)
                self._announced[metric] += is_announced
            if cell is None:
                labels = overflow_labels(names, labels)
                cell = series.get(labels) or self._append(metric, labels, self._layout.cells)
        if cell is None:
            message = f"{metric.instrument}: no room for the overflow series; RESERVE_CELLS is too small"
            raise RuntimeError(message)
        return cell

    def _append(self, metric: Metric, labels: Labels, limit: int) -> Cell | None:
        """Add an entry that ends before `limit`, the commit cell last; None without room. The lock is held."""
        key = orjson.dumps((metric.instrument, *labels))
        values = BUCKETS + 1 if metric.kind is MetricKind.HISTOGRAM else 1
        size = ENTRY_HEAD_CELLS + key_cells(len(key)) + values
        start = self._next
        if start + size > limit:
            return None
        cells = self._memory.cells
        head = values << HALF | len(key)
        cells[start + 1] = head
        key_start = start + ENTRY_HEAD_CELLS
        with cells[key_start : key_start + key_cells(len(key))].cast("B") as place:
            place[: len(key)] = key
        cells[start] = size << HALF | entry_checksum(head, key)
        self._next = start + size
        cell = _HANDLES[metric.kind](self._memory, start + size - values)
        self._handles[metric][labels] = cell
        return cell


_HANDLES: dict[MetricKind, type[CounterCell] | type[GaugeCell] | type[HistogramCell]] = {
    MetricKind.COUNTER: CounterCell,
    MetricKind.GAUGE: GaugeCell,
    MetricKind.HISTOGRAM: HistogramCell,
}


def _wrong_kind(metric: Metric, wanted: MetricKind) -> TypeError:
    return TypeError(f"{metric.instrument} is a {metric.kind}, not a {wanted}")
