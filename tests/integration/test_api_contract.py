"""What the original's clients read is there in every answer, field by field, and what they send is taken."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from support.api_runtime import RecordingRuntime, serving
from support.dynamic import APPROVAL, APPROVAL_TYPES, CSV, chosen, csv_types, divided
from support.flow import CHAIN, Flow, Worker
from support.leases import AGAIN, DONE, NEVER, finish
from support.original_api import TYPES, holes

from tasker_actors.identifiers import new_uuid7
from tasker_actors.settings import Settings
from tasker_actors.supervision.dead_tasks import DeadTasks
from tasker_actors.workflow.registered import RegisteredTemplate

TASKER_PY = Path(sys.prefix) / "tasker-py" / "tasker_core" / "client.py"
TASK = {"namespace": "shop", "name": "work", "version": "1.0.0", "context": {"amount": 1}}


@pytest.fixture
def runtime(flow: Flow) -> RecordingRuntime:
    return RecordingRuntime(flow.pool)


@pytest.fixture
def client(runtime: RecordingRuntime) -> Iterator[httpx.Client]:
    with serving(runtime) as opened:
        yield opened


@pytest.fixture
def chain(flow: Flow, runtime: RecordingRuntime) -> RegisteredTemplate:
    registered = flow.register(CHAIN)
    runtime.registered.append(registered)
    return registered


@pytest.fixture
def lived(flow: Flow, chain: RegisteredTemplate) -> str:
    """A task that is complete, and whose first step had failed once."""
    (row,) = flow.create(chain)
    worker = Worker(flow)
    (first,) = worker.claim()
    worker.commit(finish(first, AGAIN))
    retry_now(flow)
    worker.run()
    return row.task_uuid


def retry_now(flow: Flow) -> None:
    """End the pause of whatever waits for a retry."""
    flow.rows("UPDATE tasker.steps SET run_at = now() WHERE state = 'waiting_for_retry' RETURNING 1")


def failed(flow: Flow, registered: RegisteredTemplate, name: str = "second") -> str:
    """Create a task of which this step has failed for good."""
    (row,) = flow.create(registered)
    worker = Worker(flow)
    while steps := worker.claim():
        worker.commit(*(finish(step, NEVER if step.name == name else DONE) for step in steps))
    return row.task_uuid


def got(client: httpx.Client, path: str, kind: str, **query: Any) -> Any:
    """An answer in which nothing of this kind is missing."""
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    assert holes(answer.json(), kind) == []
    return answer.json()


# Answers


def test_tasks(client: httpx.Client, chain: RegisteredTemplate, lived: str) -> None:
    made = client.post("/v1/tasks", json=TASK)
    assert made.status_code == 201, made.text
    assert holes(made.json(), "TASK") == []
    assert got(client, f"/v1/tasks/{made.json()['task_uuid']}", "TASK") == made.json()
    shown = got(client, f"/v1/tasks/{lived}", "TASK")
    first = shown["steps"][0]
    assert (first["current_state"], first["attempts"], first["last_failure_at"] is None) == ("complete", 2, False)
    assert first["named_step_uuid"] == made.json()["steps"][0]["named_step_uuid"]
    cancelled = client.delete(f"/v1/tasks/{made.json()['task_uuid']}").json()
    assert holes(cancelled, "TASK") == []
    assert got(client, "/v1/tasks", "TASK_LIST")["pagination"]["total_count"] == 2
    assert got(client, f"/v1/tasks/{lived}/summary", "SUMMARY")["dlq"]["in_dlq"] is False


def test_readiness_is_that_of_the_steps(client: httpx.Client, flow: Flow, chain: RegisteredTemplate) -> None:
    (row,) = flow.create(chain)
    worker = Worker(flow)
    (first,) = worker.claim()

    def readiness() -> list[tuple[Any, ...]]:
        names = ("current_state", "dependencies_satisfied", "retry_eligible", "ready_for_execution", "total_parents",
                 "completed_parents", "attempts")  # fmt: skip
        steps = got(client, f"/v1/tasks/{row.task_uuid}/workflow_steps", "[STEP]")
        brief = got(client, f"/v1/tasks/{row.task_uuid}", "TASK")["steps"]
        shown = [tuple(step[name] for name in names) for step in steps]
        assert shown == [tuple(step[name] for name in names) for step in brief]
        return shown

    third = ("pending", False, True, False, 1, 0, 0)
    assert readiness() == [("in_progress", True, True, False, 0, 0, 0), ("pending", False, True, False, 1, 0, 0), third]
    worker.commit(finish(first, AGAIN))
    assert readiness()[0] == ("waiting_for_retry", True, True, False, 0, 0, 1)
    (waiting,) = [step for step in got(client, f"/v1/tasks/{row.task_uuid}", "TASK")["steps"] if step["retry_at"]]
    assert waiting["next_retry_at"] == waiting["retry_at"].removesuffix("Z")
    assert waiting["backoff_request_seconds"] >= 1
    retry_now(flow)
    assert readiness()[0][3] is True
    (again,) = worker.claim()
    worker.commit(finish(again, DONE))
    assert readiness() == [("complete", True, False, False, 0, 0, 2), ("enqueued", True, True, True, 1, 1, 0), third]


def test_steps_that_come_to_be_count_as_parents(client: httpx.Client, flow: Flow) -> None:
    (csv,) = flow.create(flow.register(CSV, steps=csv_types()))
    worker = Worker(flow)
    (analyze,) = worker.claim()
    worker.commit(finish(analyze, divided(3)))
    one, *others = worker.claim()
    worker.commit(finish(one, DONE))
    steps = {step["name"]: step for step in got(client, f"/v1/tasks/{csv.task_uuid}/workflow_steps", "[STEP]")}
    assert (steps["sum"]["total_parents"], steps["sum"]["completed_parents"]) == (3, 1)
    assert len({steps[f"work_00{n}"]["named_step_uuid"] for n in (1, 2, 3)}) == 1
    assert all(steps[f"work_00{n}"]["created_at"] >= steps["analyze"]["created_at"] for n in (1, 2, 3))
    worker.commit(*(finish(step, DONE) for step in others))
    worker.run()

    (approval,) = flow.create(flow.register(APPROVAL, name="approval", steps=APPROVAL_TYPES))
    (validate,) = worker.claim()
    worker.commit(finish(validate, DONE))
    (route,) = worker.claim()
    worker.commit(finish(route, chosen("large")))
    steps = {step["name"]: step for step in got(client, f"/v1/tasks/{approval.task_uuid}/workflow_steps", "[STEP]")}
    assert (steps["finish"]["total_parents"], steps["finish"]["completed_parents"]) == (1, 0)


def test_steps(client: httpx.Client, flow: Flow, chain: RegisteredTemplate, lived: str) -> None:
    steps = got(client, f"/v1/tasks/{lived}/workflow_steps", "[STEP]")
    assert [step["name"] for step in steps] == ["first", "second", "third"]
    path = f"/v1/tasks/{lived}/workflow_steps/{steps[0]['step_uuid']}"
    done = got(client, path, "STEP")
    assert (done["results"]["success"], done["results"]["status"]) == (True, "completed")
    assert done["results"]["result"] == done["result"]
    audit = got(client, f"{path}/audit", "[AUDIT]")
    assert [record["success"] for record in audit] == [False, True]
    assert done["last_failure_at"] == audit[0]["recorded_at"]
    assert done["completed_at"] == done["updated_at"]

    task = failed(flow, chain)
    step_uuid = flow.steps(task)["second"]["step_uuid"]
    wrong = got(client, f"/v1/tasks/{task}/workflow_steps/{step_uuid}", "STEP")
    assert (wrong["results"]["success"], wrong["results"]["status"], wrong["completed_at"]) == (False, "error", None)
    assert wrong["results"]["error"] == wrong["error"]
    assert got(client, f"/v1/tasks/{task}/summary", "SUMMARY")["steps"][1]["error"]["error_type"] == "permanent_error"
    waiting = got(client, f"/v1/tasks/{task}/workflow_steps/{flow.steps(task)['third']['step_uuid']}", "STEP")
    assert waiting["results"] is None


@pytest.mark.parametrize(
    "action",
    [
        {"action_type": "reset_for_retry", "reason": "fixed", "reset_by": "ann@example.com"},
        {"action_type": "resolve_manually", "reason": "not needed", "resolved_by": "ann@example.com"},
        {
            "action_type": "complete_manually",
            "completion_data": {"result": {"validated": True, "score": 95}, "metadata": {"manually_verified": True}},
            "reason": "verified",
            "completed_by": "ann@example.com",
        },
    ],
)
def test_actions_on_steps(client: httpx.Client, flow: Flow, chain: RegisteredTemplate, action: dict[str, Any]) -> None:
    task = failed(flow, chain)
    path = f"/v1/tasks/{task}/workflow_steps/{flow.steps(task)['second']['step_uuid']}"
    answer = client.patch(path, json=action)
    assert answer.status_code == 200, answer.text
    assert holes(answer.json(), "STEP") == []
    got(client, f"{path}/audit", "[AUDIT]")


def test_dead_letters_of_tasks(client: httpx.Client, flow: Flow, chain: RegisteredTemplate) -> None:
    task = failed(flow, chain)
    DeadTasks(flow.pool, Settings().dlq, lambda _entry: None).round(1.0)
    (entry,) = got(client, "/v1/dlq", "[DLQ_ENTRY]", resolution_status="Pending", limit=50, offset=0)
    assert got(client, "/v1/dlq", "[DLQ_ENTRY]", resolution_status="pending") == [entry]
    assert got(client, f"/v1/dlq/task/{task}", "DLQ_ENTRY") == entry
    got(client, "/v1/dlq/stats", "[DLQ_STATS]")
    assert len(got(client, "/v1/dlq/investigation-queue", "[INVESTIGATION]", limit=100)) == 1
    assert got(client, f"/v1/tasks/{task}/summary", "SUMMARY")["dlq"]["dlq_reason"] == "max_retries_exceeded"
    (row,) = flow.create(chain)
    Worker(flow).claim()
    (open_task,) = got(client, "/v1/dlq/staleness", "[STALENESS]", limit=100)
    assert open_task["task_uuid"] == row.task_uuid

    update = {
        "resolution_status": "ManuallyResolved",
        "resolution_notes": "disk",
        "resolved_by": "ann",
        "metadata": None,
    }
    answer = client.patch(f"/v1/dlq/entry/{entry['dlq_entry_uuid']}", json=update)
    assert holes(answer.json(), "INVESTIGATION_UPDATE") == [], answer.text
    assert got(client, f"/v1/dlq/task/{task}", "DLQ_ENTRY")["resolution_status"] == "manually_resolved"


def test_templates(client: httpx.Client, flow: Flow, runtime: RecordingRuntime, chain: RegisteredTemplate) -> None:
    runtime.registered.append(flow.register(CSV, name="csv", steps=csv_types()))
    found = got(client, "/v1/templates", "TEMPLATE_LIST")
    assert (found["total_count"], found["namespaces"][0]["template_count"]) == (2, 2)
    assert {each["name"]: each["step_count"] for each in found["templates"]} == {"work": 3, "csv": 3}
    assert got(client, "/v1/templates", "TEMPLATE_LIST", namespace="other")["templates"] == []
    one = got(client, "/v1/templates/shop/csv/1.0.0", "TEMPLATE")
    assert [step["type"] for step in one["steps"]] == ["batchable", "batch_worker", "deferred_convergence"]
    assert "identity_strategy" in one["configuration"]
    assert "initialization" not in str(one)
    for path, near in (("shop/csw/1.0.0", "shop/csv"), ("shop/csv/2.0.0", "1.0.0")):
        answer = client.get(f"/v1/templates/{path}")
        assert (answer.status_code, holes(answer.json(), "ERROR")) == (404, [])
        assert near in answer.json()["error"]["message"]


def test_health_and_configuration(client: httpx.Client, runtime: RecordingRuntime, chain: RegisteredTemplate) -> None:
    for path in ("/health", "/health/live"):
        assert got(client, path, "HEALTH")["healthy"] is True
    ready = got(client, "/health/ready", "READINESS")
    # Only the database is looked at by this runtime: what was not looked at is not said to be well.
    assert {name: check["status"] for name, check in ready["checks"].items()} == {
        "database": "healthy", "web_database": "healthy", "orchestration_database": "healthy",
        "circuit_breaker": "healthy", "circuit_breakers": "healthy", "orchestration_system": "unknown",
        "event_system": "unknown", "command_processor": "unknown", "queue_processing": "unknown",
        "step_processing": "unknown",
    }  # fmt: skip
    detailed = got(client, "/health/detailed", "DETAILED_HEALTH")
    pool = detailed["info"]["pool_utilization"]["tasker_pool"]
    assert (pool["max_connections"], detailed["system_info"]["supported_namespaces"]) == (8, ["shop"])
    assert "connections" in detailed["checks"]["pool_utilization"]["message"]
    config = got(client, "/config", "CONFIG")
    assert config["messaging"]["queues"] == ["shop_domain_events", "shop_domain_events_dlq"]
    assert config["auth"]["enabled"] is False
    assert config["http"]["max_body_bytes"] == runtime.settings.http.max_body_bytes
    assert client.get("/metrics").status_code == 200


def test_analytics(client: httpx.Client, flow: Flow, chain: RegisteredTemplate, lived: str) -> None:
    failed(flow, chain)
    flow.create(chain)
    performance = got(client, "/v1/analytics/performance", "PERFORMANCE", hours=24)
    counted = [performance[f"{state}_tasks"] for state in ("total", "active", "completed", "failed")]
    assert counted == [3, 1, 1, 1]
    assert (performance["completion_rate"], performance["error_rate"]) == (0.3333, 0.3333)
    assert got(client, "/v1/analytics/performance", "PERFORMANCE", hours=0)["total_tasks"] == 3
    found = got(client, "/v1/analytics/bottlenecks", "BOTTLENECKS", limit=10, min_executions=1)
    assert {step["step_name"] for step in found["slow_steps"]} == {"first", "second", "third"}
    assert [task["execution_count"] for task in found["slow_tasks"]] == [2]
    assert any("second" in said for said in found["recommendations"])
    counts = found["resource_utilization"]["system_health"]
    assert (counts["total_tasks"], counts["pending_tasks"], counts["error_tasks"]) == (3, 1, 1)
    assert counts["total_steps"] == 9
    assert got(client, "/v1/analytics/bottlenecks", "BOTTLENECKS", min_executions=50)["slow_steps"] == []


def test_errors_have_the_original_s_form(client: httpx.Client) -> None:
    for path in (f"/v1/tasks/{new_uuid7()}", "/v1/tasks/7", "/v1/tasks?status=done", "/nope"):
        assert holes(client.get(path).json(), "ERROR") == []


# Requests


def test_a_task_is_taken_as_the_original_s_client_writes_it(client: httpx.Client, chain: RegisteredTemplate) -> None:
    body = {
        **TASK, "initiator": "tasker-core-python", "source_system": "tasker-core", "reason": "Task requested",
        "tags": ["a"], "requested_at": datetime.now(UTC).replace(tzinfo=None).isoformat(), "options": None,
        "priority": None, "correlation_id": new_uuid7(), "parent_correlation_id": None,
    }  # fmt: skip
    answer = client.post("/v1/tasks", json=body)
    assert answer.status_code == 201, answer.text
    kept = {name: body[name] for name in ("initiator", "source_system", "reason", "tags", "correlation_id")}
    assert kept.items() <= answer.json().items()
    assert answer.json()["priority"] == 0
    assert client.post("/v1/tasks", json={**body, "correlation_id": new_uuid7(), "options": {}}).status_code == 201
    refused = client.post("/v1/tasks", json={**body, "options": {"retry_limit": 5}})
    assert (refused.status_code, refused.json()["error"]["faults"][0]["path"]) == (422, "/options")
    assert "template" in refused.json()["error"]["message"]


def test_lists_are_asked_for_by_page(client: httpx.Client, flow: Flow, chain: RegisteredTemplate) -> None:
    rows = flow.create(chain, 5)
    newest = [row.task_uuid for row in reversed(rows)]

    def page(**query: Any) -> tuple[list[str], dict[str, Any]]:
        found = got(client, "/v1/tasks", "TASK_LIST", **query)
        return [task["task_uuid"] for task in found["tasks"]], found["pagination"]

    first, place = page(page=1, per_page=2)
    assert first == newest[:2]
    assert place == {"page": 1, "per_page": 2, "total_count": 5, "total_pages": 3, "has_next": True,
                     "has_previous": False, "is_exact": True}  # fmt: skip
    last, place = page(page=3, per_page=2)
    assert (last, place["has_next"], place["has_previous"]) == (newest[4:], False, True)
    beyond, place = page(page=4, per_page=2)
    assert (beyond, place["total_count"], place["has_next"]) == ([], 5, False)
    assert page(status="pending", page=2, per_page=3) == (newest[3:], {
        "page": 2, "per_page": 3, "total_count": 5, "total_pages": 2, "has_next": False, "has_previous": True,
        "is_exact": True,
    })  # fmt: skip
    assert page(status="complete")[1]["total_count"] == 0


def test_lists_are_filtered_by_who_asked(client: httpx.Client, flow: Flow, chain: RegisteredTemplate) -> None:
    flow.create(chain)
    (mine,) = flow.create(chain, initiator="ann", source_system="web")

    def found(**query: Any) -> int:
        return len(got(client, "/v1/tasks", "TASK_LIST", **query)["tasks"])

    assert found(initiator="ann") == found(source_system="web") == found(initiator="unknown") == 1
    assert found(initiator="ann", source_system="unknown") == 0
    assert client.get(f"/v1/tasks/{mine.task_uuid}").json()["initiator"] == "ann"


# The original's own classes


@pytest.fixture(scope="module")
def original() -> ModuleType:
    """tasker-py's client, without the native module that its package loads."""
    if not TASKER_PY.exists():
        pytest.skip(f"tasker-py is not in {TASKER_PY.parents[1]}: scripts/test puts it there")
    spec = importlib.util.spec_from_file_location("tasker_py_client", TASKER_PY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_no_default_of_tasker_py_fills_a_hole(
    client: httpx.Client, flow: Flow, chain: RegisteredTemplate, lived: str, original: ModuleType
) -> None:
    steps = client.get(f"/v1/tasks/{lived}/workflow_steps").json()
    audit = client.get(f"/v1/tasks/{lived}/workflow_steps/{steps[0]['step_uuid']}/audit").json()
    task = client.get(f"/v1/tasks/{lived}").json()
    page = client.get("/v1/tasks", params={"page": 1, "per_page": 50}).json()
    (open_task,) = flow.create(chain)
    for kind, document in (
        (original.TaskResponse, client.post("/v1/tasks", json=TASK).json()),
        (original.TaskResponse, task),
        (original.TaskResponse, client.delete(f"/v1/tasks/{open_task.task_uuid}").json()),
        (original.PaginationInfo, page["pagination"]),
        *((original.StepResponse, step) for step in steps),
        *((original.StepAuditResponse, record) for record in audit),
        (original.HealthResponse, client.get("/health").json()),
    ):
        names = {field.name for field in dataclasses.fields(kind)}
        assert names <= document.keys(), f"{kind.__name__} lacks {names - document.keys()}"
        read = kind.from_dict(document)
        assert {name: getattr(read, name) for name in names} == {name: document[name] for name in names}
    listed = original.TaskListResponse.from_dict(page)
    assert [each.task_uuid for each in listed.tasks] == [lived]
    assert listed.pagination.total_count == 1


def test_the_table_has_every_field_of_tasker_py(original: ModuleType) -> None:
    kinds = {
        "TaskResponse": "TASK", "PaginationInfo": "PAGINATION", "StepResponse": "STEP", "StepAuditResponse": "AUDIT",
        "TaskListResponse": "TASK_LIST", "HealthResponse": "HEALTH",
    }  # fmt: skip
    for name, kind in kinds.items():
        assert {field.name for field in dataclasses.fields(getattr(original, name))} <= TYPES[kind].keys(), name
