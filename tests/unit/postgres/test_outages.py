"""What an error of PostgreSQL means for work in hand, and a connection that comes back (DESIGN 3 rules 7 and 9)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tasker_actors.postgres.outages import Session, Trouble, trouble


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.OperationalError("connection refused"), Trouble.CONNECTION),
        (psycopg.InterfaceError("the connection is closed"), Trouble.CONNECTION),
        (errors.ConnectionFailure(), Trouble.CONNECTION),
        (errors.AdminShutdown(), Trouble.CONNECTION),
        (errors.CrashShutdown(), Trouble.CONNECTION),
        (errors.CannotConnectNow(), Trouble.CONNECTION),
        (errors.QueryCanceled(), Trouble.CONNECTION),
        (errors.DeadlockDetected(), Trouble.REPEAT),
        (errors.SerializationFailure(), Trouble.REPEAT),
        (errors.LockNotAvailable(), Trouble.REPEAT),
        (errors.DiskFull(), Trouble.REPEAT),
        (errors.OutOfMemory(), Trouble.REPEAT),
        (errors.TooManyConnections(), Trouble.REPEAT),
        (errors.ReadOnlySqlTransaction(), Trouble.CONNECTION),
        (errors.IdleInTransactionSessionTimeout(), Trouble.CONNECTION),
        (errors.TransactionTimeout(), Trouble.CONNECTION),
        (errors.IoError(), Trouble.REPEAT),
        (errors.UntranslatableCharacter(), Trouble.CONTENT),
        (errors.UndefinedTable(), Trouble.CONTENT),
        (errors.CheckViolation(), Trouble.CONTENT),
        (errors.ProgramLimitExceeded(), Trouble.CONTENT),
        (errors.StatementTooComplex(), Trouble.CONTENT),
        (errors.ObjectInUse(), Trouble.CONTENT),
        (errors.InternalError_(), Trouble.CONTENT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, psycopg.Error) else value.name,
)
def test_an_error_is_sorted_by_what_another_try_would_bring(error: psycopg.Error, kind: Trouble):
    assert trouble(error) is kind


class Line:
    """A connection that may be closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        """Close it."""
        self.closed = True


class Server:
    """Gives connections, or refuses them while it is away."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.is_away = False

    def connect(self) -> Any:
        """Give a connection."""
        if self.is_away:
            raise psycopg.OperationalError("connection refused")
        self.lines.append(Line())
        return self.lines[-1]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def session(server: Server) -> Session:
    return Session(server.connect, backoff_ms=100, backoff_max_ms=1000)


def test_a_connection_is_made_when_it_is_first_needed_and_kept(session: Session, server: Server):
    assert server.lines == []
    assert session.connection() is session.connection()
    assert len(server.lines) == 1


def test_a_lost_connection_is_closed_and_made_again(session: Session, server: Server):
    lost: Any = session.connection()

    assert session.failed(errors.AdminShutdown()) is Trouble.CONNECTION

    assert lost.closed
    assert session.connection() is not lost


def test_a_connection_that_was_closed_by_somebody_else_is_made_again(session: Session):
    closed: Any = session.connection()
    closed.close()

    assert session.connection() is not closed


@pytest.mark.parametrize("error", [errors.DeadlockDetected(), errors.UntranslatableCharacter()])
def test_an_error_of_a_statement_leaves_the_connection_open(session: Session, error: psycopg.Error):
    line = session.connection()
    session.failed(error)

    assert session.connection() is line


def test_it_says_since_when_the_database_does_not_answer(session: Session, server: Server):
    moments = [session.away_since]
    server.is_away = True
    before = time.monotonic()
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError) as caught:
            session.connection()
        session.failed(caught.value)
        moments.append(session.away_since)
    session.worked()
    moments.append(session.away_since)

    first, since, still, last = moments
    assert (first, last) == (None, None)
    assert still == since is not None
    assert before <= (since or 0) <= time.monotonic()


def test_a_refused_statement_is_an_answer_and_no_outage(session: Session):
    session.failed(errors.CheckViolation())

    assert session.away_since is None


def test_pauses_double_with_jitter_up_to_a_limit_and_begin_anew_after_an_answer(session: Session):
    def pauses(count: int) -> list[float]:
        found = []
        for _ in range(count):
            session.failed(errors.DeadlockDetected())
            found.append(session.pause_s())
        return found

    for pause, limit in zip(pauses(30), [0.2, 0.4, 0.8, *[1.0] * 27], strict=True):
        assert limit / 2 <= pause <= limit
    session.worked()
    assert pauses(1)[0] <= 0.2


def test_closing_twice_is_no_error(session: Session):
    session.close()
    session.connection()
    session.close()
    session.close()


def test_a_session_closes_what_it_made(session: Session, server: Server):
    close: Callable[[], None] = session.close
    session.connection()
    close()

    assert [line.closed for line in server.lines] == [True]
