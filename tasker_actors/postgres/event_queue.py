"""The durable queue of one namespace, as a consumer uses it: read, settle, keep."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from tasker_actors.errors import DatabaseUnavailableError, TaskerError
from tasker_actors.postgres.connect import connect, connection_string
from tasker_actors.postgres.dead_letters import DEAD_LETTERS_SUFFIX
from tasker_actors.postgres.events import EVENTS_SUFFIX, queue_table
from tasker_actors.postgres.outages import Session, Trouble
from tasker_actors.postgres.session import named_statements, statement_for
from tasker_actors.postgres.workers import QueueMissingError
from tasker_actors.settings import DatabaseSettings

logger = logging.getLogger("tasker_actors.consumer")

_APPLICATION_NAME = "tasker consumer"


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message that was read: message and headers as JSON text, None for SQL's null; `enqueued_at` in UTC."""

    msg_id: int
    read_count: int
    enqueued_at: datetime
    message: str | None
    headers: str | None


class EventQueue:
    """Reads and settles messages over one connection, which is made when it is needed and again after it was lost.

    For any thread, one statement at a time. Every method may block for the connection's time limits and raises
    DatabaseUnavailableError if it may work later (try again after `pause_s()`; the statement may have been executed),
    QueueMissingError where the namespace has no queue, and TaskerError for what PostgreSQL refuses for good.
    An outage is logged when it begins and when it ends.
    """

    def __init__(self, url: str, namespace: str, *, archive: bool) -> None:
        self.name = f"{namespace}{EVENTS_SUFFIX}"
        self._namespace = namespace
        self._letters = f"{namespace}{DEAD_LETTERS_SUFFIX}"
        self._table = queue_table(self.name)
        self._settle = "archive_message" if archive else "delete_message"
        limits = DatabaseSettings()
        connection_string(url, application_name=_APPLICATION_NAME, database=limits)  # an unreadable URL is told at once
        self._session = Session(
            partial(connect, url, application_name=_APPLICATION_NAME, database=limits),
            backoff_ms=limits.reconnect_backoff_ms,
            backoff_max_ms=limits.reconnect_backoff_max_ms,
        )
        self._lock = threading.Lock()

    def read(self, limit: int, visibility_timeout_s: int) -> list[QueuedMessage]:
        """Take the next messages, oldest first: nobody else gets them until the timeout ends."""
        parameters = {"queue": self.name, "seconds": visibility_timeout_s, "limit": limit}
        rows = self._execute(named_statements()["read_queue"], parameters)
        messages = [QueuedMessage(row[0], row[1], row[2].astimezone(UTC), row[3], row[4]) for row in rows]
        return sorted(messages, key=lambda message: message.msg_id)

    def acknowledge(self, msg_id: int) -> bool:
        """Archive or delete a message; False if it was not there any more."""
        rows = self._execute(named_statements()[self._settle], {"queue": self.name, "msg_id": msg_id})
        return bool(rows[0][0])

    def extend(self, held: Mapping[int, int], seconds: int) -> Collection[int]:
        """Hide messages (msg_id → read count) for `seconds` from now; returns those that nobody else has read since."""
        return self._change("extend_visibility", **_keys(held), seconds=seconds)

    def give_back(self, held: Mapping[int, int]) -> None:
        """Let others read messages at once, as if they had not been read here."""
        self._change("give_back_messages", **_keys(held))

    def mark(self, message: QueuedMessage, mark: str) -> bool:
        """Add a header to a message; False if somebody else has read or settled it since."""
        key = {"msg_id": message.msg_id, "read_count": message.read_count}
        return bool(self._change("mark_message", **key, mark=mark))

    def reject(self, message: QueuedMessage, *, code: str, reason: str) -> bool:
        """Move a message to the dead letters, whole; False if somebody else has read or settled it since."""
        key = {"msg_id": message.msg_id, "read_count": message.read_count}
        return bool(self._change("reject_message", **key, letters=self._letters, code=code, reason=reason))

    def pause_s(self) -> float:
        """Return how long to wait before the next try: doubling, with jitter, bounded."""
        return self._session.pause_s()

    def close(self) -> None:
        """Close the connection; the next use makes a new one."""
        with self._lock:
            self._session.close()

    def _change(self, statement: str, **parameters: Any) -> list[int]:
        rows = self._execute(statement_for(statement, table=self._table), parameters)
        return [row[0] for row in rows]

    def _execute(self, statement: bytes | sql.Composed, parameters: Mapping[str, Any]) -> list[TupleRow]:
        with self._lock:
            away_since = self._session.away_since
            try:
                rows: list[TupleRow] = self._session.connection().execute(statement, parameters).fetchall()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
                msg = (
                    f"queue {self.name} is not complete in this database: check the namespace {self._namespace!r} and "
                    f"the URL, or start a supervisor with a template of it first ({_first_line(error)})"
                )
                raise QueueMissingError(msg) from error
            except psycopg.Error as error:
                if self._session.failed(error) is Trouble.CONTENT:
                    raise TaskerError(f"PostgreSQL refuses to serve queue {self.name}: {_first_line(error)}") from error
                if away_since is None:
                    logger.warning(
                        "The database does not answer; the consumer waits for it",
                        extra={"queue": self.name, "error": _first_line(error)},
                    )
                raise DatabaseUnavailableError(_first_line(error)) from error
            self._session.worked()
            if away_since is not None:
                logger.info("The database answers again", extra={"queue": self.name})
            return rows


def _keys(held: Mapping[int, int]) -> dict[str, list[int]]:
    return {"msg_ids": list(held), "read_counts": list(held.values())}


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
