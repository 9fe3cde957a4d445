"""PGMQ and its queues on real servers."""

import shutil
import tempfile
from pathlib import Path

import pytest
from pgmq import PGMQueue, get_embedded_install_sql
from psycopg import sql

from tasker_actors.errors import StartupError
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.pgmq_install import PgmqSource, find_pgmq, install_pgmq
from tasker_actors.postgres.queues import ensure_queue

QUEUE = "flights_domain_events"
SEED_QUERY = (
    "SELECT message->>'event_name' AS event, message->'metadata'->>'step_name' AS step, "
    "message->'metadata'->>'fired_at' AS fired_at FROM pgmq.q_flights_domain_events "
    "WHERE message->'metadata'->>'correlation_id' = 'c7' ORDER BY message->'metadata'->>'fired_at'"
)


@pytest.fixture
def connection(empty_database_url):
    """A connection to a database with nothing in it."""
    with connect(empty_database_url, application_name="tests") as opened:
        yield opened


def options_of(connection, table):
    row = connection.execute("SELECT reloptions FROM pg_class WHERE oid = %s::regclass", [table]).fetchone()
    return dict(option.split("=") for option in row[0] or [])


def file_nodes(connection):
    """Return what would change if a table or index were made or rewritten again."""
    return connection.execute(
        "SELECT relname, relfilenode, xmin::text FROM pg_class WHERE relnamespace = 'pgmq'::regnamespace ORDER BY 1"
    ).fetchall()


def test_the_shipped_sql_is_installed_once_and_its_version_kept(connection):
    assert find_pgmq(connection) is None
    installed = install_pgmq(connection)
    assert installed.source is PgmqSource.SQL
    assert installed.version is not None
    assert installed.version[0].isdigit()
    before = file_nodes(connection)
    assert install_pgmq(connection) == installed
    assert file_nodes(connection) == before


def test_an_installation_by_somebody_else_is_used_as_it_is(connection):
    connection.execute(get_embedded_install_sql().encode())
    found = install_pgmq(connection)
    assert (found.source, found.version) == (PgmqSource.SQL, None)


def test_a_pgmq_without_headers_is_refused(connection):
    connection.execute("CREATE SCHEMA pgmq")
    connection.execute("CREATE FUNCTION pgmq.create(text) RETURNS void LANGUAGE sql AS ''")
    with pytest.raises(StartupError, match=r"no message headers: update it to 1\.5"):
        install_pgmq(connection)


def test_a_role_that_may_not_install_is_told_what_to_do(connection):
    name = sql.Identifier(f"plain_{connection.info.dbname}")
    connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    try:
        connection.execute(sql.SQL("SET ROLE {}").format(name))
        with pytest.raises(StartupError, match="this role may not install it"):
            install_pgmq(connection)
        connection.execute("RESET ROLE")
        install_pgmq(connection)
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA pgmq TO {}").format(name))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA pgmq TO {}").format(name))
        ensure_queue(connection, QUEUE)
        connection.execute(sql.SQL("SET ROLE {}").format(name))
        assert install_pgmq(connection).source is PgmqSource.SQL
        assert ensure_queue(connection, QUEUE) is False
        with pytest.raises(StartupError, match="queue other does not exist and this role may not create it"):
            ensure_queue(connection, "other")
    finally:
        connection.execute("RESET ROLE")
        connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))


def test_a_queue_is_made_for_many_updates_and_only_once(connection):
    install_pgmq(connection)
    assert ensure_queue(connection, QUEUE, correlation_index=True) is True
    options = options_of(connection, f"pgmq.q_{QUEUE}")
    assert options["fillfactor"] == "70"
    assert float(options["autovacuum_vacuum_scale_factor"]) < 0.2
    before = file_nodes(connection)
    assert ensure_queue(connection, QUEUE, correlation_index=True) is False
    assert file_nodes(connection) == before


