"""Tasks that are to start later: nothing of them begins before, and everything else is as with other tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from support.api_runtime import RecordingRuntime, serving
from support.flow import Flow, Worker
from support.stored_work import register
from support.waiting import until

from tasker_actors import TaskerClient, TaskRequest
from tasker_actors.errors import InvalidRequestError
from tasker_actors.postgres.connect import connect
from tasker_actors.web import views

ORDER = {"namespace": "shop", "name": "order", "context": {"amount": 1}}
HOUR_S = 3600


@pytest.fixture
def client(flow: Flow) -> Iterator[httpx.Client]:
    runtime = RecordingRuntime(flow.pool)
    runtime.registered.append(register(flow.pool))
    with serving(runtime) as opened:
        yield opened


def created(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    response = client.post("/v1/tasks", json={**ORDER, **changes})
    assert response.status_code == 201, response.text
    views.TaskView.model_validate_json(response.content)
    task: dict[str, Any] = response.json()
    assert client.get(f"/v1/tasks/{task['task_uuid']}").json() == task
    return task


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_delay_counts_from_the_clock_of_the_database(client: httpx.Client) -> None:
    task = created(client, delay_seconds=HOUR_S)

    waits = moment(task["start_at"]) - moment(task["created_at"])
    assert timedelta(minutes=30) < waits <= timedelta(hours=1)
    assert (task["status"], task["pending_steps"], task["ready_steps"]) == ("pending", 3, 0)
    assert task["execution_status"] == "waiting_for_dependencies"


def test_a_moment_is_told_as_it_was_given_in_utc(client: httpx.Client) -> None:
    task = created(client, run_at="2100-01-01T01:30:00+01:30")

    assert task["start_at"] == "2100-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    "start", [{"run_at": "2001-01-01T00:00:00Z"}, {"run_at": "0001-01-01T00:00:00+14:00"}, {"delay_seconds": 0}]
)
def test_what_is_over_means_now_with_the_priority_of_any_other_task(
    client: httpx.Client, flow: Flow, start: dict[str, Any]
) -> None:
    task = created(client, priority=2, **start)

    assert task["start_at"] is None
    assert task["ready_steps"] == 1
    run_at = flow.steps(task["task_uuid"])["reserve"]["run_at"]
    assert moment(task["created_at"]) - run_at == timedelta(hours=2)


def test_nothing_begins_before_its_time_and_a_claim_says_when(client: httpx.Client, flow: Flow) -> None:
    worker = Worker(flow)
    task = created(client, delay_seconds=2 * HOUR_S, priority=1000)
    created(client, delay_seconds=3 * HOUR_S)

    claimed = worker.claimer.claim(100, 1_000_000)

    assert claimed is not None
    assert list(claimed.steps) == []
    assert claimed.next_run_in_ms is not None
    assert HOUR_S * 1000 < claimed.next_run_in_ms <= 2 * HOUR_S * 1000
    assert flow.states(task["task_uuid"]) == {"reserve": "enqueued", "charge": "pending", "notify": "pending"}


def test_when_its_time_has_come_it_runs_and_has_not_waited_until_then(client: httpx.Client, flow: Flow) -> None:
    worker = Worker(flow)
    # Its start is moved back instead of being waited for.
    task = created(client, delay_seconds=HOUR_S)
    flow.rows(
        "WITH t AS (UPDATE tasker.tasks SET start_at = now() - interval '1 s', created_at = now() - interval '1 h',"
        " updated_at = now() - interval '1 h' RETURNING task_uuid, start_at)"
        " UPDATE tasker.steps s SET run_at = t.start_at, updated_at = now() - interval '1 h' FROM t"
        " WHERE s.task_uuid = t.task_uuid AND s.run_at IS NOT NULL RETURNING s.task_uuid"
    )
    assert client.get(f"/v1/tasks/{task['task_uuid']}").json()["ready_steps"] == 1

    (step,) = worker.claim()

    assert 1000 <= step.waited_ms < HOUR_S * 1000 / 2


def test_a_short_delay_passes_and_all_steps_run(client: httpx.Client, flow: Flow) -> None:
    worker = Worker(flow)
    task = created(client, delay_seconds=1)

    until(lambda: worker.run() > 0)
    until(lambda: worker.run() == 0)

    done = client.get(f"/v1/tasks/{task['task_uuid']}").json()
    assert done["status"] == "complete"
    attempts = flow.rows("SELECT min(finished_at) AS first FROM tasker.step_attempts")
    assert attempts[0]["first"] >= moment(task["start_at"])


def test_a_task_that_has_not_begun_is_cancelled(client: httpx.Client, flow: Flow) -> None:
    task = created(client, delay_seconds=HOUR_S)

    cancelled = client.delete(f"/v1/tasks/{task['task_uuid']}").json()

    assert cancelled["status"] == "cancelled"
    assert cancelled["start_at"] == task["start_at"]
    assert Worker(flow).claim() == []


def test_each_task_of_a_batch_has_its_own_start(client: httpx.Client) -> None:
    tasks = [ORDER, {**ORDER, "delay_seconds": HOUR_S}, {**ORDER, "run_at": "2100-01-01T00:00:00Z"}]

    answer = client.post("/v1/tasks/batch", json={"tasks": tasks})

    assert answer.status_code == 201
    found = [client.get(f"/v1/tasks/{each['task_uuid']}").json() for each in answer.json()["tasks"]]
    assert [each["ready_steps"] for each in found] == [1, 0, 0]
    assert found[0]["start_at"] is None
    assert moment(found[1]["start_at"]) > datetime.now(UTC)
    assert found[2]["start_at"] == "2100-01-01T00:00:00.000000Z"


def test_a_list_filtered_by_state_knows_that_it_waits(client: httpx.Client) -> None:
    task = created(client, delay_seconds=HOUR_S)

    (listed,) = client.get("/v1/tasks", params={"status": "pending"}).json()["tasks"]

    assert listed == task


@pytest.mark.parametrize(
    ("start", "path", "message"),
    [
        ({"run_at": "2100-01-01T00:00:00Z", "delay_seconds": 1}, "/delay_seconds", "not both"),
        ({"run_at": "2100-01-01T00:00:00"}, "/run_at", "timezone"),
        ({"run_at": "2100-01-01"}, "/run_at", "such as 2025-12-01T10:30:00Z"),
        ({"run_at": 4_102_444_800}, "/run_at", "such as 2025-12-01T10:30:00Z"),
        ({"run_at": "2100-02-30T00:00:00Z"}, "/run_at", "day"),
        ({"run_at": "9999-12-31T23:59:59-12:00"}, "/run_at", "before the year 9999"),
        ({"delay_seconds": -1}, "/delay_seconds", "greater than or equal to 0"),
        ({"delay_seconds": 31_536_001}, "/delay_seconds", "less than or equal to 31536000"),
        ({"delay_seconds": "60"}, "/delay_seconds", "integer"),
        ({"delay_seconds": 1.5}, "/delay_seconds", "integer"),
    ],
)
def test_a_start_that_cannot_be_meant_is_refused_and_nothing_is_created(
    client: httpx.Client, flow: Flow, start: dict[str, Any], path: str, message: str
) -> None:
    alone = client.post("/v1/tasks", json={**ORDER, **start})
    among_others = client.post("/v1/tasks/batch", json={"tasks": [ORDER, {**ORDER, **start}]})

    for response, place in ((alone, path), (among_others, f"/tasks/1{path}")):
        assert response.status_code == 422, response.text
        (fault,) = response.json()["error"]["faults"]
        assert fault["path"] == place
        assert message in fault["message"]
    assert flow.rows("SELECT FROM tasker.tasks") == []


def test_in_a_transaction_of_its_own_an_application_delays_tasks_too(client: httpx.Client, flow: Flow) -> None:
    moment_given = datetime.fromisoformat("2100-01-01T01:00:00+01:00")
    with connect(flow.url, application_name="tests", autocommit=False) as connection:
        ours = TaskerClient.in_transaction(connection)
        delayed = ours.create_task("shop/order", {"amount": 1}, delay_seconds=HOUR_S)
        at_a_moment, at_once = ours.create_tasks(
            [
                TaskRequest("shop/order", {"amount": 1}, run_at=moment_given),
                TaskRequest("shop/order", {"amount": 1}, run_at=datetime.fromisoformat("2001-01-01T00:00:00Z")),
            ]
        )
        with pytest.raises(InvalidRequestError) as refused:
            ours.create_task("shop/order", {"amount": 1}, run_at=moment_given.replace(tzinfo=None))
        connection.commit()

    assert refused.value.faults[0].path == "/run_at"
    starts = [client.get(f"/v1/tasks/{task.task_uuid}").json()["start_at"] for task in (delayed, at_a_moment, at_once)]
    assert moment(starts[0]) > datetime.now(UTC)
    assert starts[1:] == ["2100-01-01T00:00:00.000000Z", None]
