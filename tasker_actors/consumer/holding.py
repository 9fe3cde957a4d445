"""What a consumer has read and not settled, and the thread that keeps it out of others' sight."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Protocol, Self

from tasker_actors.errors import DatabaseUnavailableError, TaskerError

logger = logging.getLogger("tasker_actors.consumer")

_EXTENSIONS_PER_TIMEOUT = 3
"""So that two in a row may fail before a message is delivered again."""


class Held:
    """Numbers of messages with the read count that proves whose they are. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_counts: dict[int, int] = {}

    def take(self, messages: Iterable[tuple[int, int]]) -> None:
        """Add messages that were just read."""
        with self._lock:
            self._read_counts.update(messages)

    def drop(self, msg_ids: Iterable[int]) -> list[int]:
        """Forget messages and return those that were held."""
        with self._lock:
            return [msg_id for msg_id in msg_ids if self._read_counts.pop(msg_id, None) is not None]

    def all(self) -> Mapping[int, int]:
        """Copy what is held: msg_id → read count."""
        with self._lock:
            return dict(self._read_counts)

    def __contains__(self, msg_id: int) -> bool:
        with self._lock:
            return msg_id in self._read_counts


class ExtendsVisibility(Protocol):
    """The queue, as far as the keeper needs it."""

    def extend(self, held: Mapping[int, int], seconds: int) -> Collection[int]:
        """Hide messages for `seconds` from now; returns those that are still the holder's."""


class VisibilityKeeper:
    """Extends the visibility timeout of everything that is held, in a thread of its own, until its block is left.

    A handler may take as long as it likes, and the last of a batch may wait for the first. A process that is stopped,
    or a handler that lets no other thread run, for longer than the timeout loses its messages to others.
    """

    def __init__(self, queue: ExtendsVisibility, held: Held, *, visibility_timeout_s: int) -> None:
        self._queue = queue
        self._held = held
        self._timeout_s = visibility_timeout_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-consumer-visibility", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self._timeout_s / _EXTENSIONS_PER_TIMEOUT):
            self.extend()

    def extend(self) -> None:
        """Extend once; what another consumer has read meanwhile is not held any more."""
        held = self._held.all()
        if not held:
            return
        try:
            kept = self._queue.extend(held, self._timeout_s)
        except DatabaseUnavailableError:
            return  # the queue has logged it; the next round comes before the timeout ends
        except TaskerError:
            logger.exception("The visibility of events could not be extended; they may be delivered twice")
            return
        lost = self._held.drop(held.keys() - set(kept))
        if lost:
            logger.warning("Events were read by another consumer meanwhile", extra={"msg_ids": lost})
