"""The HTTP API over a real socket and a real database: what it answers, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from support.api_runtime import RecordingRuntime, in_threads, serving
from support.stored_work import FakeWorker, create, dead_letter, message, queue_rows, register, result, send

from tasker_actors.identifiers import is_uuid, new_uuid7
from tasker_actors.postgres.connect import open_pool
from tasker_actors.postgres.session import Pool
from tasker_actors.telemetry.span_ids import publish_domain_event_id, task_span, task_span_id
from tasker_actors.telemetry.trace_context import parse_traceparent
from tasker_actors.web import status_views, views
from tasker_actors.web.runtime import PublicationRefusedError, PublishUnavailableError

TRACEPARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
FIRED_AT = "2025-12-01T10:30:00.000000Z"
ORDER = {"namespace": "shop", "name": "order", "context": {"amount": 1}}


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    with open_pool(database_url, application_name="tests", max_size=8) as opened:
        yield opened


@pytest.fixture
def runtime(pool: Pool) -> RecordingRuntime:
    recording = RecordingRuntime(pool)
    recording.registered.append(register(pool))
    return recording


@pytest.fixture
def client(runtime: RecordingRuntime) -> Iterator[httpx.Client]:
    with serving(runtime) as opened:
        yield opened


def error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error of an answer, which must be this one."""
    assert response.status_code == status, response.text
    views.ErrorView.model_validate_json(response.content)
    found: dict[str, Any] = response.json()["error"]
    assert found["code"] == code, found
    return found


def created(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    response = client.post("/v1/tasks", json={**ORDER, **changes})
    assert response.status_code == 201, response.text
    views.TaskView.model_validate_json(response.content)
    task: dict[str, Any] = response.json()
    return task


# Tasks


def test_a_created_task_is_shown_as_it_is_shown_later(client: httpx.Client) -> None:
    given = {
        "initiator": "ann", "source_system": "web", "reason": "why", "priority": 5, "tags": ["a", "b"],
        "parent_correlation_id": ONE, "context": {"amount": 3, "items": [1.5, "ü", None, True]},
    }  # fmt: skip
    task = created(client, **given)
    assert {key: task[key] for key in given} == given
    assert (task["version"], task["status"], task["total_steps"], task["ready_steps"]) == ("1.0.0", "pending", 3, 1)
    assert client.get(f"/v1/tasks/{task['task_uuid']}").json() == task


def test_creation_is_told_to_the_runtime_after_the_commit(client: httpx.Client, runtime: RecordingRuntime) -> None:
    created(client)
    assert client.post("/v1/tasks/batch", json={"tasks": [ORDER, ORDER]}).status_code == 201
    assert runtime.created == [("shop", "order")] * 3
    client.post("/v1/tasks", json={**ORDER, "context": {}})
    assert len(runtime.created) == 3


def test_the_newest_version_is_taken_where_none_is_given(
    client: httpx.Client, runtime: RecordingRuntime, pool: Pool
) -> None:
    for version in ("1.10.0", "1.9.0"):
        runtime.registered.append(register(pool, version=version))
    assert created(client)["version"] == "1.10.0"
    assert created(client, version="1.9.0")["version"] == "1.9.0"
    fault = error(client.post("/v1/tasks", json={**ORDER, "version": "2.0.0"}), 404, "unknown_template")
    assert "1.9.0" in fault["message"]


def test_priority_makes_a_step_run_as_if_it_were_older(client: httpx.Client, pool: Pool) -> None:
    task = created(client, priority=10)
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT run_at FROM tasker.steps WHERE task_uuid = %s AND state = 'enqueued'", [task["task_uuid"]]
        ).fetchone()
    assert row is not None
    assert datetime.fromisoformat(task["created_at"]) - row[0] == timedelta(hours=10)


