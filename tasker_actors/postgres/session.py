"""One short use of the pool, with the driver's errors sorted by what a caller can do about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TypeAlias

import psycopg
from psycopg import Connection, sql
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from tasker_actors.errors import DatabaseUnavailableError, TaskerError
from tasker_actors.postgres.statements import load_statements

Pool: TypeAlias = ConnectionPool[Connection[TupleRow]]

# Classes of SQLSTATE: connection, resources, the operator's intervention, the system around the server.
_UNAVAILABLE_CLASSES = ("08", "53", "57P", "58")
_BUSY_CLASSES = ("40", "55P03")


class OutcomeUnknownError(DatabaseUnavailableError):
    """The connection was lost while a statement ran: a change was made entirely or not at all, and nobody knows."""


class DatabaseBusyError(TaskerError):
    """A lock was not free in time, or the transaction lost against another: nothing was done, the same may work now."""


class QueryTimeoutError(TaskerError):
    """A query took longer than its time limit and was stopped by the server."""


@contextmanager
def session(pool: Pool) -> Iterator[Connection[TupleRow]]:
    """Lend a connection of the pool to the block; waits for one as long as the pool allows.

    Raises DatabaseUnavailableError where there is none, and for what the block raises: OutcomeUnknownError,
    DatabaseBusyError and QueryTimeoutError in place of the driver's errors that mean this. All others pass.
    """
    lent = False
    try:
        with pool.connection() as connection:
            lent = True
            yield connection
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise _sorted(error, lent=lent) from error


@cache
def named_statements() -> Mapping[str, bytes]:
    """Return the package's statements by name; the files are read once, and cannot change under a running process."""
    return load_statements()


def statement_for(name: str, **parts: sql.Composable) -> sql.Composed:
    """Return a named statement with its `{places}` filled by quoted identifiers and literals, for tables of queues."""
    return sql.SQL(named_statements()[name].decode()).format(**parts)


def _sorted(error: psycopg.Error, *, lent: bool) -> Exception:
    state = error.sqlstate or ""
    if state == psycopg.errors.QueryCanceled.sqlstate:
        return QueryTimeoutError("the query took too long and was stopped")
    if state.startswith(_BUSY_CLASSES):
        return DatabaseBusyError("the database is busy with something that this waits for; try again")
    if not lent:
        return DatabaseUnavailableError("the database cannot be reached; try again")
    if not state or state.startswith(_UNAVAILABLE_CLASSES):
        return OutcomeUnknownError("the connection to the database was lost; whether a change was made is not known")
    return error
