"""One lock for everything that changes the schema: migrations, the installation of PGMQ, new queues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection

from tasker_actors.errors import StartupError
from tasker_actors.postgres.bounded import unbounded

# Advisory locks of the whole database share one space of 64-bit keys: this one spells "tasker" and a number.
SCHEMA_LOCK_KEY = 0x7461736B65720001
DEFAULT_LOCK_TIMEOUT_MS = 60_000


@contextmanager
def schema_change(connection: Connection[Any], *, lock_timeout_ms: int = DEFAULT_LOCK_TIMEOUT_MS) -> Iterator[None]:
    """Run the block in one transaction that holds the schema lock; commits at its end, rolls back on an error.

    Who waited must look again at what is there: the process that held the lock has probably made it. The lock ends
    with the transaction, so nothing outlives a killed process, and it works through PgBouncer. Needs a connection in
    autocommit mode. Raises StartupError if another process holds the lock for longer than the time limit.
    """
    if not connection.autocommit:
        msg = "the schema is changed over a connection in autocommit mode"
        raise ValueError(msg)
    with unbounded(connection), connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{lock_timeout_ms}ms"])
        try:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY])
        except psycopg.errors.LockNotAvailable as error:
            msg = (
                f"another process has been changing the database's schema for {lock_timeout_ms} ms: "
                "wait for it, or end its session (pg_locks, locktype advisory) and start again"
            )
            raise StartupError(msg) from error
        yield
