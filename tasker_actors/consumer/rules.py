"""How often a message is read before it is set aside."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

LAST_TRY = "tasker_last_try"
"""Header of a message that was handed to a handler although it had been read too often already."""


class Verdict(Enum):
    """What to do with a message that was just read."""

    HANDLE = auto()
    LAST_TRY = auto()
    """Mark it, then handle it."""
    REJECT = auto()


def verdict(read_count: int, max_reads: int, headers: Mapping[str, Any]) -> Verdict:
    """Decide by how often a message was read.

    Reading counts for every message of a batch, so a message that kills its reader raises the counts of those around
    it. One that was read too often is therefore no proof yet: it is marked and tried, and only the one that was being
    handled when a reader died comes back with the mark.
    """
    if read_count <= max_reads:
        return Verdict.HANDLE
    return Verdict.REJECT if LAST_TRY in headers else Verdict.LAST_TRY


def is_exhausted(read_count: int, max_reads: int) -> bool:
    """Tell whether a message whose handler just failed is set aside now."""
    return read_count >= max_reads
