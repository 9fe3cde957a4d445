"""Waiting for PostgreSQL at the start: bounded, and with an error that says where and why."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, pq
from psycopg.conninfo import conninfo_to_dict

from tasker_actors.errors import DatabaseUnavailableError, StartupError
from tasker_actors.postgres.connect import connect, connection_string
from tasker_actors.settings import DatabaseSettings
from tasker_actors.settings.database_url import MASK

OLDEST_SERVER = 15
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


@dataclass(slots=True)
class _Attempt:
    """What one attempt to connect came to; written by its thread before that ends."""

    server_version: int | None = None
    error: Exception | None = None


def wait_for_database(
    url: str, *, timeout_ms: int, application_name: str = "tasker_actors", database: DatabaseSettings | None = None
) -> int:
    """Connect until it works, and return the server's version (as 180004 for 18.4); blocks for at most `timeout_ms`.

    Each attempt runs in a thread of its own, because looking up a host name cannot be interrupted. Raises
    DatabaseUnavailableError with host, port and the last reason, StartupError for a server older than 15, and
    ConfigurationError for an unreadable URL at once. No error has a password in it.
    """
    connection_string(url, application_name=application_name, database=database or DatabaseSettings())
    deadline = time.monotonic() + timeout_ms / 1000
    pause = _FIRST_PAUSE_S
    while True:
        attempt = _Attempt()
        thread = threading.Thread(
            target=_try, args=(attempt, url, application_name, database), name="database-wait", daemon=True
        )
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        if attempt.server_version is not None:
            return attempt.server_version
        if attempt.error is not None and not isinstance(attempt.error, (psycopg.OperationalError, OSError)):
            raise attempt.error
        if time.monotonic() + pause >= deadline:
            raise _unavailable(url, timeout_ms, attempt.error) from attempt.error
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def check_server(connection: Connection[Any]) -> int:
    """Return the server's version; raises StartupError for one older than 15."""
    version = connection.info.server_version
    if version < OLDEST_SERVER * 10_000:
        msg = (
            f"PostgreSQL at {connection.info.host}:{connection.info.port} is version {version // 10_000}: "
            f"{OLDEST_SERVER} or later is needed"
        )
        raise StartupError(msg)
    return version


def server_address(url: str) -> str:
    """Return `host:port` (a directory for a Unix socket, several separated by commas) as libpq would use it."""
    given = conninfo_to_dict(url)
    defaults = {option.keyword.decode(): option for option in pq.Conninfo.get_defaults()}

    def value(key: str, fallback: str) -> str:
        if given.get(key):
            return str(given[key])
        option = defaults.get(key)
        return option.val.decode() if option is not None and option.val else fallback

    hosts = value("host", value("hostaddr", "localhost")).split(",")
    ports = value("port", "5432").split(",")
    return ",".join(f"{host}:{ports[min(index, len(ports) - 1)]}" for index, host in enumerate(hosts))


def _try(attempt: _Attempt, url: str, application_name: str, database: DatabaseSettings | None) -> None:
    try:
        with connect(url, application_name=application_name, database=database) as connection:
            attempt.server_version = check_server(connection)
    except Exception as error:  # noqa: BLE001  the thread that waits raises it
        attempt.error = error


def _unavailable(url: str, timeout_ms: int, error: Exception | None) -> DatabaseUnavailableError:
    reason = str(error) if error is not None else "no answer"
    password = conninfo_to_dict(url).get("password")
    if password:
        reason = reason.replace(str(password), MASK)
    reason = " ".join(reason.split())
    msg = f"PostgreSQL at {server_address(url)} could not be reached within {timeout_ms} ms: {reason}"
    return DatabaseUnavailableError(msg)
