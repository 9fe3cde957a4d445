"""The database of a supervisor: found or started, reachable, migrated."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tasker_actors.postgres.setup import prepare_database
from tasker_actors.postgres.wait import server_address
from tasker_actors.settings import Settings
from tasker_actors.supervision.embedded_database import EmbeddedDatabase
from tasker_actors.supervision.shutdown import ExitDeadline
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.supervisor")

_STOPPED_AT_ONCE_S = 0.5
"""Of the time that is left: for an embedded server that did not stop in time and is stopped at once."""


def ready_database(
    settings: Settings, home: Path, start_by: float, stack: ExitStack, exit_deadline: ExitDeadline
) -> tuple[str, Callable[[], None]]:
    """Return the URL of a database that is ready for us, and what brings its server back.

    Only an embedded server is ours to start again, and to stop at the end; any other comes back by itself.
    """
    url = settings.database.url
    revive: Callable[[], None] = _leave_to_others
    if url is None:
        server = EmbeddedDatabase(
            home, start_timeout_ms=_left_ms(start_by), revive_timeout_ms=settings.supervisor.startup_timeout_ms
        )
        stack.callback(lambda: server.stop(max(0.0, exit_deadline.left_s() - _STOPPED_AT_ONCE_S)))
        url, revive = server.url, server.revive
    ready = prepare_database(url, timeout_ms=_left_ms(start_by), database=settings.database)
    logger.info(
        "Database is ready",
        address=server_address(url),
        pgmq_version=ready.pgmq.version,
        pgmq_source=ready.pgmq.source.value,
        migrations_applied=len(ready.migrations),
    )
    return url, revive


def _leave_to_others() -> None:
    """Do nothing about a server that somebody else runs."""


def _left_ms(start_by: float) -> int:
    return max(1, int((start_by - time.monotonic()) * 1000))
