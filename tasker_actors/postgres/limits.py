"""Limits by key, as the database stands: what is in use, and who waits."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from tasker_actors.postgres.session import Pool, named_statements, session


def list_limits(pool: Pool, *, namespace: str | None, limit: int) -> list[dict[str, Any]]:
    """Return limits by key, those first for which most steps are parked; at most `limit` of them.

    A limit by a field of the context has a row for each value of which something is in use or parked. `in_use` are
    leases, or for a rate the steps that began in its last period; `opens_at` is when an exhausted rate lets the next
    one go. Raises what `session` raises.
    """
    parameters = {"namespace": namespace, "limit": limit}
    with session(pool) as connection, connection.transaction():
        connection.execute(named_statements()["only_by_index"])
        return connection.cursor(row_factory=dict_row).execute(named_statements()["list_limits"], parameters).fetchall()


def repair_limits(connection: Connection[Any]) -> int:
    """Open what should be open: places that are free and for which steps are parked; returns how many keys."""
    row = connection.execute(named_statements()["repair_limits"]).fetchone()
    return 0 if row is None else int(row[0])