@pytest.mark.parametrize("priority", [-1, 1001, "1", 1.5, True])
def test_a_priority_out_of_range_is_refused(client: httpx.Client, priority: object) -> None:
    fault = error(client.post("/v1/tasks", json={**ORDER, "priority": priority}), 422, "invalid")
    assert fault["faults"][0]["path"] == "/priority"


def test_a_context_that_does_not_fit_is_refused_with_each_fault(client: httpx.Client) -> None:
    fault = error(
        client.post("/v1/tasks", json={**ORDER, "context": {"amount": 0, "items": 3}}), 422, "invalid_context"
    )
    assert {each["path"] for each in fault["faults"]} == {"/context/amount", "/context/items"}
    error(client.post("/v1/tasks", json={"namespace": "shop", "name": "order"}), 422, "invalid_context")


def test_an_unknown_template_is_refused_with_the_nearest_known(client: httpx.Client) -> None:
    fault = error(client.post("/v1/tasks", json={**ORDER, "name": "ordr"}), 404, "unknown_template")
    assert "shop/order" in fault["message"]


def test_an_unknown_key_is_refused_with_the_nearest_known(client: httpx.Client) -> None:
    fault = error(client.post("/v1/tasks", json={**ORDER, "contxt": {}}), 422, "invalid")
    assert fault["faults"] == [{"path": "/contxt", "message": "there is no key 'contxt' (did you mean 'context'?)"}]
    fault = error(client.get("/v1/tasks", params={"correlation": ONE}), 422, "invalid")
    assert "correlation_id" in fault["message"]
    strange = error(client.post("/v1/tasks", json={**ORDER, "{text}\n": 1}), 422, "invalid")
    assert strange["faults"][0]["path"] == "/{text}\n"


def test_a_repeated_idempotency_key_is_refused_without_a_word_about_the_other_task(client: httpx.Client) -> None:
    first = created(client, idempotency_key="k", reason="secret reason")
    response = client.post("/v1/tasks", json={**ORDER, "idempotency_key": "k"})
    assert error(response, 409, "duplicate_task").keys() == {"code", "message"}
    assert not any(value in response.text for value in ("secret", first["task_uuid"], first["correlation_id"]))


def test_of_many_requests_with_one_key_one_creates_the_task(client: httpx.Client) -> None:
    body = {**ORDER, "idempotency_key": "k"}
    answers = in_threads(lambda _: client.post("/v1/tasks", json=body).status_code, 8)
    assert sorted(answers) == [201] + [409] * 7


