"""Connections as this package wants them: they notice a dead peer, and leave no state in a session that others share.

What a connection gets, and why it is safe through PgBouncer:

* Keepalives, `tcp_user_timeout`, `connect_timeout` and `application_name` are libpq's own or tracked by PgBouncer.
  Values in the URL win.
* `idle_in_transaction_session_timeout`, `client_connection_check_interval` and `default_transaction_isolation` are
  session state. They are set in one round trip, and only where the server process that answers is the one that the
  connection was opened to: a pooler gives out process numbers of its own. Behind a pooler its own time limits apply.
* Transactions name READ COMMITTED in their BEGIN.
* Statements are prepared on direct connections only.
* A statement that is not answered within `answer_timeout_ms` closes the connection (`bounded`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import ConnectionPool

from tasker_actors.errors import ConfigurationError
from tasker_actors.postgres.bounded import BoundedConnection, PooledConnection
from tasker_actors.postgres.pool_figures import MeasuredPool
from tasker_actors.settings import DatabaseSettings

_PREPARE_AFTER = 5
_KEEPALIVE: dict[str, int] = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_CONNECTION_CHECK_MS = 5_000
_CHECKS_A_REQUEST = 5
_PORTS = re.compile(r"\d*(,\d*)*")

_SESSION_SETTINGS: LiteralString = """
SELECT set_config('idle_in_transaction_session_timeout', %s, false),
       set_config('client_connection_check_interval', %s, false),
       set_config('default_transaction_isolation', 'read committed', false)
WHERE pg_backend_pid() = %s
"""


def connection_string(url: str, *, application_name: str, database: DatabaseSettings) -> str:
    """Return the URL as libpq's `key=value` pairs with our time limits added where it has none of its own.

    Raises ConfigurationError for a URL that libpq cannot read; the error has nothing of its text, because libpq's
    reason for a password with raw punctuation quotes a part of it.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        given = None
    if given is None or not _PORTS.fullmatch(str(given.get("port", ""))):
        # A port that is no number is the first half of a password with a slash in it.
        msg = "the database URL cannot be read; punctuation in a user name or password is written as %XX"
        raise ConfigurationError(msg)
    ours: dict[str, Any] = {
        **_KEEPALIVE,
        "application_name": application_name,
        # libpq counts in seconds, and waits for 2 at least.
        "connect_timeout": max(2, math.ceil(database.connect_timeout_ms / 1000)),
        "tcp_user_timeout": database.tcp_user_timeout_ms,
    }
    return make_conninfo("", **{**ours, **given})


def connect(
    url: str,
    *,
    application_name: str,
    database: DatabaseSettings | None = None,
    autocommit: bool = True,
) -> BoundedConnection:
    """Return one open connection; blocks for at most `connect_timeout_ms` per address of the host.

    Raises psycopg.OperationalError if the server cannot be reached, ConfigurationError for an unreadable URL. To wait
    for a server that is starting, use `wait_for_database`.
    """
    limits = database or DatabaseSettings()
    text = connection_string(url, application_name=application_name, database=limits)
    connection = BoundedConnection.connect(text, autocommit=True, prepare_threshold=None)
    try:
        prepare_connection(connection, limits)
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


def open_pool(
    url: str, *, application_name: str, max_size: int, database: DatabaseSettings | None = None
) -> MeasuredPool:
    """Return an open pool of up to `max_size` connections like those of `connect`, the first made when asked for.

    Open it after the process has started, never before a fork (HAZARDS 5), and close it. Waiting for a connection
    longer than `connect_timeout_ms` raises psycopg_pool.PoolTimeout.
    """
    limits = database or DatabaseSettings()
    return MeasuredPool(
        connection_string(url, application_name=application_name, database=limits),
        connection_class=type("ConnectionOfOnePool", (PooledConnection,), {}),
        kwargs={"autocommit": True, "prepare_threshold": None},
        min_size=0,
        max_size=max_size,
        open=True,
        timeout=limits.connect_timeout_ms / 1000,
        reconnect_timeout=limits.reconnect_backoff_max_ms / 1000,
        configure=lambda connection: prepare_connection(connection, limits),
        check=lambda connection: _check(connection, limits),
        name=application_name,
    )


def prepare_connection(connection: Connection[Any], database: DatabaseSettings) -> None:
    """Give an open connection in autocommit mode our isolation level, JSON codec and, if it is direct, time limits."""
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    set_json_dumps(orjson.dumps, connection)
    set_json_loads(orjson.loads, connection)
    with _answering_within(connection, database.connect_timeout_ms, database):
        if _set_session_settings(connection, database):
            connection.prepare_threshold = _PREPARE_AFTER


def _check(connection: PooledConnection, database: DatabaseSettings) -> None:
    """Look whether a pooled connection still works; where several have fallen silent, a request may try them all."""
    with _answering_within(connection, database.connect_timeout_ms / _CHECKS_A_REQUEST, database):
        ConnectionPool.check_connection(connection)


@contextmanager
def _answering_within(connection: Connection[Any], limit_ms: float, database: DatabaseSettings) -> Iterator[None]:
    """Wait no longer for an answer in the block, and as long as is set after it."""
    if isinstance(connection, BoundedConnection):
        connection.answer_timeout_s = limit_ms / 1000
    yield
    if isinstance(connection, BoundedConnection):
        connection.answer_timeout_s = database.answer_timeout_ms / 1000


def _set_session_settings(connection: Connection[Any], database: DatabaseSettings) -> bool:
    """Set the time limits of the session if there is no pooler between; says whether it did."""
    cursor = connection.execute(
        _SESSION_SETTINGS,
        [
            f"{database.idle_in_transaction_timeout_ms}ms",
            f"{_CONNECTION_CHECK_MS}ms",
            connection.info.backend_pid,
        ],
    )
    return cursor.fetchone() is not None
