"""What is wrong with the database just now, for those who ask whether work can be taken."""

from __future__ import annotations

import psycopg

from tasker_actors.postgres.session import Pool, why_no_connection

READ_ONLY = b"SELECT current_setting('transaction_read_only')::bool"


def database_fault(pool: Pool, timeout_s: float) -> str | None:
    """Return why nothing can be written now, None where it can; blocks for little more than the time limit."""
    try:
        with pool.connection(timeout=timeout_s) as connection:
            row = connection.execute(READ_ONLY).fetchone()
    except psycopg.Error as error:
        return why_no_connection(error, pool)
    return read_only_fault() if row is None or row[0] else None


def read_only_fault() -> str:
    """Say that there is a server and that it is of no use to a writer."""
    return "the server is read-only: a standby, or default_transaction_read_only is on"
