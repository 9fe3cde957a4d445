"""PGMQ queues as this package wants them: named safely, and stored for many updates."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from tasker_actors.errors import StartupError
from tasker_actors.postgres.schema_lock import DEFAULT_LOCK_TIMEOUT_MS, schema_change

# PGMQ itself takes upper case and punctuation, and fails later (HAZARDS 27).
_QUEUE_NAME = re.compile(r"[a-z][a-z0-9_]{0,46}")

# Every read of a message rewrites its row, so pages keep room for the new version beside the old one, and vacuum comes
# after a fixed number of dead rows, unthrottled, not after a share of a table that is mostly dead rows. It leaves the
# empty end of the file where it is: to cut it off it would lock readers and writers out.
_STORAGE = {
    "fillfactor": "70",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_threshold": "5000",
    "autovacuum_analyze_scale_factor": "0.05",
    "vacuum_truncate": "off",
}
_STORAGE_SQL = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.SQL(key), sql.SQL(_STORAGE[key])) for key in _STORAGE)

_FIND = b"""
SELECT coalesce(c.reloptions, '{}') AS options, to_regclass('pgmq.' || quote_ident(%(index)s)) IS NOT NULL AS indexed
FROM pgmq.meta m JOIN pg_catalog.pg_class c ON c.oid = to_regclass('pgmq.' || quote_ident('q_' || m.queue_name))
WHERE m.queue_name = %(queue)s
"""


def ensure_queue(
    connection: Connection[Any],
    queue: str,
    *,
    correlation_index: bool = False,
    lock_timeout_ms: int = DEFAULT_LOCK_TIMEOUT_MS,
) -> bool:
    """Create the queue if it is not there, with our storage parameters; says whether anything was changed.

    `correlation_index` adds the index behind the query of SPEC 2.4, for queues of domain events. One read where all is
    in place; else the schema lock is taken, so any number of processes may call it at once. Needs a connection in
    autocommit mode. Raises StartupError for a name that PGMQ would mishandle and for a role that may not create tables.
    """
    if not _QUEUE_NAME.fullmatch(queue):
        msg = f"queue {queue!r}: a name has 1 to 47 characters of a-z, 0-9 and _, and begins with a letter"
        raise StartupError(msg)
    index = f"ix_{queue}_correlation" if correlation_index else None
    if _is_complete(connection, queue, index):
        return False
    try:
        with schema_change(connection, lock_timeout_ms=lock_timeout_ms):
            if _is_complete(connection, queue, index):
                return False
            _create(connection, queue, index)
    except psycopg.errors.InsufficientPrivilege as error:
        msg = (
            f"queue {queue} does not exist and this role may not create it: {error.diag.message_primary}; "
            "run `tasker-actors db migrate --templates DIR` as the schema's owner"
        )
        raise StartupError(msg) from error
    return True


def _is_complete(connection: Connection[Any], queue: str, index: str | None) -> bool:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(_FIND, {"queue": queue, "index": index or ""}).fetchone()
    if row is None:
        return False
    options, indexed = row
    return "fillfactor=" in "".join(options) and (indexed or index is None)


def _create(connection: Connection[Any], queue: str, index: str | None) -> None:
    table = sql.Identifier("pgmq", f"q_{queue}")
    connection.execute("SELECT pgmq.create(%s)", [queue])
    connection.execute(sql.SQL("ALTER TABLE {} SET ({})").format(table, _STORAGE_SQL))
    if index is not None:
        connection.execute(
            sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} ((message->'metadata'->>'correlation_id'))").format(
                sql.Identifier(index), table
            )
        )
