"""Migrations on real servers: in order, once, whoever else is at it, and with clear refusals."""

import subprocess
import sys
import threading

import psycopg
import pytest
from psycopg import sql
from support.waiting import until

from tasker_actors.errors import StartupError
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.migrate import load_migrations, migrate, status
from tasker_actors.postgres.schema_lock import SCHEMA_LOCK_KEY

STARTERS = 8


@pytest.fixture
def files(tmp_path):
    """Write migration files and return them as loaded."""

    def write(*scripts):
        for number, script in enumerate(scripts, start=1):
            (tmp_path / f"{number:04d}_step.sql").write_text(script, encoding="utf-8")
        return load_migrations(tmp_path)

    return write


@pytest.fixture
def connection(empty_database_url):
    """A connection to a database with nothing in it."""
    with connect(empty_database_url, application_name="tests") as opened:
        yield opened


def test_pending_migrations_run_once_and_in_order(connection, files):
    first = files("CREATE TABLE tasker.a (x int); INSERT INTO tasker.a VALUES (1);")
    assert status(connection, first).pending == ("0001_step.sql",)
    assert migrate(connection, first) == ("0001_step.sql",)
    both = files(
        "CREATE TABLE tasker.a (x int); INSERT INTO tasker.a VALUES (1);", "UPDATE tasker.a SET x = x + 1; SELECT '%';"
    )
    assert migrate(connection, both) == ("0002_step.sql",)
    assert migrate(connection, both) == ()
    assert connection.execute("SELECT x FROM tasker.a").fetchall() == [(2,)]
    found = status(connection, both)
    assert (found.applied, found.pending, found.newer) == (("0001_step.sql", "0002_step.sql"), (), ())


def test_many_processes_that_start_at_once_apply_each_migration_once(empty_database_url, files, tmp_path):
    # An INSERT has no IF NOT EXISTS: a migration that ran twice would show.
    known = files(
        "CREATE TABLE tasker.runs (step int); INSERT INTO tasker.runs VALUES (1);",
        "SELECT pg_sleep(0.1); INSERT INTO tasker.runs VALUES (2);",
        "INSERT INTO tasker.runs VALUES (3);",
    )
    code = (
        "import pathlib, sys\n"
        "from tasker_actors.postgres.connect import connect\n"
        "from tasker_actors.postgres.migrate import load_migrations, migrate\n"
        "from tasker_actors.postgres.pgmq_install import install_pgmq\n"
        "from tasker_actors.postgres.queues import ensure_queue\n"
        "with connect(sys.argv[1], application_name='starter') as connection:\n"
        "    sys.stdin.read(1)\n"
        "    print(*migrate(connection, load_migrations(pathlib.Path(sys.argv[2]))))\n"
        "    print(install_pgmq(connection).source)\n"
        "    ensure_queue(connection, 'flights_domain_events', correlation_index=True)\n"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_database_url, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(STARTERS)
    ]
    for starter in starters:
        starter.stdin.write("!")
        starter.stdin.flush()
    outputs = [starter.communicate(timeout=60)[0].splitlines() for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * STARTERS
    applied = sorted(name for output in outputs for name in output[0].split())
    assert applied == [migration.file_name for migration in known]
    assert {output[1] for output in outputs} == {"sql"}
    with connect(empty_database_url, application_name="tests") as connection:
        assert connection.execute("SELECT step FROM tasker.runs ORDER BY step").fetchall() == [(1,), (2,), (3,)]


def test_a_migration_that_fails_leaves_those_before_it_and_nothing_of_itself(connection, files):
    known = files("CREATE TABLE tasker.a (x int);", "CREATE TABLE tasker.b (x int);\n\nSELECT nothing\nFROM nowhere;")
    with pytest.raises(StartupError, match=r'0002_step\.sql: relation "nowhere" does not exist \(line 4\)'):
        migrate(connection, known)
    assert status(connection, known).pending == ("0002_step.sql",)
    assert connection.execute("SELECT to_regclass('tasker.b')").fetchone() == (None,)


def test_a_migration_that_ends_its_transaction_is_refused(connection, files):
    with pytest.raises(StartupError, match="must not contain COMMIT"):
        migrate(connection, files("CREATE TABLE tasker.a (x int); COMMIT;"))


def test_a_file_changed_after_it_was_applied_is_an_error(connection, files):
    migrate(connection, files("CREATE TABLE tasker.a (x int);"))
    changed = files("CREATE TABLE tasker.a (x bigint);", "SELECT 1;")
    for act in (migrate, status):
        with pytest.raises(StartupError, match=r"0001_step\.sql is not the one that this database got"):
            act(connection, changed)


def test_a_database_of_a_later_release_is_told_and_left_alone(connection, files):
    both = files("CREATE TABLE tasker.a (x int);", "CREATE TABLE tasker.b (x int);")
    migrate(connection, both)
    assert migrate(connection, both[:1]) == ()
    found = status(connection, both[:1])
    assert found.newer == ("0002_step.sql",)
    assert found.current == "0002_step.sql"


def test_a_role_that_may_create_nothing_works_on_a_migrated_database(connection, files, empty_database_url):
    known = files("CREATE TABLE tasker.a (x int);")
    role = f"reader_{connection.info.dbname}"
    name = sql.Identifier(role)
    connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    try:
        migrate(connection, known)
        connection.execute(sql.SQL("SET ROLE {}").format(name))
        with pytest.raises(StartupError, match="grant it USAGE"):
            status(connection, known)
        connection.execute("RESET ROLE")
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA tasker TO {}").format(name))
        connection.execute(sql.SQL("GRANT SELECT ON tasker.migrations TO {}").format(name))
        connection.execute(sql.SQL("SET ROLE {}").format(name))
        assert migrate(connection, known) == ()
        more = files("CREATE TABLE tasker.a (x int);", "CREATE TABLE tasker.b (x int);")
        with pytest.raises(StartupError, match="pending migrations and this role may not apply them"):
            migrate(connection, more)
    finally:
        connection.execute("RESET ROLE")
        connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))


