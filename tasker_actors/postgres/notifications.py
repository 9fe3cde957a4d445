"""LISTEN on a connection of its own, and NOTIFY after the fact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import psycopg
from psycopg import sql

from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.outages import reason_of
from tasker_actors.postgres.session import Pool, session
from tasker_actors.settings import DatabaseSettings

WORK = "tasker_work"
"""The channel on which supervisors hear that steps can run; the payload is the supervisor that says so."""

_CHECK_S = 5.0
_SIGN_OF_LIFE = b"SELECT 1"


class Listener:
    """Receives notifications; needs a direct connection, a pooler in transaction mode does not pass them on."""

    def __init__(self, url: str, database: DatabaseSettings) -> None:
        self._url = url
        self._database = database
        self._closed = False

    def notifications(self, channels: Sequence[str], listening: Callable[[], None]) -> Iterator[tuple[str, str]]:
        """Yield (channel, payload) as they come; blocks in between, and ends when `close` is called.

        `listening` is called when nothing is missed from then on. Every few seconds of silence the server is asked for
        a sign of life. Raises DatabaseUnavailableError when the connection is lost or cannot be made; call again later.
        """
        try:
            with connect(self._url, application_name="tasker wakeups", database=self._database) as connection:
                for channel in channels:
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                listening()
                while not self._closed:
                    for notification in connection.notifies(timeout=_CHECK_S):
                        yield notification.channel, notification.payload
                    connection.execute(_SIGN_OF_LIFE)
        except (psycopg.Error, OSError) as error:
            raise DatabaseUnavailableError(reason_of(error)) from error

    def close(self) -> None:
        """End `notifications` in whichever thread it runs, within its next check."""
        self._closed = True


def notify(pool: Pool, channel: str, payload: str) -> None:
    """Send one notification in a transaction of its own; raises DatabaseUnavailableError."""
    with session(pool) as connection:
        connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))
