"""Where each figure stands in a slot's memory block.

The block is an array of 8-byte cells in native byte order. A cell is read and written with one aligned 8-byte access
(`memoryview.cast`; `struct` with `<` would copy byte by byte), so no reader sees half a number:

    header | router lane | bus lane | shared lane | tokens | deadlines | tokens of attempts that have begun and are not
    committed | directory of labelled figures

A lane belongs to one thread of the worker, which increments its cells in place (`block.router[DURABLE] += 1`); the
shared lane is for all others, under the block's lock. Each executor has one cell for the token that it runs and one for
the time limit of that.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from typing import Final

from tasker_actors.telemetry.metrics import TABLE

CELL_BYTES: Final = 8
DEFAULT_SIZE_BYTES: Final = 4 * 1024 * 1024

MAGIC: Final = int.from_bytes(b"tskstat1", sys.byteorder)
TABLE_VERSION: Final = zlib.crc32(repr([(row.instrument, row.kind.value, row.labels) for row in TABLE]).encode())
"""Changes with the table of metrics: writer and reader of a block must be of the same release."""

# Header cells
MAGIC_CELL: Final = 0
TABLE_VERSION_CELL: Final = 1
SLOT_CELL: Final = 2
INCARNATION_CELL: Final = 3
EXECUTORS_CELL: Final = 4
HEARTBEAT_CELL: Final = 5
PROGRESS_CELL: Final = 6
PLACES_CELL: Final = 7

ROUTER_LANE: Final = 16
BUS_LANE: Final = 32
SHARED_LANE: Final = 48
TOKENS: Final = 64
LANE_CELLS: Final = 16

# Cells of the router lane: one for each row of the table in SPEC 3
DURABLE: Final = 0
FAST: Final = 1
FAST_REFUSED: Final = 2
BROADCAST: Final = 3
BROADCAST_REFUSED: Final = 4
UNPUBLISHED: Final = 5
ROUTER_CELLS: Final = 6

# Cells of the bus lane and of the shared lane: the fields of InProcessEventBusStats in SPEC's order
EVENTS_DISPATCHED: Final = 0
HANDLER_DISPATCHES: Final = 1
FFI_DISPATCHES: Final = 2
HANDLER_ERRORS: Final = 3
SUBSCRIBER_DROPS: Final = 4
FFI_DROPS: Final = 5
SUBSCRIBER_PATTERNS: Final = 6
HANDLER_COUNT: Final = 7
FFI_SUBSCRIBERS: Final = 8
BUS_CELLS: Final = 9

# A directory entry: commit cell (entry's cells << 32 | crc32 of head and key), head cell (value cells << 32 | key
# bytes), key (JSON array: instrument, label values) padded to cells, value cells. The commit cell is written last.
ENTRY_HEAD_CELLS: Final = 2
HALF: Final = 32
HALF_MASK: Final = (1 << HALF) - 1

RESERVE_CELLS: Final = 8192
"""Cells at the end that only overflow series may take: enough for one of each (a test adds them up)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Places in a block of `size_bytes` for `executors` running tokens and `places` of attempts that have begun.

    ValueError if that leaves no directory.
    """

    executors: int
    places: int = 0
    size_bytes: int = DEFAULT_SIZE_BYTES

    def __post_init__(self) -> None:
        if self.executors < 1:
            message = f"a stats block needs at least one executor, not {self.executors}"
            raise ValueError(message)
        if self.size_bytes % CELL_BYTES or self.directory + RESERVE_CELLS >= self.cells:
            least = (self.directory + RESERVE_CELLS + 1) * CELL_BYTES
            message = f"a stats block of {self.size_bytes} bytes must be a multiple of 8 and at least {least}"
            raise ValueError(message)

    @property
    def cells(self) -> int:
        """Cells of the whole block."""
        return self.size_bytes // CELL_BYTES

    @property
    def deadlines(self) -> int:
        """First cell of the executors' time limits."""
        return TOKENS + self.executors

    @property
    def begun(self) -> int:
        """First cell of the tokens of attempts that have begun."""
        return self.deadlines + self.executors

    @property
    def directory(self) -> int:
        """First cell of the directory."""
        return self.begun + self.places


def entry_checksum(head: int, key: bytes) -> int:
    """What the commit cell says about the cells behind it, against a reader on a machine that reorders stores."""
    return zlib.crc32(key, zlib.crc32(head.to_bytes(CELL_BYTES, "little")))


def key_cells(key_bytes: int) -> int:
    """Cells that hold a key of so many bytes, the last one padded."""
    return -(-key_bytes // CELL_BYTES)