def test_who_holds_the_lock_for_too_long_is_told_about(connection, files, empty_database_url):
    known = files("CREATE TABLE tasker.a (x int);")
    with psycopg.connect(empty_database_url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY])
        with pytest.raises(StartupError, match="changing the database's schema for 100 ms"):
            migrate(connection, known, lock_timeout_ms=100)
    assert migrate(connection, known) == ("0001_step.sql",)


def test_a_migration_that_loses_a_deadlock_against_a_worker_is_repeated(connection, files, empty_database_url):
    migrate(connection, files("CREATE TABLE tasker.a (x int); CREATE TABLE tasker.b (x int);"))
    known = files(
        "CREATE TABLE tasker.a (x int); CREATE TABLE tasker.b (x int);",
        "ALTER TABLE tasker.a ADD COLUMN y int; ALTER TABLE tasker.b ADD COLUMN y int;",
    )
    # A session looks for a deadlock once, this long after it began to wait: by then the worker waits too.
    connection.execute("SET deadlock_timeout = '2s'")
    with psycopg.connect(empty_database_url) as worker, psycopg.connect(empty_database_url, autocommit=True) as watcher:
        # The worker does not look within the test, so that it is the migration that loses.
        worker.execute("SET LOCAL deadlock_timeout = '1min'")
        worker.execute("LOCK TABLE tasker.b")
        applied = []
        migration = threading.Thread(target=lambda: applied.extend(migrate(connection, known)))
        migration.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tasker.b'::regclass"
        until(lambda: watcher.execute(waits).fetchone()[0] == 1)
        worker.execute("LOCK TABLE tasker.a")
        worker.commit()
        migration.join()
    assert applied == ["0002_step.sql"]


def test_a_connection_inside_a_transaction_is_refused(empty_database_url, files):
    with (
        connect(empty_database_url, application_name="tests", autocommit=False) as connection,
        pytest.raises(ValueError, match="autocommit"),
    ):
        migrate(connection, files("SELECT 1;"))
