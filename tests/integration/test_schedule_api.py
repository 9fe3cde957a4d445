"""`/v1/schedules` over a real socket and a real database: what it answers, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.api_runtime import RecordingRuntime, serving
from support.flow import Flow
from support.scheduled import FAR, fire, new_year, put, schedule, tasks
from support.stored_work import register

from tasker_actors.web.schedule_views import FiredTask, ScheduleList, ScheduleView

NIGHTLY = {
    "namespace": "shop",
    "template": "order",
    "version": "1.0.0",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "context": {"amount": 1, "items": [1.5, "ü", None]},
    "priority": 5,
    "tags": ["a", "b"],
    "catch_up": "all",
}


@pytest.fixture
def runtime(flow: Flow) -> RecordingRuntime:
    register(flow.pool)
    return RecordingRuntime(flow.pool)  # it knows no template itself: those of the database count


@pytest.fixture
def client(runtime: RecordingRuntime) -> Iterator[httpx.Client]:
    with serving(runtime) as opened:
        yield opened


def put_ok(client: httpx.Client, name: str = "nightly", status: int = 201, **changes: Any) -> dict[str, Any]:
    response = client.put(f"/v1/schedules/{name}", json={**NIGHTLY, **changes})
    assert response.status_code == status, response.text
    ScheduleView.model_validate_json(response.content)
    found: dict[str, Any] = response.json()
    assert client.get(f"/v1/schedules/{name}").json() == found
    return found


def error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()["error"]
    assert found["code"] == code
    return found


def test_a_schedule_is_shown_as_it_was_put_with_its_next_five_firings(client: httpx.Client) -> None:
    found = put_ok(client)

    assert {key: found[key] for key in NIGHTLY} == NIGHTLY
    assert (found["name"], found["enabled"], found["scheduled_for_key"]) == ("nightly", True, None)
    assert found["last_fired_at"] is found["last_task_uuid"] is found["last_error"] is None
    assert len(found["next_fire_times"]) == 5
    assert found["next_fire_times"][0] == found["next_fire_at"]
    assert found["next_fire_times"] == sorted(found["next_fire_times"])
    assert all(moment[14:] == "30:00.000000Z" for moment in found["next_fire_times"])


def test_what_is_left_out_has_its_default(client: httpx.Client) -> None:
    body = {"namespace": "shop", "template": "order", "cron": "0 0 * * *", "context": {"amount": 1}}
    response = client.put("/v1/schedules/plain", json=body)

    assert response.status_code == 201
    found = response.json()
    assert (found["version"], found["timezone"], found["catch_up"]) == (None, "UTC", "latest")
    assert (found["priority"], found["tags"], found["enabled"]) == (0, [], True)


def test_putting_it_again_replaces_it_and_keeps_its_place(client: httpx.Client, flow: Flow) -> None:
    """Whoever puts all schedules with each release does not lose what was missed during it."""
    first = put_ok(client)
    missed = new_year(flow, 1)
    flow.rows("UPDATE tasker.schedules SET next_fire_at = %s RETURNING 1", missed)

    again = put_ok(client, status=200, priority=7)
    assert schedule(flow, "nightly")["next_fire_at"] == missed
    assert (again["priority"], again["created_at"]) == (7, first["created_at"])
    assert again["updated_at"] > first["updated_at"]

    for changes in ({"timezone": "UTC"}, {"cron": "31 2 * * *"}):
        flow.rows("UPDATE tasker.schedules SET next_fire_at = %s RETURNING 1", missed)
        assert put_ok(client, status=200, **changes)["next_fire_at"] > first["updated_at"]


def test_one_is_paused_and_resumed_without_what_was_due_meanwhile(client: httpx.Client, flow: Flow) -> None:
    first = put_ok(client)
    flow.rows("UPDATE tasker.schedules SET next_fire_at = %s RETURNING 1", new_year(flow, 1))

    paused = client.patch("/v1/schedules/nightly", json={"enabled": False}).json()
    assert (paused["enabled"], paused["next_fire_at"], paused["next_fire_times"]) == (False, None, [])
    assert fire(flow) == []

    resumed = client.patch("/v1/schedules/nightly", json={"enabled": True}).json()
    assert resumed["enabled"]
    assert resumed["next_fire_at"] >= first["next_fire_at"]
    assert fire(flow) == []


def test_to_resume_one_that_runs_changes_nothing(client: httpx.Client, flow: Flow) -> None:
    put_ok(client)
    missed = new_year(flow, 1)
    flow.rows("UPDATE tasker.schedules SET next_fire_at = %s RETURNING 1", missed)

    assert client.patch("/v1/schedules/nightly", json={"enabled": True}).status_code == 200
    assert schedule(flow, "nightly")["next_fire_at"] == missed


def test_one_that_is_put_paused_does_not_fire(client: httpx.Client) -> None:
    assert put_ok(client, enabled=False)["next_fire_at"] is None
    assert put_ok(client, status=200, enabled=True)["next_fire_at"] is not None


def test_one_that_is_deleted_is_gone_and_its_tasks_stay(client: httpx.Client, flow: Flow) -> None:
    put_ok(client)
    client.post("/v1/schedules/nightly/fire")

    response = client.delete("/v1/schedules/nightly")

    assert response.status_code == 200
    assert response.json()["name"] == "nightly"
    error(client.get("/v1/schedules/nightly"), 404, "unknown_schedule")
    assert len(tasks(flow, "nightly")) == 1


def test_fired_by_hand_it_has_a_task_and_its_clock_goes_on(
    client: httpx.Client, flow: Flow, runtime: RecordingRuntime
) -> None:
    before = put_ok(client, enabled=False)

    for _ in range(2):
        response = client.post("/v1/schedules/nightly/fire")
        assert response.status_code == 201, response.text
        FiredTask.model_validate_json(response.content)

    task = client.get(f"/v1/tasks/{response.json()['task_uuid']}").json()
    assert task["context"] == NIGHTLY["context"]
    assert task["correlation_id"] == response.json()["correlation_id"]
    assert task["tags"][:3] == ["a", "b", "schedule:nightly"]
    assert len(tasks(flow, "nightly")) == 2
    assert runtime.created == [("shop", "order")] * 2
    assert client.get("/v1/schedules/nightly").json() == before


def test_a_list_is_in_the_order_of_names_and_comes_in_pages(client: httpx.Client, flow: Flow) -> None:
    for name in ("c", "a", "b"):
        put_ok(client, name)
    put(flow, "other", namespace="elsewhere")

    first = client.get("/v1/schedules", params={"limit": 2, "namespace": "shop"})
    ScheduleList.model_validate_json(first.content)
    assert [each["name"] for each in first.json()["schedules"]] == ["a", "b"]
    more = {"limit": 2, "namespace": "shop", "cursor": first.json()["next_cursor"]}
    second = client.get("/v1/schedules", params=more).json()
    assert [each["name"] for each in second["schedules"]] == ["c"]
    assert second["next_cursor"] is None
    assert len(client.get("/v1/schedules").json()["schedules"]) == 4


def test_the_last_error_is_shown(client: httpx.Client, flow: Flow) -> None:
    put(flow, "bad", due=new_year(flow), template="gone")
    fire(flow)

    found = client.get("/v1/schedules/bad")

    ScheduleView.model_validate_json(found.content)
    assert "there is no template shop/gone" in found.json()["last_error"]["message"]


def test_one_of_another_release_is_shown_too_with_the_reason_once_it_is_due(client: httpx.Client, flow: Flow) -> None:
    put(flow, "strange", due=FAR, cron="@sometimes")
    assert client.get("/v1/schedules/strange").json()["next_fire_times"] == []
    flow.rows("UPDATE tasker.schedules SET next_fire_at = %s RETURNING 1", new_year(flow))
    fire(flow)

    found = client.get("/v1/schedules/strange").json()

    ScheduleView.model_validate(found)
    assert found["enabled"]
    assert "cron: '@sometimes' has not five" in found["last_error"]["message"]


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"cron": "61 * * * *"}, "/cron", "has a minute that cannot be read"),
        ({"cron": "0 0 30 2 *"}, "/cron", "never fires"),
        ({"cron": "* * */20 * 1L"}, "/cron", "never fires"),
        ({"cron": "* * * *"}, "/cron", "has not five or six fields but 4"),
        ({"cron": "*" * 201}, "/cron", "at most 200 characters"),
        ({"timezone": "Europe/Berlim"}, "/timezone", "did you mean 'Europe/Berlin'?"),
        ({"catch_up": "some"}, "/catch_up", "'skip', 'latest' or 'all'"),
        ({"priority": 1001}, "/priority", "less than or equal to 1000"),
        ({"tags": ["t"] * 41}, "/tags", "at most 40"),
        ({"enabled": "yes"}, "/enabled", "boolean"),
        ({"crom": "* * * * *"}, "/crom", "did you mean 'cron'?"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_and_nothing_changes(
    client: httpx.Client, changes: dict[str, Any], path: str, message: str
) -> None:
    before = put_ok(client)

    for name in ("nightly", "new"):
        fault = error(client.put(f"/v1/schedules/{name}", json={**NIGHTLY, **changes}), 422, "invalid")
        assert fault["faults"][0]["path"] == path
        assert message in fault["faults"][0]["message"]

    assert client.get("/v1/schedules/nightly").json() == before
    assert len(client.get("/v1/schedules").json()["schedules"]) == 1


def test_a_template_that_nobody_registered_is_refused_with_the_nearest(client: httpx.Client) -> None:
    fault = error(client.put("/v1/schedules/n", json={**NIGHTLY, "template": "ordr"}), 404, "unknown_template")
    assert "did you mean 'shop/order'?" in fault["message"]
    fault = error(client.put("/v1/schedules/n", json={**NIGHTLY, "version": "7"}), 404, "unknown_template")
    assert "has no version 7" in fault["message"]


def test_a_context_that_its_schema_refuses_is_refused_with_each_fault(client: httpx.Client) -> None:
    body = {**NIGHTLY, "context": {"amount": 0, "items": 3}}
    fault = error(client.put("/v1/schedules/n", json=body), 422, "invalid_context")
    assert {each["path"] for each in fault["faults"]} == {"/context/amount", "/context/items"}
    # What a firing adds is part of what the schema sees.
    body = {**NIGHTLY, "scheduled_for_key": "amount"}
    fault = error(client.put("/v1/schedules/n", json=body), 422, "invalid_context")
    assert fault["faults"][0]["path"] == "/context/amount"


def test_firing_by_hand_what_cannot_fire_is_refused_with_the_reason(client: httpx.Client, flow: Flow) -> None:
    put(flow, "gone", template="ordr")
    put(flow, "unfit", template="order")
    error(client.post("/v1/schedules/gone/fire"), 404, "unknown_template")
    error(client.post("/v1/schedules/unfit/fire"), 422, "invalid_context")
    assert flow.rows("SELECT FROM tasker.tasks") == []


def test_to_resume_one_that_cannot_be_read_is_refused(client: httpx.Client, flow: Flow) -> None:
    put(flow, "strange", cron="@sometimes", enabled=False)
    fault = error(client.patch("/v1/schedules/strange", json={"enabled": True}), 422, "invalid")
    assert fault["faults"][0]["path"] == "/cron"
    assert not schedule(flow, "strange")["enabled"]


@pytest.mark.parametrize("name", [".hidden", "a%20b", "a" * 129, "%C3%BC"])
def test_a_name_that_is_none_is_refused(client: httpx.Client, name: str) -> None:
    for response in (
        client.get(f"/v1/schedules/{name}"),
        client.put(f"/v1/schedules/{name}", json=NIGHTLY),
        client.post(f"/v1/schedules/{name}/fire"),
    ):
        error(response, 400, "bad_path")


def test_an_unknown_schedule_is_told(client: httpx.Client) -> None:
    for response in (
        client.get("/v1/schedules/none"),
        client.delete("/v1/schedules/none"),
        client.patch("/v1/schedules/none", json={"enabled": True}),
        client.post("/v1/schedules/none/fire"),
    ):
        error(response, 404, "unknown_schedule")


def test_other_methods_are_told_what_is_taken(client: httpx.Client) -> None:
    response = client.post("/v1/schedules/nightly", json={})
    error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"
