"""The clock that all supervisors share."""

from __future__ import annotations

from datetime import UTC, datetime

from tasker_actors.postgres.session import Pool, named_statements, session


def database_time(pool: Pool) -> datetime:
    """Return the time of the database's server, in UTC; one round trip. Raises what `session` raises."""
    with session(pool) as connection:
        row = connection.execute(named_statements()["database_time"]).fetchone()
    assert row is not None  # noqa: S101  a SELECT without FROM has a row
    now: datetime = row[0]
    return now.astimezone(UTC)
