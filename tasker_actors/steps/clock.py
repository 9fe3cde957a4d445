"""The time that an attempt goes by, so that a test can have one of its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final, Protocol


class Clock(Protocol):
    """Two readings of one time."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back."""
        ...

    def now(self) -> datetime:
        """Return the time of day, as an aware UTC time."""
        ...


class SystemClock:
    """The machine's own time."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Return time.monotonic()."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.now(UTC)


SYSTEM_CLOCK: Final = SystemClock()
