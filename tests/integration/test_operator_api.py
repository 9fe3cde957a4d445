"""Operators' endpoints over a real socket and a real database: what they answer, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from support.api_runtime import RecordingRuntime, serving
from support.dynamic import APPROVAL, APPROVAL_TYPES, CSV, batches, csv_types, divided, ranges
from support.flow import CHAIN, Flow, Worker
from support.leases import DONE, NEVER, finish
from support.stored_work import dead_letter, message, send

from tasker_actors.identifiers import new_uuid7
from tasker_actors.settings import Settings
from tasker_actors.supervision.dead_tasks import DeadTasks
from tasker_actors.web import operator_views as shown
from tasker_actors.web import views
from tasker_actors.workflow.outcome import StepSuccess

WHO = {"reason": "disk replaced", "reset_by": "ann"}
RESET = {"action_type": "reset_for_retry", **WHO}
RESOLVE = {"action_type": "resolve_manually", "reason": "not needed", "resolved_by": "ann"}
COMPLETE = {
    "action_type": "complete_manually",
    "reason": "done by phone",
    "completed_by": "ann",
    "completion_data": {"result": {"ok": True}, "metadata": {"ticket": 7}},
}


@pytest.fixture
def runtime(flow: Flow) -> RecordingRuntime:
    return RecordingRuntime(flow.pool)


@pytest.fixture
def client(runtime: RecordingRuntime) -> Iterator[httpx.Client]:
    with serving(runtime) as opened:
        yield opened


def failed(flow: Flow, *names: str, graph: Any = CHAIN, **keys: Any) -> str:
    """Create a task in which these steps have failed for good, and everything else that can run is done."""
    (row,) = flow.create(flow.register(graph, **keys))
    worker = Worker(flow)
    while steps := worker.claim():
        worker.commit(*(finish(step, NEVER if step.name in names else DONE) for step in steps))
    return row.task_uuid


def path(flow: Flow, task: str, name: str) -> str:
    return f"/v1/tasks/{task}/workflow_steps/{flow.steps(task)[name]['step_uuid']}"


def error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    views.ErrorView.model_validate_json(response.content)
    found: dict[str, Any] = response.json()["error"]
    assert found["code"] == code, found
    return found


# Steps


def test_a_step_is_reset_and_workers_hear_of_it(client: httpx.Client, flow: Flow, runtime: RecordingRuntime) -> None:
    task = failed(flow, "first")

    answer = client.patch(path(flow, task, "first"), json=RESET)

    assert answer.status_code == 200, answer.text
    views.StepDetail.model_validate_json(answer.content)
    assert (answer.json()["status"], answer.json()["attempts"]) == ("enqueued", 0)
    assert (runtime.released, runtime.finished) == (1, [])


def test_the_last_step_of_a_task_finishes_it(client: httpx.Client, flow: Flow, runtime: RecordingRuntime) -> None:
    task = failed(flow, "third")

    assert client.patch(path(flow, task, "third"), json=RESOLVE).json()["status"] == "resolved_manually"

    assert (runtime.released, runtime.finished) == (0, [(task, "complete")])


def test_a_completed_step_has_its_result_and_the_record_says_who(client: httpx.Client, flow: Flow) -> None:
    task = failed(flow, "first")

    assert client.patch(path(flow, task, "first"), json=COMPLETE).json()["result"] == {"ok": True}

    answer = client.get(f"{path(flow, task, 'first')}/audit")
    attempt, completed = shown.StepAuditList.model_validate_json(answer.content).root
    assert (attempt.action, attempt.success, attempt.to_state) == (None, False, "error")
    assert (completed.action, completed.performed_by, completed.reason) == ("complete_manually", "ann", "done by phone")
    assert (completed.result, completed.metadata, completed.success) == ({"ok": True}, {"ticket": 7}, True)
    assert completed.workflow_step_uuid == str(flow.steps(task)["first"]["step_uuid"])


@pytest.mark.parametrize(
    ("body", "faulty"),
    [
        ({"action_type": "reset_for_retry", "reason": "why"}, "reset_by"),
        ({"action_type": "reset_for_retry", "reset_by": "ann"}, "reason"),
        ({**RESET, "reason": "  "}, "must say something"),
        ({**RESET, "resolved_by": "bob"}, "reset_by"),
        ({**RESET, "completion_data": {"result": 1}}, "completion_data"),
        ({**COMPLETE, "completion_data": None}, "completion_data"),
        ({**COMPLETE, "completion_data": {"metadata": {}}}, "result"),
        ({"action_type": "retry", **WHO}, "reset_for_retry"),
        ({**RESET, "resetby": "ann"}, "reset_by"),
    ],
)
def test_who_and_why_must_be_said(client: httpx.Client, flow: Flow, body: dict[str, Any], faulty: str) -> None:
    task = failed(flow, "first")
    before = flow.steps(task)
    fault = error(client.patch(path(flow, task, "first"), json=body), 422, "invalid")
    assert faulty in str(fault)
    assert flow.steps(task) == before


def test_what_cannot_be_done_is_a_conflict_that_says_why(client: httpx.Client, flow: Flow) -> None:
    task = failed(flow, "second")
    assert error(client.patch(path(flow, task, "first"), json=RESET), 409, "step_finished")["step_state"] == "complete"
    assert "second" in error(client.patch(path(flow, task, "third"), json=RESOLVE), 409, "step_waits")["message"]
    flow.create(flow.register(CHAIN, name="other"))
    (running,) = Worker(flow).claim()
    where = f"/v1/tasks/{running.task.task_uuid}/workflow_steps/{running.step_uuid}"
    assert "cancel" in error(client.patch(where, json=RESOLVE), 409, "step_running")["message"]


def test_unknown_steps_are_not_found(client: httpx.Client, flow: Flow) -> None:
    task = failed(flow, "first")
    for way in ("", "/audit"):
        send_to = client.get if way else lambda where: client.patch(where, json=RESET)
        error(send_to(f"/v1/tasks/{task}/workflow_steps/{new_uuid7()}{way}"), 404, "unknown_step")
        error(send_to(f"/v1/tasks/{new_uuid7()}/workflow_steps/{new_uuid7()}{way}"), 404, "unknown_task")
        error(send_to(f"/v1/tasks/{task}/workflow_steps/first{way}"), 400, "bad_path")


def test_a_decision_by_hand_follows_the_rules_of_its_handler(client: httpx.Client, flow: Flow) -> None:
    task = failed(flow, "route", graph=APPROVAL, steps=APPROVAL_TYPES)
    where = path(flow, task, "route")

    def completed(result: Any) -> httpx.Response:
        return client.patch(where, json={**COMPLETE, "completion_data": {"result": result}})

    fault = error(completed({"ok": True}), 422, "invalid_decision")
    assert fault["faults"][0]["path"] == "/completion_data/result"
    names = {"decision_point_outcome": {"type": "create_steps", "step_names": ["lrge"]}}
    assert "large" in error(completed(names), 422, "invalid_decision")["message"]
    names["decision_point_outcome"]["step_names"] = ["large"]
    assert completed(names).status_code == 200
    assert flow.states(task)["large"] == "enqueued"


@pytest.mark.parametrize("worker", [["work"], {"name": "work"}, 7, "wrok"])
def test_batches_by_hand_follow_the_rules_of_their_handler(client: httpx.Client, flow: Flow, worker: Any) -> None:
    task = failed(flow, "analyze", graph=CSV, steps=csv_types())
    before = flow.steps(task)
    body = {**COMPLETE, "completion_data": {"result": batches(ranges(2), worker).result}}

    fault = error(client.patch(path(flow, task, "analyze"), json=body), 422, "invalid_batches")

    assert "batchable step 'analyze' of template shop/work@1.0.0" in fault["message"]
    assert "worker_template_name" in fault["message"]
    assert flow.steps(task) == before


def test_batches_by_hand_are_no_more_than_the_setting_allows(
    client: httpx.Client, flow: Flow, runtime: RecordingRuntime
) -> None:
    runtime.settings = Settings.model_validate({"batches": {"max_workers": 2}})
    task = failed(flow, "analyze", graph=CSV, steps=csv_types())

    def completed(count: int) -> httpx.Response:
        body = {**COMPLETE, "completion_data": {"result": divided(count).result}}
        return client.patch(path(flow, task, "analyze"), json=body)

    assert "batches.max_workers is 2" in error(completed(3), 422, "invalid_batches")["message"]
    assert completed(2).status_code == 200


def test_a_batchable_step_that_is_resolved_makes_no_batches(client: httpx.Client, flow: Flow) -> None:
    task = failed(flow, "analyze", graph=CSV, steps=csv_types())
    assert client.patch(path(flow, task, "analyze"), json=RESOLVE).status_code == 200
    (step,) = Worker(flow).claim()
    assert (step.name, step.inputs["is_no_op"]) == ("work", True)


def test_a_result_by_hand_is_as_large_as_a_handlers_may_be(
    client: httpx.Client, flow: Flow, runtime: RecordingRuntime
) -> None:
    runtime.settings = Settings.model_validate({"worker": {"max_result_bytes": 1024}})
    task = failed(flow, "first")
    body = {**COMPLETE, "completion_data": {"result": "x" * 2_000}}
    fault = error(client.patch(path(flow, task, "first"), json=body), 422, "too_large")
    assert fault["faults"][0]["path"] == "/completion_data/result"
    assert flow.states(task)["first"] == "error"


def test_batches_by_hand_that_do_not_fit_into_their_task_are_refused(client: httpx.Client, flow: Flow) -> None:
    task = failed(flow, "analyze", graph={**CSV, "last": []}, steps=csv_types())
    flow.rows("UPDATE tasker.steps SET position = 32766 WHERE name = 'last' RETURNING 1")
    said = divided(2)
    assert isinstance(said, StepSuccess)

    fault = error(
        client.patch(path(flow, task, "analyze"), json={**COMPLETE, "completion_data": {"result": said.result}}),
        422,
        "too_many_steps",
    )

    assert "at most 32,767 steps" in fault["message"]
    assert flow.states(task)["analyze"] == "error"


# Whole tasks


def test_failed_steps_of_a_task_run_again(client: httpx.Client, flow: Flow, runtime: RecordingRuntime) -> None:
    task = failed(flow, "first")
    answer = client.post(f"/v1/tasks/{task}/reset", json=WHO)
    assert answer.json() == {"task_uuid": task, "reset_steps": 1}
    assert runtime.released == 1
    error(client.post(f"/v1/tasks/{task}/reset", json=WHO), 409, "nothing_failed")
    error(client.post(f"/v1/tasks/{new_uuid7()}/reset", json=WHO), 404, "unknown_task")
    error(client.post(f"/v1/tasks/{task}/reset", json={"reset_by": "ann"}), 422, "invalid")


def test_failed_tasks_are_reset_by_what_they_are(client: httpx.Client, flow: Flow, runtime: RecordingRuntime) -> None:
    ours, other = failed(flow, "first"), failed(flow, "first", name="other")
    earlier = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    def reset(**filters: Any) -> list[str]:
        answer = client.post("/v1/tasks/reset", json={**WHO, **filters})
        assert answer.status_code == 200, answer.text
        shown.ResetTasks.model_validate_json(answer.content)
        return [task["task_uuid"] for task in answer.json()["tasks"]]

    assert reset(failed_before=earlier) == []
    assert runtime.released == 0
    assert reset(name="other", namespace="shop", error_type="permanent_error", failed_after=earlier) == [other]
    assert reset(all=True) == [ours]
    assert runtime.released == 2
    error(client.post("/v1/tasks/reset", json=WHO), 422, "invalid")
    error(client.post("/v1/tasks/reset", json={**WHO, "all": True, "name": "other"}), 422, "invalid")
    for moment in ("yesterday", 0):
        error(client.post("/v1/tasks/reset", json={**WHO, "failed_before": moment}), 422, "invalid")


def test_a_batch_of_failed_tasks_says_where_the_next_one_begins(
    client: httpx.Client, flow: Flow, runtime: RecordingRuntime
) -> None:
    tasks = [failed(flow, "first") for _ in range(2)]
    runtime.settings = Settings.model_validate({"dlq": {"max_reset_tasks": 1}})
    first = client.post("/v1/tasks/reset", json={**WHO, "all": True}).json()
    assert (first["tasks"][0]["task_uuid"], first["next_after"]) == (tasks[0], tasks[0])
    second = client.post("/v1/tasks/reset", json={**WHO, "all": True, "after": tasks[0]}).json()
    assert second["tasks"][0]["task_uuid"] == tasks[1]


# Dead letters of tasks


def test_an_entry_is_listed_looked_at_and_closed(client: httpx.Client, flow: Flow) -> None:
    task = failed(flow, "first")
    DeadTasks(flow.pool, Settings().dlq, lambda _entry: None).round(1.0)

    (entry,) = shown.DlqEntryList.model_validate_json(client.get("/v1/dlq").content).root

    assert (entry.task_uuid, entry.dlq_reason, entry.task_snapshot["task_name"]) == (
        task,
        "max_retries_exceeded",
        "work",
    )
    # The form that the original's clients read: UTC without a zone.
    assert datetime.strptime(entry.dlq_timestamp, "%Y-%m-%dT%H:%M:%S.%f").tzinfo is None
    raw = entry.model_dump(mode="json")
    where = f"/v1/dlq/entry/{entry.dlq_entry_uuid}"
    assert client.get(f"/v1/dlq/task/{task}").json() == client.get(where).json() == raw
    assert client.get("/v1/dlq", params={"resolution_status": "cancelled"}).json() == []
    assert client.get("/v1/dlq", params={"offset": 1}).json() == []
    update = {"resolution_status": "manually_resolved", "resolution_notes": "disk", "resolved_by": "ann"}
    answer = client.patch(where, json={**update, "metadata": {"ticket": 7}})
    assert shown.InvestigationUpdated.model_validate_json(answer.content).success
    found = client.get(where).json()
    assert {**update, "metadata": {"ticket": 7}}.items() <= found.items()
    closed = error(client.patch(where, json={"resolution_status": "pending"}), 409, "entry_closed")
    assert closed["resolution_status"] == "manually_resolved"


def test_what_is_dead_is_counted_and_queued(client: httpx.Client, flow: Flow) -> None:
    failed(flow, "first")
    DeadTasks(flow.pool, Settings().dlq, lambda _entry: None).round(1.0)
    flow.create(flow.register(CHAIN))
    Worker(flow).claim()
    (figures,) = shown.DlqStatsList.model_validate_json(client.get("/v1/dlq/stats").content).root
    assert (figures.total_entries, figures.pending) == (1, 1)
    (queued,) = shown.InvestigationList.model_validate_json(client.get("/v1/dlq/investigation-queue").content).root
    assert (queued.task_name, queued.current_state) == ("work", "error")
    assert queued.priority_score >= 80
    (open_task,) = shown.StalenessList.model_validate_json(client.get("/v1/dlq/staleness?limit=5").content).root
    assert (open_task.current_state, open_task.health_status) == ("steps_in_process", "healthy")


def test_a_task_is_sent_to_the_dead_by_hand(client: httpx.Client, flow: Flow) -> None:
    (row,) = flow.create(flow.register(CHAIN))
    body = {"sent_by": "ann", "reason": "looks odd", "metadata": {"ticket": 7}}

    answer = client.post(f"/v1/dlq/task/{row.task_uuid}", json=body)

    assert answer.status_code == 201, answer.text
    entry = shown.DlqEntryView.model_validate_json(answer.content)
    assert (entry.dlq_reason, entry.original_state) == ("manual_dlq", "pending")
    assert entry.metadata == {"sent_by": "ann", "reason": "looks odd", "ticket": 7}
    error(client.post(f"/v1/dlq/task/{row.task_uuid}", json=body), 409, "entry_exists")


def test_unknown_entries_and_bad_requests_are_refused(client: httpx.Client, flow: Flow) -> None:
    (row,) = flow.create(flow.register(CHAIN))
    unknown = new_uuid7()
    error(client.get(f"/v1/dlq/task/{row.task_uuid}"), 404, "unknown_entry")
    error(client.get(f"/v1/dlq/entry/{unknown}"), 404, "unknown_entry")
    error(client.patch(f"/v1/dlq/entry/{unknown}", json={"resolved_by": "ann"}), 404, "unknown_entry")
    error(client.patch(f"/v1/dlq/entry/{unknown}", json={}), 422, "invalid")
    error(client.post(f"/v1/dlq/task/{unknown}", json={"sent_by": "ann", "reason": "why"}), 404, "unknown_task")
    error(client.post(f"/v1/dlq/task/{unknown}", json={"sent_by": "ann"}), 422, "invalid")
    error(client.get("/v1/dlq", params={"resolution_status": "open"}), 422, "invalid")
    error(client.get("/v1/dlq/task/first"), 400, "bad_path")


# Dead letters of events


def test_events_are_redriven_by_what_they_are(client: httpx.Client, flow: Flow) -> None:
    flow.register(CHAIN)
    at = "2025-12-01T10:30:00.000000Z"
    letters = [message(new_uuid7(), fired_at=at, name=name) for name in ("order.a", "order.a", "order.b")]
    reasons = [{"code": code, "message": "no", "path": ""} for code in ("one", "two", "two")]
    ids = send(
        flow.pool,
        "shop_domain_events_dlq",
        *(dead_letter(letter, reason=reason) for letter, reason in zip(letters, reasons, strict=True)),
    )
    flow.rows("UPDATE pgmq.q_shop_domain_events_dlq SET enqueued_at = now() - interval '2 hours' "
              "WHERE msg_id = %s RETURNING 1", ids[0])  # fmt: skip
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    def redriven(**filters: Any) -> list[str]:
        answer = client.post("/v1/events/dlq/redrive", json={"namespace": "shop", "all": True, **filters})
        assert answer.status_code == 200, answer.text
        return [one["event_id"] for one in answer.json()["redriven"]]

    assert redriven(event_name="order.b", reason="one") == []
    assert redriven(failed_before=hour_ago, event_name="order.b") == []
    assert redriven(failed_before=hour_ago) == [letters[0]["event_id"]]
    assert redriven(reason="two", event_name="order.b", failed_after=hour_ago) == [letters[2]["event_id"]]
    body = {"namespace": "shop", "event_ids": [letters[1]["event_id"]], "reason": "two"}
    assert "goes with all" in error(client.post("/v1/events/dlq/redrive", json=body), 422, "invalid")["message"]
