"""Connections to real servers, direct and through a pooler, and waiting for a server that is not there."""

import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tasker_actors.errors import ConfigurationError, DatabaseUnavailableError, StartupError
from tasker_actors.postgres.connect import connect, open_pool
from tasker_actors.postgres.migrate import migrate, status
from tasker_actors.postgres.queues import ensure_queue
from tasker_actors.postgres.wait import check_server, until_it_works, wait_for_database
from tasker_actors.settings import DatabaseSettings

LIMITS = DatabaseSettings(idle_in_transaction_timeout_ms=1_234)


def shown(connection, name):
    return connection.execute(f"SHOW {name}").fetchone()[0]


@pytest.fixture
def silent_port():
    """A port where connections are accepted and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []
        done = threading.Event()
        listener.settimeout(0.05)

        def accept():
            while not done.is_set():
                try:
                    accepted.append(listener.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        done.set()
        thread.join()
        for peer in accepted:
            peer.close()


def test_a_direct_session_has_our_limits_and_isolation(any_database_url):
    with connect(any_database_url, application_name="worker-3", database=LIMITS) as connection:
        assert shown(connection, "idle_in_transaction_session_timeout") == "1234ms"
        assert shown(connection, "client_connection_check_interval") == "5s"
        assert shown(connection, "application_name") == "worker-3"
        assert connection.prepare_threshold is not None
        connection.execute("SET default_transaction_isolation = 'serializable'")
        with connection.transaction():
            assert shown(connection, "transaction_isolation") == "read committed"


def test_a_server_whose_default_is_another_isolation_changes_nothing(any_database_url):
    with connect(any_database_url, application_name="t") as connection:
        name = psycopg.sql.Identifier(connection.info.dbname)
        statement = psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'")
        connection.execute(statement.format(name))
    with connect(any_database_url, application_name="t") as connection:
        assert shown(connection, "transaction_isolation") == "read committed"


def test_json_goes_and_comes_as_python_values(any_database_url):
    value = {"numbers": [1, 2.5, None], "text": "ünï"}
    with connect(any_database_url, application_name="t") as connection:
        assert connection.execute("SELECT %s::jsonb", [psycopg.types.json.Jsonb(value)]).fetchone() == (value,)


def test_a_pool_gives_the_same_connections(any_database_url):
    with open_pool(any_database_url, application_name="web", max_size=2, database=LIMITS) as pool:
        with pool.connection() as connection:
            assert shown(connection, "idle_in_transaction_session_timeout") == "1234ms"
            assert connection.autocommit
            pid = connection.info.backend_pid
            connection.execute("SELECT 1")
        with connect(any_database_url, application_name="t") as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        with pool.connection() as connection:
            assert connection.info.backend_pid != pid


def test_through_a_pooler_no_session_state_is_left_behind(pgbouncer_url):
    first = connect(pgbouncer_url, application_name="a", database=LIMITS)
    with first, connect(pgbouncer_url, application_name="b", database=LIMITS) as second:
        assert first.prepare_threshold is None
        for connection in (first, second):
            assert shown(connection, "idle_in_transaction_session_timeout") == "0"
            assert shown(connection, "default_transaction_isolation") == "read committed"
            # More often than psycopg waits for before it prepares a statement.
            for number in range(12):
                assert connection.execute("SELECT %s::int", [number]).fetchone() == (number,)


def test_the_schema_can_be_changed_through_a_pooler(pgbouncer_url):
    with connect(pgbouncer_url, application_name="a") as connection:
        assert migrate(connection) == ()
        assert status(connection).pending == ()
        assert ensure_queue(connection, "flights_domain_events", correlation_index=True) is True


def test_waiting_ends_when_the_server_answers(any_database_url):
    assert wait_for_database(any_database_url, timeout_ms=10_000) >= 150_000


def test_a_server_that_is_not_there_is_named_in_time_without_its_password():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailableError) as caught:
        wait_for_database(f"postgresql://user:s3cret@127.0.0.1:{port}/d", timeout_ms=500)
    assert time.monotonic() - started < 1.5
    assert re.match(
        rf"PostgreSQL at 127\.0\.0\.1:{port} could not be reached within 500 ms: .*refused", str(caught.value)
    )
    assert "s3cret" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up_in_time(silent_port):
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match=f"127.0.0.1:{silent_port}"):
        wait_for_database(f"postgresql://user:s3cret@127.0.0.1:{silent_port}/d", timeout_ms=500)
    assert time.monotonic() - started < 1.5


def test_a_wrong_password_is_told_and_not_shown(debian_server):
    wrong = re.sub(r":[^:@]+@", ":s3cret@", debian_server.url)
    with pytest.raises(DatabaseUnavailableError, match="password authentication failed") as caught:
        wait_for_database(wrong, timeout_ms=3_000)
    assert "s3cret" not in str(caught.value)


def test_a_reason_is_not_forgotten_because_the_last_attempt_had_no_time_left():
    attempts = []

    def attempt():
        attempts.append(None)
        if len(attempts) == 1:
            raise psycopg.OperationalError("FATAL: too many clients")
        threading.Event().wait(60)

    with pytest.raises(DatabaseUnavailableError, match=r"too many clients: end sessions that nobody needs"):
        until_it_works("postgresql://user@127.0.0.1/d", attempt, timeout_ms=1_000)
    assert len(attempts) == 2


def refused(url, **options):
    with pytest.raises(DatabaseUnavailableError) as caught:
        wait_for_database(url, timeout_ms=3_000, to_write=True, **options)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


def test_what_refuses_a_start_is_told_with_the_address_and_what_to_do(debian_server):
    address = "PostgreSQL at 127.0.0.1:"
    with psycopg.connect(debian_server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE outsider LOGIN PASSWORD 's3cret'")
        connection.execute("CREATE ROLE crowd LOGIN PASSWORD 's3cret' CONNECTION LIMIT 0")
        connection.execute("CREATE DATABASE closed")
        connection.execute("REVOKE CONNECT ON DATABASE closed FROM public")

    def of(role, database="postgres"):
        return re.sub(r"//[^@]+@", f"//{role}:s3cret@", debian_server.database_url(database))

    used = {
        re.sub(r":[^:@]+@", ":s3cret@", debian_server.url): "correct user and password",
        debian_server.database_url("missing"): "create the database, or correct its name",
        of("outsider", "closed"): "grant the role CONNECT",
        of("crowd"): "raise max_connections",
        f"{debian_server.url}?options=-c%20default_transaction_read_only%3Don": "give the primary's address",
    }
    reached = {
        "postgresql://user:s3cret@no-such-host.invalid/d": "correct the host name",
        "postgresql://user:s3cret@127.0.0.1:1/d": "start the server, or correct host and port",
    }
    # Each is tried until its time is over: side by side.
    with ThreadPoolExecutor(len(used) + len(reached)) as threads:
        messages = dict(zip((*used, *reached), threads.map(refused, (*used, *reached)), strict=True))
    for url, words in used.items():
        assert messages[url].startswith(address)
        assert " could not be used within 3000 ms: " in messages[url]
        assert words in messages[url]
    for url, words in reached.items():
        assert words in messages[url]


def test_a_server_that_is_starting_up_is_waited_for(debian_server):
    """A stand-in for the server says what a starting one says, once."""
    fatal = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    refusal = b"E" + (len(fatal) + 4).to_bytes(4, "big") + fatal
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer():
            with listener.accept()[0] as client:
                client.recv(1000)
                client.sendall(refusal)

        url = f"postgresql://user:s3cret@127.0.0.1:{port}/d?sslmode=disable&gssencmode=disable"
        for _ in range(20):
            threading.Thread(target=answer, daemon=True).start()
        assert "wait for it, or raise supervisor.startup_timeout_ms" in refused(url)


def test_an_unreadable_url_is_refused_at_once():
    with pytest.raises(ConfigurationError):
        wait_for_database("postgresql://u:p/w@h/d", timeout_ms=60_000)


def test_a_server_older_than_15_is_refused(any_database_url, monkeypatch):
    with connect(any_database_url, application_name="t") as connection:
        assert check_server(connection) == connection.info.server_version
        monkeypatch.setattr("tasker_actors.postgres.wait.OLDEST_SERVER", 99)
        with pytest.raises(StartupError, match=r"is version 1\d: 99 or later is needed"):
            check_server(connection)
    with pytest.raises(StartupError, match="or later is needed"):
        wait_for_database(any_database_url, timeout_ms=60_000)
