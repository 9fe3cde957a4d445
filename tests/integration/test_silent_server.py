"""Connections whose server process is stopped: open, acknowledged, and without an answer (DESIGN 3 rule 12)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from support.away import frozen
from support.servers import DatabaseServer

from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.bounded import NoAnswerError
from tasker_actors.postgres.connect import connect, open_pool
from tasker_actors.postgres.notifications import Listener
from tasker_actors.postgres.schema_lock import schema_change
from tasker_actors.postgres.session import OutcomeUnknownError, Pool, session
from tasker_actors.settings import DatabaseSettings

LIMITS = DatabaseSettings(answer_timeout_ms=300, connect_timeout_ms=5_000)


@pytest.fixture
def pool(embedded_server: DatabaseServer) -> Iterator[Pool]:
    with open_pool(embedded_server.url, application_name="silent", max_size=2, database=LIMITS) as pool:
        yield pool


@pytest.mark.parametrize("earlier", [0, 8], ids=["not prepared", "prepared"])
def test_a_statement_without_an_answer_ends_its_connection(embedded_server: DatabaseServer, earlier: int):
    connection = connect(embedded_server.url, application_name="silent", database=LIMITS)
    for _ in range(earlier):
        connection.execute("SELECT %s::int", [1])
    with frozen(connection.info.backend_pid), pytest.raises(NoAnswerError, match=r"did not answer within 0\.3 s"):
        connection.execute("SELECT %s::int", [1])
    assert connection.closed


def test_a_change_of_the_schema_takes_as_long_as_it_takes(embedded_server: DatabaseServer):
    with connect(embedded_server.url, application_name="slow", database=LIMITS) as connection:
        with schema_change(connection):
            assert connection.execute("SELECT 1 FROM pg_sleep(0.7)").fetchone() == (1,)
        with pytest.raises(NoAnswerError):
            connection.execute("SELECT pg_sleep(0.7)")


def test_a_pool_gives_a_request_another_connection_in_place_of_a_silent_one(pool: Pool):
    with session(pool) as connection:
        silent = connection.info.backend_pid
    with frozen(silent), session(pool) as connection:
        assert connection.info.backend_pid != silent
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_request_that_gets_no_answer_has_an_unknown_outcome(pool: Pool):
    with pytest.raises(OutcomeUnknownError), session(pool) as connection, frozen(connection.info.backend_pid):
        connection.execute("SELECT 1")


def test_a_listener_asks_for_a_sign_of_life(embedded_server: DatabaseServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tasker_actors.postgres.notifications._CHECK_S", 0.1)
    listener = Listener(embedded_server.url, LIMITS)

    def pid_of_listener() -> int:
        with psycopg.connect(embedded_server.url) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tasker wakeups'"
            return int(connection.execute(query).fetchall()[-1][0])

    with ExitStack() as stack:
        heard = listener.notifications(["silent"], lambda: stack.enter_context(frozen(pid_of_listener())))
        with pytest.raises(DatabaseUnavailableError, match="did not answer"):
            next(heard)
