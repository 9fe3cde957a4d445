"""Log records of phase 1, kept for the export of phase 2 (SPEC 4.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tasker_actors.telemetry.footprint import footprint

MAX_EARLY_RECORDS: Final = 1000
"""Log records that are kept until phase 2 exports them; the oldest go first."""
MAX_EARLY_RECORD_BYTES: Final = 16 * 1024
"""A larger one is not kept, so that together they hold 16 MiB at most."""


class EarlyRecords:
    """The newest records, and the number of those that had to make room; from any thread, without a lock.

    A lock could be held by another thread when the process forks, and the child would wait for it for ever.
    """

    def __init__(self) -> None:
        self._records: deque[Mapping[str, Any]] = deque(maxlen=MAX_EARLY_RECORDS)
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
        if footprint(record) <= MAX_EARLY_RECORD_BYTES:
            self._records.append(record)
