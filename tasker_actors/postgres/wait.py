"""Waiting for PostgreSQL at the start: bounded, and with an error that says where and why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import psycopg
from psycopg import Connection, pq
from psycopg.conninfo import conninfo_to_dict

from tasker_actors.errors import DatabaseUnavailableError, StartupError
from tasker_actors.postgres.connect import connect, connection_string
from tasker_actors.postgres.health import READ_ONLY, read_only_fault
from tasker_actors.postgres.outages import Trouble, trouble
from tasker_actors.settings import DatabaseSettings
from tasker_actors.settings.database_url import MASK

OLDEST_SERVER = 15
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_Result = TypeVar("_Result")

# A refused connection has no SQLSTATE: what there is are words of libpq and of a server that speaks English. Where no
# words are known the reason stands alone, with the last of these.
_ADVICE = (
    (("too many", "connection slots"), "end sessions that nobody needs, or raise max_connections"),
    (("password", "pg_hba.conf", "role "), "correct user and password, or let the role in (pg_hba.conf)"),
    (("permission denied",), "grant the role CONNECT on the database"),
    (("does not exist",), "create the database, or correct its name"),
    (("starting up", "recovery", "shutting down"), "wait for it, or raise supervisor.startup_timeout_ms"),
    (("read-only",), "give the primary's address, or promote the server"),
    (("resolve", "translate host name"), "correct the host name, or the name service"),
    (("refused", "No such file", "no answer", "timeout", "not answer"), "start the server, or correct host and port"),
    (("",), "look into the server's log"),
)


class _Attempt(Generic[_Result]):
    """One attempt and what it came to; written by its thread before that ends."""

    def __init__(self, attempt: Callable[[], _Result]) -> None:
        self._attempt = attempt
        self.results: list[_Result] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.results.append(self._attempt())
        except Exception as error:  # noqa: BLE001  the thread that waits raises it
            self.error = error


class ReadOnlyServerError(psycopg.OperationalError):
    """There is a server and it takes no writes."""


def wait_for_database(
    url: str,
    *,
    timeout_ms: int,
    application_name: str = "tasker_actors",
    database: DatabaseSettings | None = None,
    to_write: bool = False,
) -> int:
    """Connect until it works, and return the server's version (as 180004 for 18.4); blocks for at most `timeout_ms`.

    With `to_write` a server that is read-only is waited for too. Each attempt runs in a thread of its own, because
    looking up a host name cannot be interrupted. Raises DatabaseUnavailableError with host, port, the last reason and
    what to do, StartupError for a server older than 15, and ConfigurationError for an unreadable URL at once. No error
    has a password in it.
    """
    limits = database or DatabaseSettings()
    connection_string(url, application_name=application_name, database=limits)

    def attempt() -> int:
        with connect(url, application_name=application_name, database=limits) as connection:
            version = check_server(connection)
            row = connection.execute(READ_ONLY).fetchone() if to_write else None
        if row is not None and row[0]:
            raise ReadOnlyServerError(read_only_fault())
        return version

    return until_it_works(url, attempt, timeout_ms=timeout_ms)


def until_it_works(url: str, attempt: Callable[[], _Result], *, timeout_ms: int) -> _Result:
    """Make attempts until one does not fail for a reason that may pass, each in a thread; blocks for `timeout_ms`.

    Raises DatabaseUnavailableError for the last such reason, and any other error at once.
    """
    deadline = time.monotonic() + timeout_ms / 1000
    pause = _FIRST_PAUSE_S
    last_error: Exception | None = None
    while True:
        one = _Attempt(attempt)
        thread = threading.Thread(target=one.run, name="database-wait", daemon=True)
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        if one.results:
            return one.results[0]
        if one.error is not None and not _may_pass(one.error):
            raise one.error
        # What an earlier attempt was told says more than that the last one had no time left.
        last_error = one.error or last_error
        if time.monotonic() + pause >= deadline:
            raise _unavailable(url, timeout_ms, last_error) from last_error
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, psycopg.Error):
        return isinstance(error, psycopg.OperationalError) or trouble(error) is not Trouble.CONTENT
    return isinstance(error, OSError)


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


def _unavailable(url: str, timeout_ms: int, error: Exception | None) -> DatabaseUnavailableError:
    reason = str(error) if error is not None else "no answer"
    password = conninfo_to_dict(url).get("password")
    if password:
        reason = reason.replace(str(password), MASK)
    reason = " ".join(reason.split())
    advice = next(advice for words, advice in _ADVICE if any(word in reason for word in words))
    # A server that refuses us was reached.
    what = (
        "could not be used" if "FATAL" in reason or isinstance(error, ReadOnlyServerError) else "could not be reached"
    )
    msg = f"PostgreSQL at {server_address(url)} {what} within {timeout_ms} ms: {reason}: {advice}"
    return DatabaseUnavailableError(msg)
