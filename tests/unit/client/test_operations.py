"""What is repeated, what is not, and what is made of the answers: the rules of the client, without a network."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from tasker_actors.client.answers import Task
from tasker_actors.client.endpoint import Request
from tasker_actors.client.flow import Flow, Pause
from tasker_actors.client.operations import Operations, TaskFilters
from tasker_actors.client.task_request import TaskRequest
from tasker_actors.errors import (
    DuplicateTaskError,
    InvalidRequestError,
    ProtocolError,
    SupervisorUnreachableError,
    TaskNotFinishedError,
    refusal,
)

TASK = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
NOBODY = SupervisorUnreachableError("nobody", was_sent=False)
LOST = SupervisorUnreachableError("lost")
BUSY = refusal(503, {"code": "database_busy", "message": "busy"})
TAKEN = refusal(409, {"code": "duplicate_task", "message": "there already"})
NOW = datetime(2025, 12, 1, tzinfo=UTC).isoformat()


def task(status: str = "complete", **changes: Any) -> dict[str, Any]:
    """A task as a supervisor shows it, with a key that this release does not know."""
    return {
        "task_uuid": TASK, "namespace": "shop", "name": "order", "version": "1.0.0", "status": status, "context": {},
        "priority": 0, "tags": [], "initiator": None, "source_system": None, "reason": None, "correlation_id": TASK,
        "parent_correlation_id": None, "created_at": NOW, "updated_at": NOW, "completed_at": None, "total_steps": 1,
        "completed_steps": 0, "failed_steps": 0, "completion_percentage": 0.0, "steps": [step()], "later": 1, **changes,
    }  # fmt: skip


def step(status: str = "complete") -> dict[str, Any]:
    return {
        "step_uuid": TASK, "name": "only", "status": status, "attempts": 1, "max_attempts": 3, "blocked": False,
        "retry_at": None, "updated_at": NOW, "error": None, "task_uuid": TASK, "namespace": "shop", "dependencies": [],
        "worker_id": "worker-1", "result": {"n": 1}, "result_omitted": False,
    }  # fmt: skip


CREATED = {"task_uuid": TASK, "correlation_id": TASK}


class Script:
    """Drives a flow with written answers, and keeps what it asked; a pause takes no time."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.pauses: list[float] = []

    def run(self, flow: Flow[Any]) -> Any:
        try:
            action = next(flow)
            while True:
                if isinstance(action, Pause):
                    self.pauses.append(action.seconds)
                    action = flow.send(None)
                    continue
                self.requests.append(action)
                answer = self.answers.pop(0)
                action = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
        except StopIteration as done:
            return done.value


def operations(retry_for: float = 60.0) -> Operations:
    return Operations(retry_for=retry_for)


@pytest.mark.parametrize(
    "flow",
    [
        operations().get_task(TASK),
        operations().page(TaskFilters(), None),
        operations().cancel(TASK),
        operations().create_task(TaskRequest("shop/order", idempotency_key="k")),
    ],
    ids=["get", "list", "cancel", "create with a key"],
)
def test_what_does_no_harm_is_repeated_with_growing_pauses(flow: Flow[Any]) -> None:
    answer = {**task(), "tasks": [task()], "next_cursor": None}
    script = Script(NOBODY, LOST, BUSY, LOST, LOST, LOST, LOST, answer)

    script.run(flow)

    assert script.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert script.answers == []
    assert len(set(map(repr, script.requests))) == 1


def test_a_list_is_repeated_too() -> None:
    script = Script(NOBODY, BUSY, [step()])
    assert [one.name for one in script.run(operations().steps(TASK))] == [step()["name"]]
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    "flow",
    [
        lambda: operations().create_task(TaskRequest("shop/order")),
        lambda: operations().create_tasks([TaskRequest("shop/order", idempotency_key="k")]),
        lambda: operations().publish_event("a.b", {}, {"namespace": "shop"}),
        lambda: operations().reset_step(TASK, TASK, "me", "why"),
        lambda: operations().resolve_step(TASK, TASK, "me", "why"),
        lambda: operations().complete_step(TASK, TASK, 1, "me", "why"),
    ],
    ids=["create", "batch", "publish", "reset", "resolve", "complete"],
)
def test_what_could_be_done_twice_is_repeated_only_if_nothing_of_it_was_sent(flow: Any) -> None:
    for lasting in (LOST, BUSY):
        script = Script(NOBODY, lasting)
        with pytest.raises(type(lasting)):
            script.run(flow())
        assert len(script.requests) == 2


def test_nothing_is_repeated_for_longer_than_was_asked_for() -> None:
    with pytest.raises(SupervisorUnreachableError):
        Script(NOBODY).run(operations(retry_for=0.0).get_task(TASK))


def test_a_refusal_is_not_repeated() -> None:
    with pytest.raises(DuplicateTaskError):
        Script(TAKEN).run(operations().create_task(TaskRequest("shop/order", idempotency_key="k")))


def test_a_task_whose_creation_was_not_answered_is_found_by_its_own_correlation_id() -> None:
    script = Script(LOST, TAKEN, {"tasks": [task()], "next_cursor": None})

    created = script.run(operations().create_task(TaskRequest("shop/order", idempotency_key="k")))

    assert created.task_uuid == TASK
    sent = orjson.loads(script.requests[0].body or b"")["correlation_id"]
    assert script.requests[2].params == {"correlation_id": sent, "limit": "200"}


