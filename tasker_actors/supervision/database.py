"""The database of a supervisor: found or started, reachable, migrated."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tasker_actors.errors import TaskerError
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.embedded import EmbeddedServer
from tasker_actors.postgres.migrate import migrate
from tasker_actors.postgres.pgmq_install import install_pgmq
from tasker_actors.postgres.wait import server_address, wait_for_database
from tasker_actors.settings import Settings
from tasker_actors.supervision.shutdown import ExitDeadline
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.supervisor")

_STOPPED_AT_ONCE_S = 0.5
"""Of the time that is left: for an embedded server that did not stop in time and is stopped at once."""


def ready_database(
    settings: Settings, home: Path, start_by: float, stack: ExitStack, exit_deadline: ExitDeadline
) -> tuple[str, Callable[[], None]]:
    """Return the URL of a database that is ready for us, reachable, with PGMQ, migrated, and what brings it back.

    Only an embedded server is ours to start again, and to stop at the end; any other comes back by itself.
    """
    url = settings.database.url
    revive: Callable[[], None] = _leave_to_others
    if url is None:
        server = EmbeddedServer.start(home, _left_ms(start_by))
        stack.callback(lambda: server.stop(time.monotonic() + max(0.0, exit_deadline.left_s() - _STOPPED_AT_ONCE_S)))
        url = server.url
        revive = partial(_revive, server, settings.supervisor.startup_timeout_ms)
        logger.info("Embedded PostgreSQL is running", home=str(home))
    wait_for_database(url, timeout_ms=_left_ms(start_by), database=settings.database)
    with connect(url, application_name="tasker setup", database=settings.database) as connection:
        pgmq = install_pgmq(connection)
        applied = migrate(connection)
    logger.info(
        "Database is ready",
        address=server_address(url),
        pgmq_version=pgmq.version,
        pgmq_source=pgmq.source.value,
        migrations_applied=len(applied),
    )
    return url, revive


def _leave_to_others() -> None:
    """Do nothing about a server that somebody else runs."""


def _revive(server: EmbeddedServer, timeout_ms: int) -> None:
    """Start the embedded server again if its process is gone."""
    try:
        server.ensure_running(timeout_ms)
    except TaskerError as error:
        logger.error("The embedded PostgreSQL could not be started again", error=str(error))


def _left_ms(start_by: float) -> int:
    return max(1, int((start_by - time.monotonic()) * 1000))
