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

from tasker_actors.postgres.availability import Availability


class Trouble(Enum):
    """What to do after an error (DESIGN 3 rule 7)."""

    CONNECTION = auto()
    """The connection is gone or the server goes down: what was sent may have happened. Connect again, then look."""
    REPEAT = auto()
    """The transaction was rolled back for a reason that passes by itself: locks, resources."""
    CONTENT = auto()
    """The server refused what was sent: another try gives the same."""


_PASSING = ("40", "53", "55P03", "58")
_GOING_DOWN = ("08", "57")
# A session that may only read stays so after a failover, or where the role's or the database's default has changed
# since it began; the time limits of transactions (25P03, 25P04) end the session.
_SESSION_IS_USELESS = ("25006", "25P03", "25P04")


def trouble(error: psycopg.Error) -> Trouble:
    """Classify an error by its SQLSTATE; one without a state never reached the server or lost it."""
    state = error.sqlstate
    if state is None or state.startswith(_GOING_DOWN + _SESSION_IS_USELESS):
        return Trouble.CONNECTION
    return Trouble.REPEAT if state.startswith(_PASSING) else Trouble.CONTENT


def reason_of(error: BaseException) -> str:
    """Return what went wrong on one line, without the server's address: it is shown to whoever asks for health."""
    text = str(error).strip().split("\n", 1)[0]
    _, found, told = text.rpartition(" failed: ")
    return (told if found else text).strip() or type(error).__name__


class Backoff:
    """Pauses between tries: doubling, with jitter, bounded (`reconnect_backoff_ms`, `reconnect_backoff_max_ms`)."""

    def __init__(self, backoff_ms: int, backoff_max_ms: int) -> None:
        self._first = backoff_ms / 1000
        self._longest = backoff_max_ms / 1000
        self._failures = 0

    def failed(self) -> None:
        """Make the next pause longer."""
        self._failures += 1

    def worked(self) -> None:
        """Begin anew."""
        self._failures = 0

    def pause_s(self) -> float:
        """Return how long to wait before the next try."""
        doubled = self._first * float(2 ** min(self._failures, 16))
        return min(doubled, self._longest) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret


class Session:
    """One connection of one thread, made when it is first needed and again after it was lost.

    `away_since` is the monotonic time since which the database has not answered, None while it does. Waiting for it is
    progress (DESIGN 3 rule 9): any thread may look at `is_waiting`. `availability` hears of an outage too, under the
    name of what the session does.
    """

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        *,
        backoff_ms: int,
        backoff_max_ms: int,
        availability: Availability | None = None,
        doing: str = "",
    ) -> None:
        self._connect = connect
        self._backoff = Backoff(backoff_ms, backoff_max_ms)
        self._connection: Connection[Any] | None = None
        self._is_asking = False
        self._availability = availability
        self._doing = doing
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
        """Take note of an error: a connection that is lost or of no use is closed, so that the next use makes one."""
        kind = trouble(error)
        self._backoff.failed()
        if kind is not Trouble.CONTENT:
            if self.away_since is None:
                self.away_since = time.monotonic()
            if self._availability is not None:
                self._availability.failed(self._doing, reason_of(error))
        if kind is Trouble.CONNECTION:
            self.close()
        return kind

    def worked(self) -> None:
        """Take note that the server answered."""
        self._backoff.worked()
        self.away_since = None
        if self._availability is not None:
            self._availability.worked(self._doing)

    def pause_s(self) -> float:
        """Return how long to wait before the next try: doubling, with jitter, bounded."""
        return self._backoff.pause_s()

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