def test_a_batch_is_created_all_or_none(client: httpx.Client) -> None:
    response = client.post("/v1/tasks/batch", json={"tasks": [ORDER] * 1000})
    assert response.status_code == 201
    views.CreatedTasks.model_validate_json(response.content)
    assert len({task["task_uuid"] for task in response.json()["tasks"]}) == 1000

    bad = {**ORDER, "context": {"amount": "x"}}
    fault = error(client.post("/v1/tasks/batch", json={"tasks": [ORDER, bad]}), 422, "invalid_context")
    assert fault["faults"][0]["path"] == "/tasks/1/context/amount"
    fault = error(client.post("/v1/tasks/batch", json={"tasks": [ORDER, {**ORDER, "nme": 1}]}), 422, "invalid")
    assert fault["faults"][0]["path"] == "/tasks/1/nme"
    fault = error(
        client.post("/v1/tasks/batch", json={"tasks": [ORDER, {**ORDER, "name": "x"}]}), 404, "unknown_template"
    )
    assert fault["index"] == 1
    created(client, idempotency_key="k", tags=["first"])
    keyed = {**ORDER, "idempotency_key": "k"}
    fault = error(client.post("/v1/tasks/batch", json={"tasks": [ORDER, keyed]}), 409, "duplicate_task")
    assert fault["index"] == 1
    new = {**ORDER, "idempotency_key": "new"}
    fault = error(client.post("/v1/tasks/batch", json={"tasks": [new, ORDER, new]}), 409, "duplicate_task")
    assert fault["index"] == 2
    error(client.post("/v1/tasks/batch", json={"tasks": [ORDER] * 1001}), 422, "invalid")
    error(client.post("/v1/tasks/batch", json={"tasks": []}), 422, "invalid")

    count, cursor = 0, None
    while True:
        page = client.get("/v1/tasks", params={"limit": 200, **({"cursor": cursor} if cursor else {})}).json()
        count += len(page["tasks"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert count == 1001


def test_the_list_has_the_newest_first_and_takes_filters(client: httpx.Client) -> None:
    tasks = [created(client, tags=[f"t{number}"]) for number in range(3)]
    response = client.get("/v1/tasks", params={"limit": 2})
    views.TaskList.model_validate_json(response.content)
    assert response.json()["tasks"] == [tasks[2], tasks[1]]
    rest = client.get("/v1/tasks", params={"limit": 2, "cursor": response.json()["next_cursor"]}).json()
    assert rest == {"tasks": [tasks[0]], "next_cursor": None, "pagination": None}
    first = client.get("/v1/tasks", params={"per_page": 2}).json()
    assert (first["tasks"], first["pagination"]["total_pages"]) == ([tasks[2], tasks[1]], 2)
    rest = client.get("/v1/tasks", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert rest["tasks"] == [tasks[0]]
    found = client.get("/v1/tasks", params={"tag": "t1", "status": "pending"}).json()["tasks"]
    assert [task["task_uuid"] for task in found] == [tasks[1]["task_uuid"]]
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert client.get("/v1/tasks", params={"created_before": yesterday}).json()["tasks"] == []


@pytest.mark.parametrize(
    "query",
    [
        "status=done", "limit=0", "limit=201", "limit=x", "cursor=x", "correlation_id=x", "created_after=yesterday",
        "created_after=2025-12-01T10:30:00", "tag=%00", "name=", "page=0", "per_page=201", "initiator=",
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_used_is_refused_by_name(client: httpx.Client, query: str) -> None:
    fault = error(client.get(f"/v1/tasks?{query}"), 422, "invalid")
    assert fault["faults"][0]["path"] == query.partition("=")[0]


@pytest.mark.parametrize("query", ["page=1&limit=5", f"per_page=5&cursor={ONE}", "page=2002"])
def test_pages_that_do_not_go_together_or_come_too_late_are_refused(client: httpx.Client, query: str) -> None:
    fault = error(client.get(f"/v1/tasks?{query}"), 422, "invalid")
    assert "cursor" in fault["message"]


def test_steps_are_shown_with_results_and_attempts(client: httpx.Client, pool: Pool) -> None:
    task = created(client)
    worker = FakeWorker(pool)
    (step,) = worker.claim()
    worker.commit(result(step, "waiting_for_retry", delay_ms=0))
    (step,) = worker.claim()
    path = f"/v1/tasks/{task['task_uuid']}/workflow_steps"
    name = f"worker-{worker.worker_id}"
    assert [step["worker_id"] for step in client.get(path).json()] == [name, None, None]
    worker.commit(result(step, result={"large": 18446744073709551615, "text": "Ü"}, bytes=40))

    response = client.get(f"/v1/tasks/{task['task_uuid']}/workflow_steps")
    views.StepList.model_validate_json(response.content)
    steps = response.json()
    assert [step["name"] for step in steps] == ["reserve", "charge", "notify"]
    assert steps[0]["result"] == {"large": 18446744073709551615, "text": "Ü"}
    assert steps[1]["dependencies"] == ["reserve"]

    response = client.get(f"/v1/tasks/{task['task_uuid']}/workflow_steps/{steps[0]['step_uuid']}")
    views.StepDetail.model_validate_json(response.content)
    assert [each["outcome"] for each in response.json()["attempt_history"]] == ["waiting_for_retry", "complete"]
    assert {each["worker_id"] for each in response.json()["attempt_history"]} == {name}
    views.TaskView.model_validate_json(client.get(f"/v1/tasks/{task['task_uuid']}").content)


def test_cancelling_tells_the_workers_and_can_be_repeated(
    client: httpx.Client, runtime: RecordingRuntime, pool: Pool
) -> None:
    task = created(client)
    worker = FakeWorker(pool)
    (step,) = worker.claim()

    response = client.delete(f"/v1/tasks/{task['task_uuid']}")
    assert response.status_code == 200
    views.TaskView.model_validate_json(response.content)
    assert response.json()["status"] == "cancelled"
    assert [(lease.token, lease.worker_id) for lease in runtime.cancelled] == [(step["token"], worker.worker_id)]

    again = client.delete(f"/v1/tasks/{task['task_uuid']}")
    assert (again.status_code, again.json()) == (200, response.json())
    assert len(runtime.cancelled) == 1


def test_a_finished_task_cannot_be_cancelled(client: httpx.Client, pool: Pool) -> None:
    task = created(client)
    FakeWorker(pool).run()
    fault = error(client.delete(f"/v1/tasks/{task['task_uuid']}"), 409, "task_finished")
    assert fault["task_status"] == "complete"


def test_what_is_not_there_is_404_and_what_is_no_id_is_400(client: httpx.Client) -> None:
    task = created(client)["task_uuid"]
    nobody = new_uuid7()
    error(client.get(f"/v1/tasks/{nobody}"), 404, "unknown_task")
    error(client.delete(f"/v1/tasks/{nobody}"), 404, "unknown_task")
    error(client.get(f"/v1/tasks/{nobody}/workflow_steps"), 404, "unknown_task")
    error(client.get(f"/v1/tasks/{nobody}/workflow_steps/{nobody}"), 404, "unknown_task")
    error(client.get(f"/v1/tasks/{task}/workflow_steps/{nobody}"), 404, "unknown_step")
    for path in (
        "/v1/tasks/7",
        f"/v1/tasks/{task}x",
        f"/v1/tasks/7/workflow_steps/{task}",
        f"/v1/tasks/{task}/workflow_steps/7",
    ):
        error(client.get(path), 400, "bad_path")
    error(client.post("/v1/tasks", json={**ORDER, "correlation_id": "x"}), 422, "invalid")
    assert client.get(f"/v1/tasks/{task.upper()}").status_code == 200


# Trace and correlation


def test_the_caller_s_trace_and_correlation_go_on_in_the_task_and_come_back(client: httpx.Client, pool: Pool) -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1", "x-correlation-id": ONE.upper()}
    response = client.post("/v1/tasks", json=ORDER, headers=headers)
    assert response.json()["correlation_id"] == ONE
    assert response.headers["x-correlation-id"] == ONE
    with pool.connection() as connection:
        row = connection.execute("SELECT traceparent, tracestate FROM tasker.tasks").fetchone()
    assert row == (TRACEPARENT, "vendor=1")
    own = task_span_id(response.json()["task_uuid"])
    assert response.headers["traceparent"] == "00-" + "ab" * 16 + f"-{own}-01"


def test_without_a_caller_s_trace_a_task_s_span_has_no_parent(client: httpx.Client, pool: Pool) -> None:
    response = client.post("/v1/tasks", json=ORDER)
    with pool.connection() as connection:
        row = connection.execute("SELECT task_uuid::text, traceparent FROM tasker.tasks").fetchone()
    assert row is not None
    given = parse_traceparent(row[1])
    assert given is not None
    assert task_span(row[0], given) == (given, None)
    assert response.headers["traceparent"] == row[1]


@pytest.mark.parametrize("given", [None, TRACEPARENT])
def test_an_event_from_outside_is_published_in_a_span_that_its_caller_is_told(
    client: httpx.Client, runtime: RecordingRuntime, given: str | None
) -> None:
    headers = {} if given is None else {"traceparent": given}
    response = client.post("/v1/events", json={"name": "ops.noted", "namespace": "shop", "payload": 1}, headers=headers)
    publication = runtime.published[-1]
    own = publish_domain_event_id(publication.event_id)
    told = parse_traceparent(response.headers["traceparent"])
    assert told is not None
    assert told == publication.trace.with_span(own)
    assert publication.trace.span_id == (own if given is None else "cd" * 8)


def test_the_correlation_id_of_the_body_wins(client: httpx.Client) -> None:
    other = new_uuid7()
    response = client.post("/v1/tasks", json={**ORDER, "correlation_id": other}, headers={"x-correlation-id": ONE})
    assert response.json()["correlation_id"] == response.headers["x-correlation-id"] == other


def test_headers_that_cannot_be_used_are_replaced(client: httpx.Client) -> None:
    response = client.post("/v1/tasks", json=ORDER, headers={"traceparent": "00-x", "x-correlation-id": "x"})
    assert response.status_code == 201
    assert is_uuid(response.headers["x-correlation-id"])
    assert parse_traceparent(response.headers["traceparent"]) is not None


def test_tasks_of_a_batch_without_a_caller_s_trace_have_traces_of_their_own(client: httpx.Client, pool: Pool) -> None:
    client.post("/v1/tasks/batch", json={"tasks": [ORDER, ORDER]})
    with pool.connection() as connection:
        rows = connection.execute("SELECT substr(traceparent, 4, 32) FROM tasker.tasks").fetchall()
    assert len(set(rows)) == 2


@pytest.mark.parametrize("path", ["/health", "/nope", "/v1/tasks/7", "/metrics"])
def test_every_answer_has_trace_and_correlation(client: httpx.Client, path: str) -> None:
    response = client.get(path, headers={"traceparent": TRACEPARENT, "x-correlation-id": ONE})
    assert response.headers["x-correlation-id"] == ONE
    assert response.headers["traceparent"].startswith("00-" + "ab" * 16)


# Events


def test_events_are_read_by_correlation_id(client: httpx.Client, pool: Pool) -> None:
    event = message(ONE, fired_at=FIRED_AT)
    send(pool, "shop_domain_events", event, message(new_uuid7(), fired_at=FIRED_AT))
    response = client.get("/v1/events", params={"correlation_id": ONE.upper()})
    views.EventList.model_validate_json(response.content)
    (found,) = response.json()["events"]
    assert {key: found[key] for key in event} == event
    assert len(client.get("/v1/events").json()["events"]) == 2
    error(client.get("/v1/events", params={"namespace": "nobody"}), 404, "unknown_namespace")
    error(client.get("/v1/events", params={"namespace": "Bad-Name"}), 422, "invalid")
    error(client.get("/v1/events", params={"correlation_id": "x"}), 422, "invalid")


def test_an_event_is_published_through_the_runtime(client: httpx.Client, runtime: RecordingRuntime) -> None:
    body = {"name": "order.seen", "namespace": "shop", "payload": [1, None], "parent_correlation_id": ONE}
    response = client.post("/v1/events", json=body, headers={"traceparent": TRACEPARENT})
    assert response.status_code == 202
    views.PublishedEvent.model_validate_json(response.content)
    (publication,) = runtime.published
    assert (publication.name, publication.namespace, publication.payload) == ("order.seen", "shop", [1, None])
    assert publication.delivery_mode == "durable"
    assert publication.parent_correlation_id == ONE
    assert publication.correlation_id == response.headers["x-correlation-id"] == response.json()["correlation_id"]
    assert publication.trace.trace_id == "ab" * 16
    client.post("/v1/events", json={**body, "delivery_mode": "fast", "payload": None})
    assert runtime.published[1].delivery_mode == "fast"


def test_an_event_that_cannot_be_published_is_refused(client: httpx.Client, runtime: RecordingRuntime) -> None:
    body = {"name": "order.seen", "namespace": "shop", "payload": {"a": 1}}
    for changes, path in (
        ({"name": "Order"}, "/name"),
        ({"namespace": "Shop"}, "/namespace"),
        ({"delivery_mode": "slow"}, "/delivery_mode"),
        ({"correlation_id": "x"}, "/correlation_id"),
    ):
        fault = error(client.post("/v1/events", json={**body, **changes}), 422, "invalid")
        assert fault["faults"][0]["path"] == path
    error(client.post("/v1/events", json={"name": "order.seen", "namespace": "shop"}), 422, "invalid")
    error(client.post("/v1/events", json={**body, "namespace": "nobody"}), 404, "unknown_namespace")
    assert runtime.published == []

    runtime.publish_error = PublicationRefusedError("too_large", "payload is too large", "/a")
    fault = error(client.post("/v1/events", json=body), 422, "too_large")
    assert fault["faults"] == [{"path": "/payload/a", "message": "payload is too large"}]
    runtime.publish_error = PublishUnavailableError("no worker is running")
    assert "no worker" in error(client.post("/v1/events", json=body), 503, "no_worker")["message"]
    runtime.publish_error = TimeoutError("secret address")
    response = client.post("/v1/events", json=body)
    fault = error(response, 504, "publish_timeout")
    assert fault["correlation_id"] == response.headers["x-correlation-id"]
    assert "secret" not in response.text


def test_a_namespace_of_another_supervisor_is_known(
    client: httpx.Client, runtime: RecordingRuntime, pool: Pool
) -> None:
    register(pool, namespace_name="air")
    response = client.post("/v1/events", json={"name": "flight.delayed", "namespace": "air", "payload": 1})
    assert response.status_code == 202


# Dead letters


def test_dead_letters_are_listed_and_redriven(client: httpx.Client, pool: Pool) -> None:
    event = message(ONE, fired_at=FIRED_AT)
    bare = dead_letter(message(ONE, fired_at=FIRED_AT))
    del bare["payload"]
    first, second = send(pool, "shop_domain_events_dlq", dead_letter(event), bare)

    response = client.get("/v1/events/dlq", params={"namespace": "shop"})
    views.DeadLetterList.model_validate_json(response.content)
    assert [letter["redrivable"] for letter in response.json()["dead_letters"]] == [True, False]

    response = client.post("/v1/events/dlq/redrive", json={"namespace": "shop", "all": True})
    views.RedriveView.model_validate_json(response.content)
    assert response.json()["redriven"] == [{"msg_id": first, "event_id": event["event_id"]}]
    assert [refusal["code"] for refusal in response.json()["refused"]] == ["no_payload"]
    assert response.json()["next_after_msg_id"] is None

    body = {"namespace": "shop", "msg_ids": [second], "payload": None}
    assert len(client.post("/v1/events/dlq/redrive", json=body).json()["redriven"]) == 1
    assert [row[1]["payload"] for row in queue_rows(pool, "shop_domain_events")] == [{"amount": 1}, None]
    assert client.get("/v1/events/dlq").json() == {"dead_letters": [], "truncated": False}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": True, "msg_ids": [1]},
        {"msg_ids": []},
        {"msg_ids": ["1"]},
        {"msg_ids": [0]},
        {"msg_ids": [2**63]},
        {"event_ids": ["x"]},
        {"msg_ids": [1, 2], "payload": 1},
        {"all": True, "payload": 1},
        {"msg_ids": [1], "after_msg_id": 1},
        {"msg_ids": list(range(1, 102))},
    ],
)
def test_a_redrive_names_its_dead_letters_in_one_way(client: httpx.Client, body: dict[str, Any]) -> None:
    error(client.post("/v1/events/dlq/redrive", json={"namespace": "shop", **body}), 422, "invalid")


def test_a_redrive_of_an_unknown_namespace_or_with_too_large_a_payload_is_refused(
    client: httpx.Client, runtime: RecordingRuntime
) -> None:
    error(client.post("/v1/events/dlq/redrive", json={"namespace": "nobody", "all": True}), 404, "unknown_namespace")
    body = {"namespace": "shop", "msg_ids": [1], "payload": "x" * runtime.settings.events.max_payload_bytes}
    error(client.post("/v1/events/dlq/redrive", json=body), 422, "too_large")


# The rest


def test_templates_and_workers_are_listed(client: httpx.Client, pool: Pool) -> None:
    response = client.get("/v1/templates")
    status_views.TemplateList.model_validate_json(response.content)
    (template,) = response.json()["templates"]
    assert [step["name"] for step in template["steps"]] == ["reserve", "charge", "notify"]
    assert template["steps"][1]["publishes_events"] == [
        {"name": "order.charged", "delivery_mode": "broadcast", "condition": "success"}
    ]

    workers = [FakeWorker(pool) for _ in range(3)]
    with pool.connection() as connection:
        for worker, age in ((workers[1], "1 minute"), (workers[2], "1 hour")):
            connection.execute(
                "UPDATE tasker.workers SET alive = false, ended_at = now() - %s::interval WHERE worker_id = %s",
                [age, worker.worker_id],
            )
    response = client.get("/v1/workers")
    status_views.WorkerList.model_validate_json(response.content)
    shown = {worker["worker_id"]: worker["alive"] for worker in response.json()["workers"]}
    assert shown == {f"worker-{workers[0].worker_id}": True, f"worker-{workers[1].worker_id}": False}


def test_a_database_that_is_away_is_503_and_the_port_goes_on(runtime: RecordingRuntime) -> None:
    with (
        open_pool("postgresql://nobody@127.0.0.1:1/x?connect_timeout=2", application_name="t", max_size=1) as away,
        serving(runtime) as client,
    ):
        away.timeout = 0.2
        runtime.pool = away
        response = client.post("/v1/tasks", json=ORDER)
        error(response, 503, "database_unavailable")
        assert response.headers["retry-after"] == "1"
        error(client.get(f"/v1/tasks/{ONE}"), 503, "database_unavailable")
        error(client.get("/v1/tasks"), 503, "database_unavailable")
        error(client.get("/v1/events"), 503, "database_unavailable")
        assert runtime.created == []
        assert client.get("/health/live").status_code == 200


def test_a_connection_that_is_cut_says_that_the_outcome_is_unknown(
    client: httpx.Client, pool: Pool, runtime: RecordingRuntime
) -> None:
    with pool.connection() as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION tasker.cut() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END$$"
        )
        connection.execute("CREATE TRIGGER cut AFTER INSERT ON tasker.tasks EXECUTE FUNCTION tasker.cut()")
    fault = error(client.post("/v1/tasks", json=ORDER), 503, "database_unavailable")
    assert "not known" in fault["message"]
    assert runtime.created == []


def test_a_fault_of_the_database_is_500_without_internals(client: httpx.Client, pool: Pool) -> None:
    created(client)
    with pool.connection() as connection:
        connection.execute("ALTER TABLE tasker.steps RENAME TO secret_name")
    response = client.get("/v1/tasks")
    error(response, 500, "internal_error")
    assert "secret_name" not in response.text
    assert "steps" not in response.text
    assert is_uuid(response.headers["x-correlation-id"])


def test_a_task_that_is_created_can_be_claimed_at_once(client: httpx.Client, pool: Pool) -> None:
    task = created(client)
    (step,) = FakeWorker(pool).claim()
    assert step["step_uuid"] == task["steps"][0]["step_uuid"]


def test_a_page_of_tasks_that_runs_shows_what_runs(client: httpx.Client, pool: Pool, runtime: RecordingRuntime) -> None:
    create(pool, runtime.registered[0])
    FakeWorker(pool).claim()
    (task,) = client.get("/v1/tasks", params={"status": "in_progress"}).json()["tasks"]
    assert (task["status"], task["in_progress_steps"], task["execution_status"]) == ("in_progress", 1, "processing")
