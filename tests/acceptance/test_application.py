"""An application beside a running supervisor: over HTTP, in transactions of its own, and killed within one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psycopg
import pytest
from support.project import Project
from support.servers import DatabaseServer
from support.supervised import WAIT_S, Supervised, supervised

from tasker_actors import TaskerClient, TaskRequest
from tasker_actors.cli.app import execute
from tasker_actors.errors import DuplicateTaskError

HANDLERS = """
from tasker_actors import inputs, step_handler

@step_handler("pay")
@inputs("amount")
def pay(amount):
    return {"paid": amount}
"""

KILLED = """
import os, signal, sys
import psycopg
from tasker_actors import TaskerClient

connection = psycopg.connect(sys.argv[1])
connection.execute("INSERT INTO orders VALUES (666)")
tasker = TaskerClient.in_transaction(connection)
print(tasker.create_task("store/order", {"amount": 666}).task_uuid, flush=True)
tasker.publish_event("order.lost", {}, namespace="store")
os.kill(os.getpid(), signal.SIGKILL)
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, embedded_server: DatabaseServer) -> Iterator[Supervised]:
    project = Project(tmp_path_factory.mktemp("application") / "project")
    project.module("store_handlers", HANDLERS)
    paying = {"pay": {"publishes_events": [{"name": "order.paid"}]}}
    project.template("order", paying, namespace="store")
    project.template("invoice", paying, namespace="store", identity_strategy="strict")
    # Whoever is not told of work finds it after a minute only.
    variables = {"TASKER_DATABASE__POLL_INTERVAL_MS": "60000"}
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=2, variables=variables) as found,
    ):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE orders (amount integer)")
        yield found


def test_over_http_a_repeated_request_makes_one_task(one: Supervised) -> None:
    with TaskerClient(one.url) as tasker:
        created = tasker.create_task("store/order", {"amount": 1}, idempotency_key="order-1")
        with pytest.raises(DuplicateTaskError):
            tasker.create_task("store/order", {"amount": 1}, idempotency_key="order-1")
        task = tasker.wait(created.task_uuid, timeout=WAIT_S)
        assert task.succeeded
        assert [step.result for step in tasker.steps(created.task_uuid)] == [{"paid": 1}]


def test_what_an_application_commits_runs_at_once_and_what_it_does_not_never(one: Supervised) -> None:
    with TaskerClient(one.url) as over_http, psycopg.connect(one.database_url) as connection:
        tasker = TaskerClient.in_transaction(connection)
        connection.execute("INSERT INTO orders VALUES (-1)")
        taken_back = tasker.create_task("store/order", {"amount": -1})
        connection.rollback()

        connection.execute("INSERT INTO orders VALUES (2)")
        requests = [TaskRequest("store/order", {"amount": amount}, tags=["mine"]) for amount in range(20)]
        created = tasker.create_tasks(requests)
        tasker.publish_event("order.placed", {"amount": 2}, namespace="store")
        assert list(over_http.list_tasks(tag="mine")) == []
        connection.commit()

        # Each of two workers would poll after a minute; they heard of it.
        tasks = [over_http.wait(each.task_uuid, timeout=30) for each in created]

        assert all(task.succeeded for task in tasks)
        assert taken_back.task_uuid not in {task.task_uuid for task in over_http.list_tasks()}
    assert [row["amount"] for row in one.rows("SELECT amount FROM orders")] == [2]
    placed = [row for row in one.queue("store_domain_events") if row["message"]["event_name"] == "order.placed"]
    assert [row["message"]["payload"] for row in placed] == [{"amount": 2}]


def test_an_application_that_is_killed_before_its_commit_leaves_nothing(one: Supervised) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, one.database_url], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    task_uuid = killed.stdout.strip()
    assert one.rows("SELECT FROM tasker.tasks WHERE task_uuid = %s", task_uuid) == []
    assert one.rows("SELECT amount FROM orders WHERE amount = 666") == []
    names = [row["message"]["event_name"] for row in one.queue("store_domain_events")]
    assert "order.lost" not in names


@pytest.fixture
def command(one: Supervised, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command; returns exit code, standard output, standard error."""
    monkeypatch.setenv("TASKER_URL", one.url)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = execute(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_commands_make_tasks_unique_too(one: Supervised, command: Command) -> None:
    create = ("task", "create", "store/order", "--context", '{"amount": 3}')
    assert [command(*create, "--idempotency-key", "order-3")[0] for _ in range(2)] == [0, 1]
    assert [command(*create, "--unique-for", "52w")[0] for _ in range(2)] == [0, 1]
    assert [command("task", "create", "store/invoice", "--context", '{"amount": 3}')[0] for _ in range(2)] == [0, 1]
    _, _, err = command(*create, "--idempotency-key", "order-3", "--json")
    assert json.loads(err)["error"].keys() == {"code", "message", "status"}
    code, _, err = command(*create, "--unique-for", "soon")
    assert (code, "--unique-for" in err) == (2, True)


def test_a_file_of_contexts_is_refused_with_the_line_of_what_is_there(
    one: Supervised, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert command("task", "create", "store/invoice", "--context", '{"amount": 7}')[0] == 0
    file = tmp_path_factory.mktemp("lines") / "invoices.jsonl"
    file.write_text('{"amount": 5}\n\n{"amount": 6}\n{"amount": 7}\n')
    before = len(one.rows("SELECT FROM tasker.tasks"))

    code, _, err = command("task", "create", "store/invoice", "--jsonl", str(file))

    assert code == 1
    assert "with the task of line 4" in err
    assert len(one.rows("SELECT FROM tasker.tasks")) == before
    code, _, err = command("task", "create", "store/invoice", "--jsonl", str(file), "--idempotency-key", "k")
    assert (code, "--unique-for" in err) == (2, True)
