"""Statements inside a transaction that somebody else has begun and will end, on a connection that is not ours.

A flow is a generator that yields statements and gets their rows; it is written once, and driven over a Connection or an
AsyncConnection. All of a flow is one savepoint: an error takes back what it did and nothing else, and the transaction
goes on. Nothing of the connection is used that its owner may have changed: neither its row factory, its cursors nor its
loaders of JSON; no setting of the session is changed, and nothing is committed. A connection in autocommit mode that is
in no transaction gets one for the flow alone, as it would for a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor, capabilities
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from tasker_actors.errors import StartupError, TaskerError
from tasker_actors.postgres.outages import reason_of
from tasker_actors.postgres.session import PermissionMissingError, named_statements

_BEGIN = b"SELECT 1"
_NO_SCHEMA = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)


class SchemaMissingError(StartupError):
    """The database has no schema of this package, or an older one."""


class TransactionAbortedError(TaskerError):
    """The caller's transaction had failed before, and can only be rolled back."""


class Statement(NamedTuple):
    """A named statement with its parameters.

    Where it is not `awaited` its flow gets no rows, and in an overlapping run goes on while the server works: an error
    of the statement then comes with a later one, or at the end.
    """

    name: str
    parameters: Sequence[Any] | Mapping[str, Any]
    awaited: bool = True


_T = TypeVar("_T")
Rows: TypeAlias = list[TupleRow]
SqlFlow: TypeAlias = Generator[Statement, Rows, _T]


def run(connection: Connection[Any], flow: SqlFlow[_T], *, overlapping: bool = False) -> _T:
    """Drive a flow inside the transaction of this connection; blocks for as long as the database takes.

    An overlapping one is driven in libpq's pipeline mode, where there is one: statements that are not awaited are
    carried out while the flow prepares the next. Where one of several fails, the driver may log a warning besides.
    Raises what the flow does, TransactionAbortedError, SchemaMissingError and PermissionMissingError, and else the
    driver's errors as they are.
    """
    if _must_begin(connection.info.transaction_status, autocommit=connection.autocommit):
        # Or the block below would be the transaction, and its end a commit.
        Cursor(connection).execute(_BEGIN)
    pipeline = connection.pipeline() if overlapping and capabilities.has_pipeline() else nullcontext()
    with connection.transaction(), _explained(), pipeline:
        turn = _Turn(flow)
        while (statement := turn.statement) is not None:
            cursor = Cursor(connection, row_factory=tuple_row)
            try:
                cursor.execute(named_statements()[statement.name], statement.parameters)
                rows = cursor.fetchall() if statement.awaited or not overlapping else []
            except psycopg.Error as error:
                turn.failed(error)
            else:
                turn.answered(rows)
        result: _T = turn.result
        return result


async def run_async(connection: AsyncConnection[Any], flow: SqlFlow[_T], *, overlapping: bool = False) -> _T:
    """Drive a flow as `run` does, in a coroutine."""
    if _must_begin(connection.info.transaction_status, autocommit=connection.autocommit):
        await AsyncCursor(connection).execute(_BEGIN)
    pipeline = connection.pipeline() if overlapping and capabilities.has_pipeline() else nullcontext()
    async with connection.transaction():
        with _explained():
            async with pipeline:
                turn = _Turn(flow)
                while (statement := turn.statement) is not None:
                    cursor = AsyncCursor(connection, row_factory=tuple_row)
                    try:
                        await cursor.execute(named_statements()[statement.name], statement.parameters)
                        rows = await cursor.fetchall() if statement.awaited or not overlapping else []
                    except psycopg.Error as error:
                        turn.failed(error)
                    else:
                        turn.answered(rows)
                result: _T = turn.result
                return result


@contextmanager
def _explained() -> Iterator[None]:
    """Raise an error of the schema or of rights as what it means to whoever called."""
    try:
        yield
    except _NO_SCHEMA as missing:
        raise SchemaMissingError(_schema_text(reason_of(missing))) from missing
    except psycopg.errors.InsufficientPrivilege as refused:
        msg = f"the connection's role lacks a right: {reason_of(refused)}; `tasker-actors db grant` gives it"
        raise PermissionMissingError(msg) from refused


class _Turn:
    """Where a flow is: the statement that it waits for, or its result."""

    def __init__(self, flow: SqlFlow[_T]) -> None:
        self._flow = flow
        self.statement: Statement | None = None
        self.result: Any = None
        self._go_on(lambda: next(flow))

    def answered(self, rows: Rows) -> None:
        """Give the flow what its statement returned."""
        self._go_on(lambda: self._flow.send(rows))

    def failed(self, error: psycopg.Error) -> None:
        """Raise the error where the flow waits."""
        self._go_on(lambda: self._flow.throw(error))

    def _go_on(self, step: Callable[[], Statement]) -> None:
        try:
            self.statement = step()
        except StopIteration as done:
            self.statement, self.result = None, done.value


def require_schema(version: int) -> SqlFlow[None]:
    """Raise SchemaMissingError unless the migration of this number was applied."""
    rows = yield Statement("schema_version", {})
    check_schema(rows[0][0], version)


def check_schema(applied: int | None, version: int) -> None:
    """Raise SchemaMissingError unless this is the number of a migration from the required one on."""
    if applied is None or applied < version:
        raise SchemaMissingError(_schema_text(f"its schema is at migration {applied}, and {version} is needed"))


def _schema_text(reason: str) -> str:
    return f"the connection's database has no schema of this release: {reason}; run `tasker-actors db migrate`"


def _must_begin(status: TransactionStatus, *, autocommit: bool) -> bool:
    if status == TransactionStatus.INERROR:
        msg = "the transaction of this connection has failed before: roll it back, then begin again"
        raise TransactionAbortedError(msg)
    return status == TransactionStatus.IDLE and not autocommit
