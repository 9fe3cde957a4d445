"""Tasks that start tasks on real workers: in other namespaces, killed, cancelled, and all in one trace."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.otlp_receiver import OtlpReceiver
from support.project import Project
from support.supervised import supervised
from support.waiting import until

HANDLERS = """
import os, signal, threading
from pathlib import Path
from tasker_actors import StepHandlerResult, depends_on, inputs, step_handler

@step_handler("order")
def order(context):
    if not context.child_tasks:
        mark = Path(context.get_input("marks"), "killed")
        parts = [context.start_task("stock/part", {"number": n, "marks": context.get_input("marks")}) for n in range(3)]
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)  # nothing of this call is there
        return StepHandlerResult.wait_for(parts, checkpoint={"cursor": len(parts)})
    for part in context.child_tasks:
        part.raise_for_failure()
    return {"parts": [part.results["pack"]["number"] for part in context.child_tasks], "of": context.checkpoint_cursor,
            "retries": context.retry_count}

@step_handler("fetch")
@inputs("number")
def fetch(number):
    return {"number": number}

@step_handler("pack")
@depends_on(fetched="fetch")
def pack(fetched):
    return {"number": fetched["number"] * 10}

@step_handler("wait_for_ever")
def wait_for_ever(context):
    return context.start_and_wait("stock/endless", {"marks": context.get_input("marks")})

@step_handler("endless")
def endless(context):
    Path(context.get_input("marks"), "begun").touch()
    pause = threading.Event()
    while not context.cancelled:
        pause.wait(0.01)
    Path(context.get_input("marks"), "cancelled").touch()

@step_handler("wrong")
def wrong(context):
    return context.start_and_wait("stock/prat")
"""


@pytest.fixture(scope="module")
def receiver():
    with OtlpReceiver() as found:
        yield found


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server, receiver):
    project = Project(tmp_path_factory.mktemp("sub") / "project")
    project.module("sub_handlers", HANDLERS)
    project.template("order", {"order": {"retry": {"backoff": "none"}}}, namespace="shop")
    project.template("part", {"fetch": {}, "pack": {"dependencies": ["fetch"]}}, namespace="stock")
    project.template("waits", {"wait_for_ever": {}}, namespace="shop")
    project.template("outer", {"outer": {"handler": "outer"}}, namespace="shop")
    project.module("outer_handlers", OUTER)
    project.template("endless", {"endless": {}}, namespace="stock")
    project.template("wrong", {"wrong": {}}, namespace="shop")
    variables = {
        "TELEMETRY_ENABLED": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, variables=variables) as running,
    ):
        yield running


OUTER = """
from tasker_actors import step_handler

@step_handler("outer")
def outer(context):
    return context.start_and_wait("shop/waits", {"marks": context.get_input("marks")})
"""


def test_a_killed_worker_starts_nothing_and_all_that_was_started_is_of_one_trace(one, receiver, tmp_path):
    before = requests(one)

    task = one.run("order", namespace="shop", context={"marks": str(tmp_path)})

    assert (tmp_path / "killed").exists()
    assert one.steps(task["task_uuid"])["order"]["result"] == {"parts": [0, 10, 20], "of": 3, "retries": 1}
    parts = one.rows("SELECT task_uuid::text, status, correlation_id::text FROM tasker.tasks WHERE name = 'part'")
    assert [part["status"] for part in parts] == ["complete"] * 3
    assert one.rows("SELECT DISTINCT parent_task_uuid::text FROM tasker.tasks WHERE name = 'part'") == [
        {"parent_task_uuid": task["task_uuid"]}
    ]
    until(lambda: requests(one) == before + 3)

    ids = {task["task_uuid"], *(part["task_uuid"] for part in parts)}
    roots = {}

    def all_there():
        found = [span for span in receiver.spans() if span.name == "task_execution"]
        roots.update({span.attributes["task_uuid"]: span for span in found if span.attributes["task_uuid"] in ids})
        return set(roots) == ids

    until(all_there)
    assert len({span.trace_id for span in roots.values()}) == 1
    calls = {span.span_id for span in receiver.spans() if span.name == "handler_call"}
    assert {roots[part["task_uuid"]].parent_id for part in parts} <= calls


def test_cancelling_a_task_ends_what_it_waits_for_and_what_that_waits_for(one, tmp_path):
    outer = one.create("outer", namespace="shop", context={"marks": str(tmp_path)})
    until(lambda: Path(tmp_path, "begun").exists())
    assert one.task(outer)["execution_status"] == "waiting_for_dependencies"

    assert one.http.delete(f"/v1/tasks/{outer}").json()["status"] == "cancelled"

    until(lambda: Path(tmp_path, "cancelled").exists())
    statuses = one.rows("SELECT name, status FROM tasker.tasks WHERE name IN ('waits', 'endless')")
    assert {row["name"]: row["status"] for row in statuses} == {"waits": "cancelled", "endless": "cancelled"}


def test_a_template_that_does_not_exist_fails_the_step_for_good_and_names_the_nearest(one):
    task = one.run("wrong", namespace="shop", status="error")

    error = one.steps(task["task_uuid"])["wrong"]["error"]
    assert (error["error_type"], error["error_code"]) == ("permanent_error", "unknown_template")
    assert "did you mean 'stock/part'?" in error["message"]


def requests(one):
    """How many tasks of parts were counted as created."""
    counted = one.metrics()["tasker_tasks_requests_total"]
    return sum(count for labels, count in counted.items() if dict(labels)["task_type"] == "part")