def test_a_queue_made_by_somebody_else_gets_what_it_lacks(connection):
    install_pgmq(connection)
    connection.execute("SELECT pgmq.create(%s)", [QUEUE])
    assert ensure_queue(connection, QUEUE) is True
    assert ensure_queue(connection, QUEUE) is False
    assert ensure_queue(connection, QUEUE, correlation_index=True) is True


def test_the_query_by_correlation_id_uses_its_index(connection):
    install_pgmq(connection)
    ensure_queue(connection, QUEUE, correlation_index=True)
    connection.execute(
        "INSERT INTO pgmq.q_flights_domain_events (vt, message) "
        "SELECT now(), jsonb_build_object('event_name', 'flight.delayed', 'metadata', jsonb_build_object("
        "'correlation_id', 'c' || i, 'step_name', 'assess', 'fired_at', now())) FROM generate_series(1, 2000) AS i"
    )
    connection.execute("ANALYZE pgmq.q_flights_domain_events")
    plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {SEED_QUERY}"))
    assert f"ix_{QUEUE}_correlation" in plan
    assert [row[:2] for row in connection.execute(SEED_QUERY)] == [("flight.delayed", "assess")]


@pytest.mark.parametrize("name", ["Bad", "has-dash", "", "1st", "a" * 48, 'q"; DROP TABLE x; --', "naïve"])
def test_a_name_that_pgmq_would_mishandle_is_refused(connection, name):
    with pytest.raises(StartupError, match="1 to 47 characters"):
        ensure_queue(connection, name)


def test_the_longest_name_works_with_its_index(connection):
    install_pgmq(connection)
    name = "q" * 47
    assert ensure_queue(connection, name, correlation_index=True) is True
    assert ensure_queue(connection, name, correlation_index=True) is False


def test_the_pgmq_packages_own_client_works(connection, empty_database_url):
    install_pgmq(connection)
    ensure_queue(connection, QUEUE)
    client = PGMQueue(conn_string=empty_database_url, init_extension=False, pool_size=1)
    try:
        sent = client.send(QUEUE, {"event_name": "flight.delayed"}, headers={"traceparent": "00-1-2-01"})
        message = client.read(QUEUE, vt=0)
        assert message.msg_id == sent
        assert message.headers == {"traceparent": "00-1-2-01"}
    finally:
        client.close()


@pytest.fixture
def extension_database(embedded_server):
    """A database whose server has PGMQ as an extension, made of the SQL that the `pgmq` package ships."""
    directory = Path(tempfile.mkdtemp(prefix="tasker-extension-"))
    extension = directory / "extension"
    extension.mkdir()
    control = "comment = 'queues'\ndefault_version = '1.99.0'\nschema = 'pgmq'\nsuperuser = true\nrelocatable = false\n"
    (extension / "pgmq.control").write_text(control, encoding="utf-8")
    (extension / "pgmq--1.99.0.sql").write_text(get_embedded_install_sql(), encoding="utf-8")
    for path in (directory, extension):
        path.chmod(0o755)
    with embedded_server.database(migrated=False) as url:
        with connect(url, application_name="tests") as connection:
            path = sql.Literal(f"{directory}:$system")
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("ALTER DATABASE {} SET extension_control_path = {}").format(name, path))
        yield url
    shutil.rmtree(directory)


def test_the_extension_is_taken_where_the_server_has_it(extension_database):
    with connect(extension_database, application_name="tests") as connection:
        installed = install_pgmq(connection)
        assert (installed.source, installed.version) == (PgmqSource.EXTENSION, "1.99.0")
        assert install_pgmq(connection) == installed
        assert ensure_queue(connection, QUEUE, correlation_index=True) is True


def test_a_role_that_may_not_create_the_extension_gets_the_sql(extension_database):
    with connect(extension_database, application_name="tests") as connection:
        database = sql.Identifier(connection.info.dbname)
        role = sql.Identifier(f"owner_{connection.info.dbname}")
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        try:
            connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, role))
            connection.execute(sql.SQL("SET ROLE {}").format(role))
            assert install_pgmq(connection).source is PgmqSource.SQL
            assert ensure_queue(connection, QUEUE) is True
        finally:
            connection.execute("RESET ROLE")
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))
