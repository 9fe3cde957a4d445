"""The database that a `db` command works on: one with a URL, or the embedded server, started for it if need be."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.embedded import EmbeddedServer, running_url
from tasker_actors.postgres.session import session
from tasker_actors.postgres.wait import wait_for_database
from tasker_actors.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

_APPLICATION_NAME = "tasker_actors db"
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Database:
    """An open database, with its URL as a client must use it."""

    url: str
    is_embedded: bool
    connection: Connection[TupleRow]


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Connect in autocommit mode for the block, and leave the embedded server as it was found.

    Raises DatabaseUnavailableError or another StartupError if there is no connection, also for one that is lost in the
    block.
    """
    _log_to_standard_error()
    if settings.database.url is not None:
        with _connected(settings.database.url, settings, is_embedded=False) as database:
            yield database
        return
    with (
        _embedded_server(settings.home, settings.supervisor.startup_timeout_ms) as url,
        _connected(url, settings, is_embedded=True) as database,
    ):
        yield database


@contextmanager
def _connected(url: str, settings: Settings, *, is_embedded: bool) -> Iterator[Database]:
    wait_for_database(url, timeout_ms=settings.database.connect_timeout_ms, database=settings.database)
    with (
        open_pool(url, application_name=_APPLICATION_NAME, max_size=1, database=settings.database) as pool,
        session(pool) as connection,
    ):
        yield Database(url, is_embedded, connection)


@contextmanager
def _embedded_server(home: Path, startup_timeout_ms: int) -> Iterator[str]:
    """Give the URL of the embedded server; one that runs goes on afterwards, also if its supervisor was killed."""
    running = running_url(home)
    if running is not None:
        yield running
        return
    server = EmbeddedServer.start(home, startup_timeout_ms)
    try:
        yield server.url
    finally:
        server.stop(time.monotonic() + _STOP_TIMEOUT_S)


def _log_to_standard_error() -> None:
    """Keep warnings about the embedded server off standard output, which belongs to the result."""
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
