"""Log records of phase 1, kept for the export of phase 2 (SPEC 4.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from tasker_actors.telemetry.config import EarlyRecordLimits
from tasker_actors.telemetry.footprint import footprint


class EarlyRecords:
    """The newest records, and the number of those that had to make room; from any thread, without a lock.

    A lock could be held by another thread when the process forks, and the child would wait for it for ever.
    """

    def __init__(self, limits: EarlyRecordLimits) -> None:
        self._records: deque[Mapping[str, Any]] = deque(maxlen=limits.max_records)
        self._max_record_bytes = limits.max_record_bytes
        self._offered = 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(tuple(self._records))

    @property
    def dropped(self) -> int:
        """Records that are not kept any more."""
        return self._offered - len(self._records)

    def keep(self, record: Mapping[str, Any]) -> None:
        """Keep a record, unless it is too large, in place of the oldest one, if there are too many."""
        self._offered += 1
        if footprint(record) <= self._max_record_bytes:
            self._records.append(record)
