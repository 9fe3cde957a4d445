"""What an error of PostgreSQL means for work in hand, and a connection that comes back by itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any

import psycopg
from psycopg import Connection


class Trouble(Enum):
    """What to do after an error (DESIGN 3 rule 7)."""

    CONNECTION = auto()
    """The connection is gone or the server goes down: what was sent may have happened. Connect again, then look."""
    REPEAT = auto()
    """The transaction was rolled back for a reason that passes by itself: locks, resources, a read-only moment."""
    CONTENT = auto()
    """The server refused what was sent: another try gives the same."""


_PASSING = ("40", "53", "55P03", "25006", "58")
_GOING_DOWN = ("08", "57")


def trouble(error: psycopg.Error) -> Trouble:
    """Classify an error by its SQLSTATE; one without a state never reached the server or lost it."""
    state = error.sqlstate
    if state is None or state.startswith(_GOING_DOWN):
        return Trouble.CONNECTION
    return Trouble.REPEAT if state.startswith(_PASSING) else Trouble.CONTENT


class Session:
    """One connection of one thread, made when it is first needed and again after it was lost.

    `away_since` is the monotonic time since which the database has not answered, None while it does. Waiting for it is
    progress (DESIGN 3 rule 9): any thread may look at `is_waiting`.
    """

    def __init__(self, connect: Callable[[], Connection[Any]], *, backoff_ms: int, backoff_max_ms: int) -> None:
        self._connect = connect
        self._backoff = backoff_ms / 1000
        self._backoff_max = backoff_max_ms / 1000
        self._connection: Connection[Any] | None = None
        self._failures = 0
        self._is_asking = False
        self.away_since: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the session's thread waits for the database: for an answer, or for it to come back."""
        return self._is_asking or self.away_since is not None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Mark the block as one that waits for the database, however long it takes to answer."""
        self._is_asking = True
        try:
            yield
        finally:
            self._is_asking = False

    def connection(self) -> Connection[Any]:
        """Return the open connection; raises psycopg.Error if there is none and none can be made now."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def failed(self, error: psycopg.Error) -> Trouble:
        """Take note of an error: a lost connection is closed, so that the next use makes a new one."""
        kind = trouble(error)
        if kind is not Trouble.CONTENT:
            self._failures += 1
            if self.away_since is None:
                self.away_since = time.monotonic()
        if kind is Trouble.CONNECTION:
            self.close()
        return kind

    def worked(self) -> None:
        """Take note that the server answered."""
        self._failures = 0
        self.away_since = None

    def pause_s(self) -> float:
        """Return how long to wait before the next try: doubling, with jitter, bounded."""
        doubled = self._backoff * float(2 ** min(self._failures, 16))
        return min(doubled, self._backoff_max) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
