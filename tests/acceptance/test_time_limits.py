"""Handlers past their time limit: interrupted where that is possible, replaced with their worker where it is not."""

from __future__ import annotations

import pytest
from support.project import Project
from support.supervised import supervised
from support.waiting import until

HANDLERS = """
import asyncio, threading
from pathlib import Path
from tasker_actors import step_handler

@step_handler("loop")
def loop(context):
    "Python code all the way: an exception can reach it between two lines."
    if not context.is_retry():
        while True:
            threading.Event().wait(0.01)
    return {"deadline_was": context.deadline.isoformat(), "remaining_ms": context.remaining_ms()}

@step_handler("swallows")
def swallows(context):
    "Catches every exception and goes on."
    if not context.is_retry():
        while True:
            try:
                threading.Event().wait(0.01)
            except Exception:
                pass
    return {}

@step_handler("stuck")
def stuck(context):
    "One call in C: nothing reaches it."
    if not context.is_retry():
        threading.Event().wait(60)
    return {}

@step_handler("async_slow")
async def async_slow(context):
    if not context.is_retry():
        await asyncio.sleep(60)
    return {}

@step_handler("blocks_the_loop")
async def blocks_the_loop(context):
    "Never awaits: no other async handler of its worker gets a turn."
    if not context.is_retry():
        Path(context.get_input("marks")).touch()
        threading.Event().wait(60)
    return {}

@step_handler("async_short")
async def async_short(context):
    await asyncio.sleep(0.01)
    return {"attempt": context.retry_count + 1}

@step_handler("gate")
def gate(context):
    marks = Path(context.get_input("marks"))
    marks.with_suffix(".begun").touch()
    pause = threading.Event()
    while not marks.with_suffix(".open").exists():
        pause.wait(0.01)
    return {"attempt": context.retry_count + 1}

@step_handler("short")
def short():
    threading.Event().wait(0.01)
"""

RETRY = {"max_attempts": 2, "backoff": "none"}


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("limits") / "project")
    project.module("limit_handlers", HANDLERS)
    for name in ("loop", "swallows", "stuck", "async_slow"):
        project.template(
            name,
            {
                name: {
                    "timeout_seconds": 0.4,
                    "retry": RETRY,
                    "publishes_events": [{"name": "limit.passed", "condition": "failure"}],
                }
            },
            namespace="limits",
        )
    project.template("blocks_the_loop", {"blocks_the_loop": {"timeout_seconds": 3, "retry": RETRY}}, namespace="limits")
    project.template("async_short", {"async_short": {"timeout_seconds": 0.8, "retry": RETRY}}, namespace="limits")
    project.template("gate", {"gate": {}}, namespace="limits")
    project.template("short", {"short": {}}, namespace="limits")
    variables = {"TASKER_WORKER__TIMEOUT_GRACE_MS": "400"}
    with embedded_server.database(migrated=True) as url, supervised(project, url, variables=variables) as found:
        yield found


def assert_has_ids(one, line):
    """A line about an attempt is found by its task's correlation id and by its trace."""
    task = "SELECT correlation_id::text, traceparent FROM tasker.tasks WHERE task_uuid = %s"
    (row,) = one.rows(task, line["task_uuid"])
    assert line["correlation_id"] == row["correlation_id"]
    assert line["trace_id"] == row["traceparent"].split("-")[1]
    assert line["span_id"]


def assert_timed_out_once(one, task, step):
    first, second = one.attempts(task["task_uuid"], step)
    assert (first["attempt"], first["outcome"], first["error"]["error_type"]) == (1, "waiting_for_retry", "timeout")
    assert "0.4 s" in first["error"]["message"]
    assert first["duration_ms"] >= 400
    assert (second["attempt"], second["outcome"]) == (2, "complete")
    (message,) = [row["message"] for row in one.messages("limits", task["task_uuid"])]
    assert message["payload"]["error_type"] == "timeout"
    assert message["execution"]["status"] == "waiting_for_retry"


@pytest.mark.parametrize("step", ["loop", "swallows", "async_slow"])
def test_python_code_past_its_limit_is_interrupted_and_its_worker_goes_on(one, step):
    before = one.worker_pids()

    task = one.run(step, namespace="limits")

    assert_timed_out_once(one, task, step)
    assert one.worker_pids() == before


def test_a_call_that_cannot_be_interrupted_costs_its_worker_and_nobody_else_anything(one, tmp_path):
    """The attempt fails in time, another step of the same worker ends in peace, then the worker is replaced."""
    marks = tmp_path / "marks"
    gates = []
    for number in range(4):
        gate = marks.with_suffix(f".{number}")
        gates.append((gate, one.create("gate", namespace="limits", context={"marks": str(gate)})))
    for gate, _ in gates:
        until(gate.with_suffix(".begun").exists)

    task_uuid = one.create("stuck", namespace="limits")
    one.create_many("short", 50, namespace="limits")

    until(lambda: bool(one.attempts(task_uuid, "stuck")), 20)
    marks.with_suffix(".open").touch()  # all four gates look for this name
    one.wait(task_uuid, "complete")
    assert_timed_out_once(one, one.task(task_uuid), "stuck")
    for _, gate_uuid in gates:
        one.wait(gate_uuid, "complete")
        assert one.steps(gate_uuid)["gate"]["result"] == {"attempt": 1}
    until(lambda: bool(one.restarts()))
    assert one.restarts() == {"hang": 1}
    until(lambda: one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL") == [{"n": 0}])
    others = one.rows("SELECT DISTINCT status FROM tasker.tasks WHERE name IN ('short', 'gate')")
    assert others == [{"status": "complete"}]
    one.wait_workers(lambda workers: len(workers) == 2)
    [line] = one.logged("A handler does not return past its time limit; the worker is replaced", step_name="stuck")
    assert_has_ids(one, line)
    assert [line["reason"] for line in one.logged("Worker ended")] == ["hang"]


def test_the_deadline_is_told_to_the_handler(one):
    task = one.run("loop", namespace="limits")

    result = one.steps(task["task_uuid"])["loop"]["result"]
    assert 0 < result["remaining_ms"] <= 400


def test_an_async_handler_that_never_awaits_is_the_only_one_that_pays_for_it(one, tmp_path):
    """The others of its worker can neither go on nor be cancelled; they run again elsewhere, uncounted."""
    before = one.restarts().get("hang", 0)
    blocker = one.create("blocks_the_loop", namespace="limits", context={"marks": str(tmp_path / "begun")})
    until((tmp_path / "begun").exists)

    one.create_many("async_short", 40, namespace="limits")

    one.wait(blocker, "complete")
    assert [row["outcome"] for row in one.attempts(blocker, "blocks_the_loop")] == ["waiting_for_retry", "complete"]
    open_tasks = "SELECT count(*) AS n FROM tasker.tasks WHERE name = 'async_short' AND completed_at IS NULL"
    until(lambda: one.rows(open_tasks) == [{"n": 0}])
    attempts = "SELECT DISTINCT attempts, state FROM tasker.steps WHERE name = 'async_short'"
    assert one.rows(attempts) == [{"attempts": 1, "state": "complete"}]
    [line, *_] = one.logged("An async handler had no turn: another one blocks the event loop; its step goes back")
    assert_has_ids(one, line)
    until(lambda: one.restarts().get("hang", 0) == before + 1)
