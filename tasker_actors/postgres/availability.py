"""Whether the database does what this process asks of it, told in two lines an outage."""

from __future__ import annotations

import threading
import time
from typing import Any


class Availability:
    """Hears from everything in a process that uses the database, and logs when an outage begins and when it ends.

    A failure whose repetition works is none: a connection that was cut is found out when it is next used, which may be
    long after an outage. One lasts from the second failure in a row of any user until each that failed is answered
    again: with several connections some may work while others cannot be made. For any thread.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._failed_once: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._since = 0.0

    @property
    def reason(self) -> str | None:
        """Why what fails just now fails, and what that is; None while everything is answered."""
        with self._lock:
            return "; ".join(f"{doing}: {why}" for doing, why in self._reasons.items()) or None

    def failed(self, doing: str, why: str) -> None:
        """Take note of a failure that passes by itself."""
        with self._lock:
            if doing not in self._failed_once:
                self._failed_once.add(doing)
                return
            begins = not self._reasons
            self._reasons[doing] = why
            if begins:
                self._since = time.monotonic()
        if begins:
            self._logger.warning("Waiting for the database", doing=doing, error=why)

    def worked(self, doing: str) -> None:
        """Take note of an answer; the last one that was missing ends the outage."""
        if doing not in self._failed_once:  # without the lock: called for every commit
            return
        with self._lock:
            self._failed_once.discard(doing)
            ends = self._reasons.pop(doing, None) is not None and not self._reasons
            away_s = time.monotonic() - self._since
        if ends:
            self._logger.info("The database answers again", away_s=round(away_s, 3))