@pytest.mark.parametrize(
    ("answers", "request_"),
    [
        ((LOST, TAKEN, {"tasks": [], "next_cursor": None}), TaskRequest("shop/order", idempotency_key="k")),
        ((LOST, TAKEN), TaskRequest("shop/order", idempotency_key="k", correlation_id=TASK)),
        ((NOBODY, TAKEN), TaskRequest("shop/order", idempotency_key="k")),
    ],
    ids=["it is another's", "the correlation id is of others too", "nothing was sent before"],
)
def test_a_duplicate_that_is_not_known_to_be_ours_is_refused(answers: Any, request_: TaskRequest) -> None:
    with pytest.raises(DuplicateTaskError):
        Script(*answers).run(operations().create_task(request_))


def test_a_wait_looks_again_until_the_task_is_finished() -> None:
    script = Script(task("pending"), NOBODY, task("in_progress"), task("error"))

    found = script.run(operations().wait(TASK, 60.0))

    assert (found.status, found.is_finished, found.succeeded) == ("error", True, False)
    assert script.pauses == [0.05, 0.05, pytest.approx(0.075)]


def test_a_wait_ends_with_the_status_that_the_task_has_then() -> None:
    with pytest.raises(TaskNotFinishedError, match="in_progress") as caught:
        Script(task("in_progress")).run(operations().wait(TASK, 0.0))
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.task_uuid, caught.value.status) == (TASK, "in_progress")


def test_requests_have_what_was_given_and_nothing_else() -> None:
    script = Script(CREATED, {"tasks": [CREATED, CREATED]}, {"event_id": TASK, "correlation_id": TASK})
    full = TaskRequest(
        "shop/order@1.0.0", {"at": datetime(2025, 12, 1, tzinfo=UTC)}, priority=3, tags=("a",), initiator="me",
        source_system="tests", reason="why", correlation_id=TASK, parent_correlation_id=TASK, unique_for_seconds=60,
    )  # fmt: skip

    script.run(operations().create_task(full))
    script.run(operations().create_tasks([full, TaskRequest("shop/order")]))
    script.run(operations().publish_event("a.b", [1], {"namespace": "shop", "correlation_id": None}))

    one, many, event = (orjson.loads(request.body or b"") for request in script.requests)
    assert one == {
        "namespace": "shop", "name": "order", "version": "1.0.0", "context": {"at": "2025-12-01T00:00:00+00:00"},
        "priority": 3, "tags": ["a"], "initiator": "me", "source_system": "tests", "reason": "why",
        "correlation_id": TASK, "parent_correlation_id": TASK, "unique_for_seconds": 60,
    }  # fmt: skip
    assert many["tasks"] == [one, {"namespace": "shop", "name": "order", "context": {}, "priority": 0, "tags": []}]
    assert event == {"namespace": "shop", "name": "a.b", "payload": [1]}


def test_filters_and_ids_are_sent_as_text() -> None:
    script = Script({"tasks": [], "next_cursor": None}, task())
    moment = datetime(2025, 12, 1, tzinfo=UTC)

    script.run(operations().page(TaskFilters(status="complete", created_after=moment), "cursor"))
    script.run(operations().get_task("../../metrics"))

    assert script.requests[0].params == {
        "status": "complete", "created_after": "2025-12-01T00:00:00+00:00", "limit": "200", "cursor": "cursor",
    }  # fmt: skip
    assert script.requests[1].path == "/v1/tasks/..%2F..%2Fmetrics"


@pytest.mark.parametrize("template", ["order", "shop/", ""])
def test_a_template_that_is_none_is_refused_before_anything_is_sent(template: str) -> None:
    script = Script()
    with pytest.raises(InvalidRequestError, match="namespace/name") as caught:
        script.run(operations().create_tasks([TaskRequest("shop/order"), TaskRequest(template)]))
    assert caught.value.faults[0].path == "/tasks/1/template"


@pytest.mark.parametrize(
    ("context", "path"), [({"a": [float("nan")]}, "/context/a/0"), ({"a": {"b": "\0"}}, "/context/a/b")]
)
def test_a_context_that_is_no_json_is_refused_before_anything_is_sent(context: Any, path: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Script().run(operations().create_task(TaskRequest("shop/order", context)))
    assert [fault.path for fault in caught.value.faults] == [path]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("flow", "answer"),
    [
        (operations().get_task(TASK), {"task_uuid": TASK}),
        (operations().get_task(TASK), [1]),
        (operations().steps(TASK), {"steps": {}}),
        (operations().get_step(TASK, TASK), task()),
    ],
    ids=["too little", "a list", "no list", "something else"],
)
def test_an_answer_that_cannot_be_read_is_said_to_be_of_another_release(flow: Flow[Any], answer: Any) -> None:
    with pytest.raises(ProtocolError, match="another release"):
        Script(answer).run(flow)


def test_a_step_says_whether_what_is_after_it_can_go_on() -> None:
    steps = Task.model_validate(task(steps=[step("complete"), step("error"), step("resolved_manually")])).steps
    assert [one.is_done for one in steps] == [True, False, True]
