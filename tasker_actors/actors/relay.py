"""The asks that pass through this process, so that their askers hear at once when the way breaks."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from tasker_actors.actors.errors import LinkClosedError, LinkFullError
from tasker_actors.actors.link import ProcessLink
from tasker_actors.actors.packet import write_refusal

MAX_RELAYED_ASKS = 100_000


@dataclass(frozen=True, slots=True)
class _Ask:
    asker: ProcessLink
    answerer: ProcessLink
    expires: float


class RelayedAsks:
    """Remembers each ask that was passed on until its answer comes back, or its time limit is long over."""

    def __init__(self, max_asks: int = MAX_RELAYED_ASKS) -> None:
        self._max_asks = max_asks
        self._lock = threading.Lock()
        self._asks: dict[tuple[str, int], _Ask] = {}

    def add(self, origin: str, message_id: int, asker: ProcessLink, answerer: ProcessLink, timeout_ms: int) -> bool:
        """Remember an ask; False if too many are under way, and it must be refused."""
        now = time.monotonic()
        with self._lock:
            if len(self._asks) >= self._max_asks:
                self._asks = {key: ask for key, ask in self._asks.items() if ask.expires > now}
            if len(self._asks) >= self._max_asks:
                return False
            self._asks[origin, message_id] = _Ask(asker, answerer, now + timeout_ms / 1000)
            return True

    def settle(self, origin: str, message_id: int) -> ProcessLink | None:
        """Forget an ask whose answer came by, and return its asker's link; None if nobody waits for it any more."""
        with self._lock:
            ask = self._asks.pop((origin, message_id), None)
        return None if ask is None else ask.asker

    def closed(self, link: ProcessLink, reason: str) -> None:
        """Refuse the asks that wait for an answer over this link; forget those of askers that are gone with it."""
        with self._lock:
            concerned = {key: ask for key, ask in self._asks.items() if link in (ask.asker, ask.answerer)}
            for key in concerned:
                del self._asks[key]
        for (origin, message_id), ask in concerned.items():
            if ask.answerer is link:
                refuse(ask.asker, origin, message_id, reason)


def refuse(link: ProcessLink, origin: str, message_id: int, reason: str) -> None:
    """Tell an asker over its link that nobody handles its ask; never blocks, for it runs in a reader thread.

    If the queue to the asker is full it learns nothing and its time limit ends the ask.
    """
    try:
        link.send(write_refusal(origin, message_id, reason), urgent=True, timeout=0)
    except (LinkClosedError, LinkFullError):
        return
