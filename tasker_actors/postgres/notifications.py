"""LISTEN on a connection of its own, and NOTIFY after the fact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import Connection, sql

from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.session import Pool, session
from tasker_actors.settings import DatabaseSettings

_CHECK_S = 5.0


class Listener:
    """Receives notifications; needs a direct connection, a pooler in transaction mode does not pass them on."""

    def __init__(self, url: str, database: DatabaseSettings) -> None:
        self._url = url
        self._database = database
        self._connection: Connection[Any] | None = None
        self._closed = False

    def notifications(self, channels: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield (channel, payload) as they come; blocks in between, and ends when `close` is called.

        Raises DatabaseUnavailableError when the connection is lost or cannot be made; call again later.
        """
        try:
            with connect(self._url, application_name="tasker wakeups", database=self._database) as connection:
                self._connection = connection
                for channel in channels:
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                while not self._closed:
                    for notification in connection.notifies(timeout=_CHECK_S):
                        yield notification.channel, notification.payload
        except (psycopg.Error, OSError) as error:
            raise DatabaseUnavailableError(str(error).strip() or type(error).__name__) from error

    def close(self) -> None:
        """End `notifications` in whichever thread it runs, within its next check."""
        self._closed = True


def notify(pool: Pool, channel: str, payload: str) -> None:
    """Send one notification in a transaction of its own; raises DatabaseUnavailableError."""
    with session(pool) as connection:
        connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))
