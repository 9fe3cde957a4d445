"""One short use of the pool, with the driver's errors sorted by what a caller can do about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TypeAlias

import psycopg
from psycopg import Connection, sql
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from tasker_actors.errors import DatabaseUnavailableError, StartupError, TaskerError
from tasker_actors.postgres.bounded import PooledConnection
from tasker_actors.postgres.outages import reason_of
from tasker_actors.postgres.statements import load_statements

Pool: TypeAlias = ConnectionPool[PooledConnection]

# Classes of SQLSTATE: connection, the operator's intervention, time limits of transactions that end the session.
_LOST_CLASSES = ("08", "57P", "25P03", "25P04")
# What the server, or the system around it, is out of for the moment.
_RESOURCE_CLASSES = ("53", "58")
_BUSY_CLASSES = ("40", "55P03")


class OutcomeUnknownError(DatabaseUnavailableError):
    """The connection was lost while a statement ran: a change was made entirely or not at all, and nobody knows."""


class DatabaseBusyError(TaskerError):
    """A lock was not free in time, or the transaction lost against another: nothing was done, the same may work now."""


class QueryTimeoutError(TaskerError):
    """A query took longer than its time limit and was stopped by the server."""


class PermissionMissingError(StartupError):
    """The role may not do what this package needs; the message has the server's, which names the object."""


PASSING_ERRORS = (DatabaseUnavailableError, DatabaseBusyError, QueryTimeoutError)
"""What passes by itself: the same may work later."""


@contextmanager
def session(pool: Pool) -> Iterator[Connection[TupleRow]]:
    """Lend a connection of the pool to the block; waits for one as long as the pool allows.

    Raises DatabaseUnavailableError where there is none and where the server can do nothing now, and for what the block
    raises: OutcomeUnknownError, DatabaseBusyError, QueryTimeoutError and PermissionMissingError in place of the
    driver's errors that mean this. All others pass.
    """
    lent: Connection[TupleRow] | None = None
    try:
        with pool.connection() as connection:
            lent = connection
            yield connection
    except psycopg.Error as error:
        sorted_error = _sorted(error, pool, lent)
        if sorted_error is error:
            raise
        raise sorted_error from error


@cache
def named_statements() -> Mapping[str, bytes]:
    """Return the package's statements by name; the files are read once, and cannot change under a running process."""
    return load_statements()


def statement_for(name: str, **parts: sql.Composable) -> sql.Composed:
    """Return a named statement with its `{places}` filled by quoted identifiers and literals, for tables of queues."""
    return sql.SQL(named_statements()[name].decode()).format(**parts)


def why_no_connection(error: psycopg.Error, pool: Pool) -> str:
    """Return why there is no connection: the pool itself only says that it took too long."""
    failure = pool.connection_class.last_failure if isinstance(error, PoolTimeout) else None
    return reason_of(error if failure is None else psycopg.OperationalError(failure))


def _sorted(error: psycopg.Error, pool: Pool, lent: Connection[TupleRow] | None) -> Exception:
    state = error.sqlstate or ""
    is_open = lent is not None and not lent.closed
    found: Exception = error
    if lent is None and (not state or isinstance(error, psycopg.OperationalError)):
        found = DatabaseUnavailableError(
            f"the database cannot be reached ({why_no_connection(error, pool)}); try again"
        )
    elif state == psycopg.errors.QueryCanceled.sqlstate:
        found = QueryTimeoutError("the query took too long and was stopped")
    elif state.startswith(_BUSY_CLASSES):
        found = DatabaseBusyError("the database is busy with something that this waits for; try again")
    elif state == psycopg.errors.ReadOnlySqlTransaction.sqlstate:
        if lent is not None:
            lent.close()  # the session may stay so for ever, after a failover or a changed default of the role
        found = DatabaseUnavailableError("the database is read-only, and nothing was done; try again")
    elif state.startswith(_RESOURCE_CLASSES) and is_open:
        what = reason_of(error)
        found = DatabaseUnavailableError(
            f"the database is short of something ({what}), and nothing was done; try again"
        )
    elif state == psycopg.errors.InsufficientPrivilege.sqlstate:
        found = PermissionMissingError(f"the database's role lacks a right: {reason_of(error)}; grant it")
    elif state.startswith(_LOST_CLASSES + _RESOURCE_CLASSES) or (not state and _is_connections(error)):
        found = OutcomeUnknownError("the connection to the database was lost; whether a change was made is not known")
    return found


def _is_connections(error: psycopg.Error) -> bool:
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
