"""Domain events in their durable queues, read without consuming: no visibility time is touched, nothing is locked.

Names of queues are looked up in `pgmq.meta` and quoted as identifiers. Every function raises what `session` raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import Connection, sql
from psycopg.rows import TupleRow

from tasker_actors.postgres.session import Pool, named_statements, session, statement_for

EVENTS_SUFFIX = "_domain_events"
MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""Messages in one answer together; the newest always fits."""

_FIRED_AT = ["metadata", "fired_at"]
_QUEUES_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages as JSON texts in the order of their times; `truncated` if older ones were left out."""

    texts: tuple[str, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Key:
    """A message before it is read: its time as text (six digits, so texts sort as times do), where it is, its size."""

    time: str
    queue: str
    msg_id: int
    size: int


def read_events(
    pool: Pool, *, namespace: str | None = None, correlation_id: str | None = None, limit: int
) -> Messages | None:
    """Return the newest events of one namespace or all, in the order of `fired_at`; None for an unknown namespace."""
    with session(pool) as connection:
        queues = find_queues(connection, EVENTS_SUFFIX, namespace)
        if not queues and namespace is not None:
            return None
        return newest_messages(
            connection, queues, "read_events", time_path=_FIRED_AT, correlation_id=correlation_id, limit=limit
        )


def namespace_has_queue(pool: Pool, namespace: str) -> bool:
    """Return whether any supervisor has registered this namespace on this database."""
    with session(pool) as connection:
        return bool(find_queues(connection, EVENTS_SUFFIX, namespace))


def find_queues(connection: Connection[TupleRow], suffix: str, namespace: str | None) -> list[str]:
    """Return the queues of all namespaces that end with this, or that of one namespace, by name."""
    queue = None if namespace is None else f"{namespace}{suffix}"
    rows = connection.execute(named_statements()["event_queues"], {"suffix": suffix, "queue": queue}).fetchall()
    return [row[0] for row in rows]


def queue_table(queue: str) -> sql.Identifier:
    """Name the table of a queue."""
    return sql.Identifier("pgmq", f"q_{queue}")


def newest_messages(
    connection: Connection[TupleRow],
    queues: Sequence[str],
    reader: str,
    *,
    time_path: list[str],
    correlation_id: str | None,
    limit: int,
) -> Messages:
    """Return the newest `limit` messages of these queues together, as far as they fit into `MAX_ANSWER_BYTES`.

    `reader` is the statement that reads chosen messages of one queue, `time_path` where their time is. A message that
    a consumer takes away meanwhile is left out.
    """
    keys: list[_Key] = []
    for start in range(0, len(queues), _QUEUES_AT_ONCE):
        some = queues[start : start + _QUEUES_AT_ONCE]
        keys.extend(_newest_keys(connection, some, time_path, correlation_id, limit + 1))
    keys.sort(key=lambda key: (key.time, key.queue, key.msg_id), reverse=True)
    chosen = _fitting(keys[:limit])
    texts = _read(connection, chosen, reader)
    ordered = (texts.get((key.queue, key.msg_id)) for key in reversed(chosen))
    return Messages(tuple(text for text in ordered if text is not None), truncated=len(chosen) < len(keys))


def _newest_keys(
    connection: Connection[TupleRow],
    queues: Iterable[str],
    time_path: list[str],
    correlation_id: str | None,
    limit: int,
) -> list[_Key]:
    name = "latest_messages" if correlation_id is None else "correlated_messages"
    parts = [statement_for(name, queue=sql.Literal(queue), table=queue_table(queue)) for queue in queues]
    parameters = {"time_path": time_path, "correlation_id": correlation_id, "limit": limit}
    rows = connection.execute(sql.SQL(" UNION ALL ").join(parts), parameters, prepare=False).fetchall()
    return [_Key(time or "", queue, msg_id, size or 0) for queue, msg_id, time, size in rows]


def _fitting(keys: Sequence[_Key]) -> list[_Key]:
    size = 0
    for count, key in enumerate(keys):
        size += key.size
        if count and size > MAX_ANSWER_BYTES:
            return list(keys[:count])
    return list(keys)


def _read(connection: Connection[TupleRow], keys: Iterable[_Key], reader: str) -> dict[tuple[str, int], str]:
    by_queue: dict[str, list[int]] = {}
    for key in keys:
        by_queue.setdefault(key.queue, []).append(key.msg_id)
    texts: dict[tuple[str, int], str] = {}
    for queue, msg_ids in by_queue.items():
        statement = statement_for(reader, queue=sql.Literal(queue), table=queue_table(queue))
        for msg_id, text in connection.execute(statement, {"msg_ids": msg_ids}, prepare=False):
            texts[(queue, msg_id)] = text
    return texts
