"""The `db` commands as a user runs them, on the embedded server and on one with a URL."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from support.environment import bare

from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.embedded import EmbeddedServer, running_url
from tasker_actors.postgres.migrate import load_migrations

LAST = load_migrations()[-1].file_name


def db(*arguments, home=".tasker", check=0, **variables):
    """Run a `db` command in a process of its own; returns its standard output and its standard error."""
    done = subprocess.run(
        [sys.executable, "-c", "from tasker_actors.cli.app import main; main()", "db", *arguments],
        env=bare(TASKER_HOME=str(home), **variables),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == check, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def home():
    # Short, because the path of a Unix socket is; and passable for the server's account.
    path = Path(tempfile.mkdtemp(prefix="tasker-cli-"))
    yield path
    shutil.rmtree(path)


def test_without_a_url_the_embedded_server_is_used_and_stopped_again(home):
    before = json.loads(db("status", "--json", home=home)[0])
    applied = json.loads(db("migrate", "--json", home=home)[0])
    out, _ = db("status", "--json", home=home)
    after = json.loads(out)

    assert before["embedded"] is True
    assert (before["migration"], before["pgmq_version"]) == (None, None)
    assert before["pending"] == [migration.file_name for migration in load_migrations()]
    assert applied["applied"] == before["pending"]
    assert set(after) == {"database_url", "server_version", "pgmq_version", "migration", "pending", "embedded"}
    assert (after["migration"], after["pending"]) == (LAST, [])
    assert after["pgmq_version"] == applied["pgmq_version"]
    assert after["server_version"].split(".")[0].isdigit()
    assert len(out.splitlines()) == 1
    assert running_url(home) is None


def test_an_embedded_server_that_runs_goes_on(home):
    server = EmbeddedServer.start(home, 60_000)
    try:
        status = json.loads(db("status", "--json", home=home)[0])

        assert status["database_url"] == server.url
        assert server.is_running()
        with psycopg.connect(status["database_url"]) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        assert server.stop(time.monotonic() + 20)


def test_a_server_that_its_killed_supervisor_left_behind_goes_on_too(home):
    start = "import os, sys; from pathlib import Path; from tasker_actors.postgres.embedded import EmbeddedServer\n"
    start += "EmbeddedServer.start(Path(sys.argv[1]), 60_000); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", start, str(home)], check=False, timeout=100)
    before = running_url(home)
    try:
        status = json.loads(db("status", "--json", home=home)[0])

        assert before is not None
        assert (status["database_url"], running_url(home)) == (before, before)
    finally:
        assert EmbeddedServer.start(home, 60_000).stop(time.monotonic() + 20)


def test_a_url_is_shown_whole_as_json_and_without_its_password_otherwise(debian_server):
    with debian_server.database(migrated=True) as url:
        whole = json.loads(db("status", "--json", DATABASE_URL=url)[0])
        out, err = db("status", "--database-url", url)

    assert whole["database_url"] == url
    assert whole["embedded"] is False
    assert "***" in out
    password = url.partition("//")[2].partition("@")[0].partition(":")[2]
    assert password not in out + err


def test_migrating_twice_applies_nothing_the_second_time(empty_database_url):
    first, _ = db("migrate", "--database-url", empty_database_url)
    second, _ = db("migrate", "--database-url", empty_database_url)

    assert first.splitlines()[-2:] == [f"applied {LAST}", f"the schema is at {LAST}"]
    assert second == f"the schema is at {LAST}\n"


def test_status_changes_nothing(empty_database_url):
    db("status", "--database-url", empty_database_url)

    with connect(empty_database_url, application_name="tests") as connection:
        assert connection.execute("SELECT to_regnamespace('tasker'), to_regnamespace('pgmq')").fetchone() == (
            None,
            None,
        )


def test_prune_deletes_what_is_old_enough_and_says_how_much(database_url):
    with connect(database_url, application_name="tests") as connection:
        connection.execute(
            """
            INSERT INTO tasker.tasks (task_uuid, template_id, namespace, name, version, status, open_steps, context,
                                      context_bytes, correlation_id, traceparent, created_at, updated_at, completed_at)
            SELECT gen_random_uuid(), 1, 'flights', 'day', '1.0.0', 'complete', 0, '{}', 2, gen_random_uuid(), '',
                   now() - age, now() - age, now() - age
            FROM unnest(ARRAY['1 hour', '40 days', '50 days']::interval[]) AS age
            """
        )

        out, _ = db("prune", "--older-than", "30d", "--json", DATABASE_URL=database_url)
        again, _ = db("prune", "--older-than", "30m", "--only", "finished_tasks", DATABASE_URL=database_url)

        assert connection.execute("SELECT count(*) FROM tasker.tasks").fetchone() == (0,)
        none = dict.fromkeys(("attempts", "dead_letters", "task_dead_letters", "step_audits"), 0)
        assert json.loads(out) == {"deleted": {"finished_tasks": 2, **none}}
    assert again == "finished_tasks  1 deleted\n"


def test_prune_of_a_database_without_the_schema_says_what_to_do(empty_database_url):
    out, err = db("prune", "--older-than", "30d", check=3, DATABASE_URL=empty_database_url)

    assert out == ""
    assert "tasker-actors db migrate" in err


def test_a_database_that_cannot_be_reached_is_3_without_its_password():
    variables = {"DATABASE_URL": "postgresql://user:geheim@127.0.0.1:1/x", "TASKER_DATABASE__CONNECT_TIMEOUT_MS": "50"}

    out, err = db("status", "--json", check=3, **variables)

    assert out == ""
    error = json.loads(err)["error"]
    assert error["code"] == "database_unavailable"
    assert "127.0.0.1:1" in error["message"]
    assert "geheim" not in err


def test_settings_that_cannot_be_used_are_2(tmp_path):
    file = tmp_path / "tasker.toml"
    file.write_text("[database]\nurll = 'x'\n")

    _, err = db("status", "--config", str(file), check=2)

    assert "database.urll; did you mean database.url?" in err
