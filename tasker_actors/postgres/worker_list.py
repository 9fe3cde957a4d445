"""The workers of every supervisor on this database, as `GET /v1/workers` shows them."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from tasker_actors.postgres.session import Pool, named_statements, session


def list_workers(pool: Pool) -> list[dict[str, Any]]:
    """Return the live workers and those that ended in the last 10 minutes, by host, supervisor and slot.

    The keys are those of SPEC 8 and `host`, `supervisor_id`, `heartbeat_at`, `ended_at`; times are datetimes. A live
    worker of a host that vanished is shown as alive until the leader settles it. Raises what `session` raises.
    """
    with session(pool) as connection:
        return connection.cursor(row_factory=dict_row).execute(named_statements()["list_workers"]).fetchall()
