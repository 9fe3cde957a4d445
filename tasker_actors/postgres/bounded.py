"""Connections that do not wait for ever for a server that is there and says nothing."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self, TypeVar

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

_T = TypeVar("_T")


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time; the connection was closed, and what it did with the statement is not known."""


class BoundedConnection(Connection[TupleRow]):
    """Closes itself where the server does not answer a statement within `answer_timeout_s`; None waits for ever.

    A stopped server process, or a middleman that swallows what is sent, keeps a connection open and acknowledged:
    neither keepalives nor `tcp_user_timeout` notice it, and a time limit of the server's own is in the silent part.
    """

    answer_timeout_s: float | None = None

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **kwargs: Any) -> _T:
        """Wait for one exchange with the server; raises NoAnswerError past the time limit."""
        if self.answer_timeout_s is None or kwargs.get("timeout") is not None:
            return super().wait(gen, *args, **kwargs)  # waiting for notifications has its own time limit
        try:
            return super().wait(_until(gen, self.answer_timeout_s), *args, **kwargs)
        except NoAnswerError:
            self.pgconn.finish()
            raise


class PooledConnection(BoundedConnection):
    """Connections of one pool, by a subclass of its own, that know why the last one could not be made."""

    last_failure: ClassVar[str | None] = None

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        """Connect as psycopg does; raises what that raises."""
        try:
            connection = super().connect(*args, **kwargs)
        except psycopg.Error as error:
            cls.last_failure = str(error)
            raise
        cls.last_failure = None
        return connection


@contextmanager
def unbounded(connection: Connection[Any]) -> Iterator[None]:
    """Let statements of the block take as long as they take: a change of the schema may wait, and rewrite a table."""
    if not isinstance(connection, BoundedConnection):
        yield
        return
    limit, connection.answer_timeout_s = connection.answer_timeout_s, None
    try:
        yield
    finally:
        connection.answer_timeout_s = limit


def _until(gen: Generator[Any, Any, _T], limit_s: float) -> Generator[Any, Any, _T]:
    """Pass on what libpq waits for; the caller looks in several times a second, also when nothing happened."""
    deadline = time.monotonic() + limit_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                msg = f"the server did not answer within {limit_s:g} s"
                raise NoAnswerError(msg)
            wanted = gen.send(ready)
    except StopIteration as end:
        result: _T = end.value
        return result
