"""A client's way through the API and the commands, against a supervisor that runs what is asked for (SPEC 7, 8)."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from support.project import Project
from support.supervised import supervised
from support.waiting import until

from tasker_actors.cli.app import execute
from tasker_actors.identifiers import new_uuid7

KEY = "key-of-the-test"

HANDLERS = """
from tasker_actors import PermanentError, step_handler

@step_handler("charge")
def charge(context):
    if context.get_input("amount") == 13:
        raise PermanentError("not that amount")
    return {"charged": context.get_input("amount")}

@step_handler("ship")
def ship(context):
    return {"shipped": context.get_dependency_field("charge", "charged")}
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("http") / "project")
    project.module("http_handlers", HANDLERS)
    project.template(
        "order",
        {
            "charge": {"publishes_events": [{"name": "order.charged"}]},
            "ship": {"dependencies": ["charge"], "publishes_events": [{"name": "order.shipped"}]},
        },
        namespace="store",
        input_schema={"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}},
    )
    project.template("order", {"charge": {}}, namespace="store_two", version="2.0.0")
    variables = {"TASKER_API_KEY": KEY}
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=1, variables=variables) as found,
    ):
        found.http.headers["authorization"] = f"Bearer {KEY}"
        yield found


@pytest.fixture
def command(one, monkeypatch, capsys):
    """Run a command of the client against the supervisor; returns exit code, standard output, standard error."""
    monkeypatch.setenv("TASKER_URL", one.url)
    monkeypatch.setenv("TASKER_API_KEY", KEY)

    def run(*arguments):
        code = execute(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_task_is_created_followed_and_found_again(one):
    correlation_id = new_uuid7()
    body = {
        "name": "order", "namespace": "store", "context": {"amount": 5}, "initiator": "me", "source_system": "tests",
        "reason": "because", "priority": 3, "tags": ["a", "b"], "correlation_id": correlation_id,
        "idempotency_key": correlation_id,
    }  # fmt: skip

    created = one.http.post("/v1/tasks", json=body)

    assert created.status_code == 201
    task_uuid = created.json()["task_uuid"]
    task = one.wait(task_uuid, "complete")
    for key in ("name", "namespace", "context", "initiator", "source_system", "reason", "priority", "tags"):
        assert task[key] == body[key]
    assert (task["version"], task["total_steps"], task["completed_steps"], task["failed_steps"]) == ("1.0.0", 2, 2, 0)
    assert (task["execution_status"], task["completion_percentage"]) == ("all_complete", 100)
    steps = one.steps(task_uuid)
    assert steps["ship"]["result"] == {"shipped": 5}
    assert steps["ship"]["dependencies"] == ["charge"]
    detail = one.get(f"/v1/tasks/{task_uuid}/workflow_steps/{steps['ship']['step_uuid']}")
    assert [entry["outcome"] for entry in detail["attempt_history"]] == ["complete"]
    listed = one.get("/v1/tasks", correlation_id=correlation_id, tag="b", status="complete")["tasks"]
    assert [entry["task_uuid"] for entry in listed] == [task_uuid]
    events = one.get("/v1/events", correlation_id=correlation_id)["events"]
    assert [event["event_name"] for event in events] == ["order.charged", "order.shipped"]

    repeated = one.http.post("/v1/tasks", json=body)
    assert (repeated.status_code, repeated.json()["error"]["code"]) == (409, "duplicate_task")
    assert task_uuid not in repeated.text


def test_a_batch_is_created_in_one_go(one):
    correlation_id = new_uuid7()
    entry = {"name": "order", "namespace": "store", "context": {"amount": 1}, "correlation_id": correlation_id}

    answer = one.http.post("/v1/tasks/batch", json={"tasks": [entry] * 30})

    assert answer.status_code == 201
    made = answer.json()["tasks"]
    assert len({task["task_uuid"] for task in made}) == 30
    assert {task["correlation_id"] for task in made} == {correlation_id}
    until(lambda: len(one.get("/v1/tasks", correlation_id=correlation_id, status="complete")["tasks"]) == 30)


def test_what_runs_here_is_shown(one):
    templates = one.get("/v1/templates")["templates"]
    assert {(template["namespace"], template["name"], template["version"]) for template in templates} == {
        ("store", "order", "1.0.0"), ("store_two", "order", "2.0.0")}  # fmt: skip
    (worker,) = one.get("/v1/workers")["workers"]
    assert (worker["slot"], worker["alive"], worker["restarts"]) == (0, True, 0)
    assert worker["pid"] in one.worker_pids()
    until(lambda: one.get("/v1/workers")["workers"][0]["state"] == "running")
    config = one.get("/config")
    assert KEY not in json.dumps(config)
    assert one.get("/api-docs")["openapi"].startswith("3.")


def test_health_and_metrics_need_no_key_and_everything_else_does(one):
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        assert one.http.get(path, headers={"authorization": ""}).status_code == 200, path
    for path in ("/v1/tasks", "/v1/events", "/v1/workers", "/config", "/metrics/events", "/v1/templates"):
        assert one.http.get(path, headers={"authorization": ""}).status_code == 401, path
        assert one.http.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401, path
        assert one.http.get(path, headers={"authorization": "", "x-api-key": KEY}).status_code == 200, path


def test_a_command_creates_a_task_and_waits_for_it(command):
    code, out, _ = command("task", "create", "store/order", "--context", '{"amount": 2}', "--wait", "--json")
    assert code == 0
    task = json.loads(out)
    assert task["status"] == "complete"

    code, out, _ = command("task", "create", "store/order@1.0.0", "--context", '{"amount": 13}', "--wait", "--json")
    assert code == 1
    failed = json.loads(out)
    assert failed["status"] == "error"

    code, out, _ = command("task", "steps", failed["task_uuid"], "--json")
    assert (code, {step["name"]: step["status"] for step in json.loads(out)["steps"]}) == (
        0, {"charge": "error", "ship": "pending"})  # fmt: skip
    code, out, _ = command("events", "list", "--correlation-id", task["correlation_id"], "--json")
    assert [event["event_name"] for event in json.loads(out)["events"]] == ["order.charged", "order.shipped"]


def test_lines_of_a_file_become_tasks(command, one, tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(f'{{"amount": {number}}}\n' for number in range(25)))

    code, _, _ = command("task", "create", "store/order", "--jsonl", str(path), "--wait", "--json")

    assert code == 1  # the amount of 13 fails
    assert Counter(task["status"] for task in one.get("/v1/tasks", limit=25)["tasks"]) == {"complete": 24, "error": 1}


def test_workers_and_stats_are_shown_as_tables_and_as_json(command, one):
    code, out, _ = command("workers", "--json")
    assert (code, json.loads(out)["workers"][0]["slot"]) == (0, 0)
    code, out, _ = command("stats", "--json")
    assert (code, json.loads(out)["router"]["total_routed"]) == (0, one.event_stats()["router"]["total_routed"])
    for name in ("workers", "stats"):
        code, out, _ = command(name)
        assert code == 0
        assert out.strip()
