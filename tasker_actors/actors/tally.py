"""How many messages reached nobody; counted under a lock, since any thread may find out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """Totals since the process started; they never fall.

    `undeliverable`: tells that reached nobody, those lost in the queue of a link that broke included.
    `late`: answers that came after their asker had stopped waiting. `relayed`: messages passed on between two others.
    """

    undeliverable: int = 0
    late: int = 0
    relayed: int = 0


class DeliveryTally:
    """Counts, and reports each undeliverable message; safe from any thread."""

    def __init__(self, report: Callable[[str, str, str], None], dropped: Callable[[int, str], None]) -> None:
        self._report = report
        self._dropped = dropped
        self._lock = threading.Lock()
        self._undeliverable = 0
        self._late = 0
        self._relayed = 0

    def undeliverable(self, address: str, message_type: str, reason: str) -> None:
        """Count a message that reached nobody, and report it."""
        self.lost(1)
        try:
            self._report(address, message_type, reason)
        except Exception:  # the sender did nothing wrong
            logger.exception("Report of an undeliverable message failed", extra={"address": address})

    def lost(self, messages: int) -> None:
        """Count messages that were lost together, whose names are not known any more."""
        with self._lock:
            self._undeliverable += messages

    def dropped(self, messages: int, reason: str) -> None:
        """Tell of messages that a link refused, or lost when it broke: how many, and `too_many`, `too_large`, `closed`.

        They may be among the undeliverable ones; a sender that heard of it by an error is not counted there.
        """
        try:
            self._dropped(messages, reason)
        except Exception:  # as above
            logger.exception("Count of dropped messages failed", extra={"reason": reason})

    def late(self) -> None:
        """Count an answer that nobody waited for."""
        with self._lock:
            self._late += 1

    def relayed(self) -> None:
        """Count a message that was passed on."""
        with self._lock:
            self._relayed += 1

    def counts(self) -> DeliveryCounts:
        """Return the totals."""
        with self._lock:
            return DeliveryCounts(self._undeliverable, self._late, self._relayed)
