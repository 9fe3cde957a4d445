"""A role that can create nothing runs a system that its owner has prepared, with what `db grant` gives it alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from support.environment import bare
from support.project import Project
from support.supervised import COMMAND, Supervised, run_to_end, supervised
from support.waiting import until

# Names that a statement put together carelessly would stumble over.
ROLE = 'runtime; DROP SCHEMA tasker -- "it\'s"'
PASSWORD = "canary-9f2c"

HANDLERS = """
    from tasker_actors import step_handler

    @step_handler("work")
    def work(context):
        return {"n": 1}

    @step_handler("fail")
    def fail(context):
        raise ValueError("on purpose")
"""


def command(*arguments: object, url: str, check: int = 0) -> tuple[str, str]:
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        env=bare(DATABASE_URL=url),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == check, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.module("role_handlers", HANDLERS)
    steps = {
        "work": {
            "publishes_events": [
                {"name": "work.done"},
                {"name": "work.refused", "schema": {"type": "object", "required": ["missing"]}},
            ]
        },
        "after": {"handler": "work", "dependencies": ["work"]},
    }
    project.template("one", steps, namespace="first")
    project.template("bad", {"fail": {"retry": {"retryable": False}}}, namespace="first")
    return project


@pytest.fixture
def role_url(database_url: str) -> Iterator[str]:
    """The URL of a role that owns nothing, on a server where even PUBLIC may not call new functions."""
    name = sql.Identifier(ROLE)
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA tasker, pgmq FROM PUBLIC")
        owner.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(PASSWORD)))
        try:
            yield make_conninfo(database_url, user=ROLE, password=PASSWORD)
        finally:
            owner.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


def works(one: Supervised) -> None:
    """Tasks that succeed and fail, durable events, a dead letter and its way back."""
    task = one.run("one", namespace="first")
    assert [row["message"]["event_name"] for row in one.messages("first", task["task_uuid"])] == ["work.done"]
    one.run("bad", namespace="first", status="error")
    assert one.http.delete(f"/v1/tasks/{task['task_uuid']}").status_code in (200, 409)
    body = {"name": "outside.said", "namespace": "first", "payload": {}}
    assert one.http.post("/v1/events", json=body).status_code == 202
    (letter,) = one.dead_letters("first", task["task_uuid"])
    redriven = one.http.post(
        "/v1/events/dlq/redrive",
        json={"namespace": "first", "event_ids": [letter["event"]["event_id"]], "payload": {"missing": 1}},
    )
    assert redriven.status_code == 200, redriven.text
    names = [event["event_name"] for event in one.get("/v1/events", namespace="first")["events"]]
    assert sorted(names) == ["outside.said", "work.done", "work.refused"]
    depths = "tasker_queue_depth"
    queue = ("queue", "first_domain_events")
    until(lambda: any(queue in labels and depth == 3 for labels, depth in one.metrics().get(depths, {}).items()))


def test_a_role_that_can_create_nothing_runs_a_prepared_system(
    project: Project, database_url: str, role_url: str
) -> None:
    prepared = json.loads(command("db", "migrate", "--templates", project.templates, "--json", url=database_url)[0])
    assert prepared["namespaces"] == ["first"]
    command("db", "grant", ROLE, url=database_url)
    with psycopg.connect(database_url, autocommit=True) as owner:  # as a later migration may
        owner.execute("CREATE FUNCTION tasker.later() RETURNS void LANGUAGE sql AS ''; CREATE SEQUENCE tasker.later")
        rights = "SELECT has_function_privilege(%(r)s, 'tasker.later()', 'EXECUTE'), "
        rights += "has_sequence_privilege(%(r)s, 'tasker.later', 'USAGE')"
        assert owner.execute(rights, {"r": ROLE}).fetchone() == (True, True)

    with supervised(project, role_url) as one:
        works(one)
        assert one.stop() == 0, one.last_words()

    assert json.loads(command("db", "status", "--json", url=role_url)[0])["pending"] == []
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("UPDATE tasker.tasks SET completed_at = completed_at - interval '2 days'")
    pruned = json.loads(command("db", "prune", "--older-than", "1d", "--json", url=role_url)[0])
    assert pruned["deleted"]["finished_tasks"] == 2
    may_not(role_url)

    # A new namespace is the owner's to prepare, and needs no new grant.
    project.template("two", {"work": {"publishes_events": [{"name": "work.done"}]}}, namespace="second")
    code, said = run_to_end(project, arguments=["--bind", "127.0.0.1:0"], DATABASE_URL=role_url)
    assert code == 3, said
    assert "queue second_domain_events does not exist" in said
    assert "run `tasker-actors db migrate --templates DIR` as the schema's owner" in said
    assert PASSWORD not in said
    command("db", "migrate", "--templates", project.templates, url=database_url)
    with supervised(project, role_url, log="prepared.log") as one:
        task = one.run("two", namespace="second")
        assert len(one.messages("second", task["task_uuid"])) == 1


def may_not(role_url: str) -> None:
    """What a stolen password of this role must not be good for."""
    with psycopg.connect(role_url, autocommit=True) as connection:
        for statement in (
            "CREATE TABLE tasker.x ()",
            "CREATE TABLE pgmq.x ()",
            "DROP TABLE tasker.steps",
            "TRUNCATE tasker.steps",
            "ALTER TABLE tasker.steps DISABLE TRIGGER ALL",
            "CREATE INDEX ON tasker.steps (name)",
            "CREATE OR REPLACE FUNCTION tasker.cancel_task_v1(uuid) RETURNS void LANGUAGE sql AS ''",
            "UPDATE tasker.migrations SET checksum = ''",
            "DELETE FROM pgmq.meta",
            "SELECT pgmq.create('third')",
            "SELECT pgmq.drop_queue('first_domain_events')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_what_cannot_be_granted_is_said(database_url: str, role_url: str) -> None:
    assert "there is no role 'nobody'" in command("db", "grant", "nobody", url=database_url, check=3)[1]
    with psycopg.connect(database_url) as owner:
        user = owner.info.user
    assert "may create objects in the schemas itself" in command("db", "grant", user, url=database_url, check=3)[1]
    out, _ = command("db", "grant", "--show", ROLE, url=database_url)
    assert out.count(sql.Identifier(ROLE).as_string(None)) == 8
