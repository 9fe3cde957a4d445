"""What can be asked of a supervisor, each as a flow: the rules of repeating and waiting are here, and no network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Required, TypedDict, TypeVar
from urllib.parse import quote

import orjson
from pydantic import ValidationError

from tasker_actors.client.answers import Answer, CreatedTask, PublishedEvent, Step, Task
from tasker_actors.client.endpoint import Document, Request
from tasker_actors.client.flow import Flow, Pause
from tasker_actors.client.task_request import MAX_CONTEXT_BYTES, TaskRequest, as_json
from tasker_actors.errors import (
    DuplicateTaskError,
    ProtocolError,
    SupervisorUnreachableError,
    TaskNotFinishedError,
    UnavailableError,
)
from tasker_actors.events.codec import MAX_PAYLOAD_BYTES
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.identifiers import new_uuid7
from tasker_actors.workflow.states import TaskState
from tasker_actors.workflow.step_action import StepAction

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_PAGE = 200


class TaskFilters(TypedDict, total=False):
    """Which tasks a list has; what is left out filters nothing."""

    namespace: str
    name: str
    version: str
    status: TaskState | str
    correlation_id: str
    tag: str
    created_after: datetime
    created_before: datetime


class EventOptions(TypedDict, total=False):
    """What an event has besides its name and its payload; `durable` where no `delivery_mode` is given."""

    namespace: Required[str]
    delivery_mode: DeliveryMode | str
    correlation_id: str | None
    parent_correlation_id: str | None


@dataclass(frozen=True, slots=True)
class TaskPage:
    """A part of a list; `next_cursor` is where the next begins, None after the last."""

    tasks: list[Task]
    next_cursor: str | None


_A = TypeVar("_A", bound=Answer)


class Operations:
    """Makes flows. `retry_for` is for how many seconds what may be repeated is repeated while nobody can do it."""

    def __init__(self, *, retry_for: float) -> None:
        self._retry_for = retry_for

    def create_task(self, request: TaskRequest) -> Flow[CreatedTask]:
        """Create a task; with a key it is repeated until there is an answer, and is then created once."""
        ours = request.correlation_id is None
        request = replace(request, correlation_id=request.correlation_id or new_uuid7())
        body = orjson.dumps(request.document())
        failures: list[UnavailableError] = []
        try:
            document = yield from self._ask(
                Request("POST", "/v1/tasks", body=body, is_safe=request.idempotency_key is not None), failures
            )
        except DuplicateTaskError:
            # An earlier try whose answer was lost may have made it: our own correlation id is of no other task.
            filters = TaskFilters(correlation_id=str(request.correlation_id))
            page = (yield from self.page(filters, None)) if ours and failures else None
            if page is None or not page.tasks:
                raise
            found = page.tasks[0]
            return CreatedTask(task_uuid=found.task_uuid, correlation_id=found.correlation_id)
        return _read(CreatedTask, document)

    def create_tasks(self, requests: Sequence[TaskRequest]) -> Flow[list[CreatedTask]]:
        """Create tasks together, all or none."""
        documents = [request.document(f"/tasks/{index}") for index, request in enumerate(requests)]
        document = yield from self._ask(Request("POST", "/v1/tasks/batch", body=orjson.dumps({"tasks": documents})))
        return [_read(CreatedTask, each) for each in _part(document, "tasks")]

    def get_task(self, task_uuid: str) -> Flow[Task]:
        """Look at a task."""
        document = yield from self._ask(_get(_path(task_uuid)))
        return _read(Task, document)

    def page(self, filters: TaskFilters, cursor: str | None) -> Flow[TaskPage]:
        """Read the next page of a list."""
        given = {**filters, "limit": _PAGE, "cursor": cursor}
        document = yield from self._ask(_get("/v1/tasks", **given))
        return TaskPage([_read(Task, each) for each in _part(document, "tasks")], document.get("next_cursor"))

    def steps(self, task_uuid: str) -> Flow[list[Step]]:
        """Look at the steps of a task."""
        answer = yield from self._send(_get(_path(task_uuid, "workflow_steps")))
        if not isinstance(answer, list):
            raise _unreadable("no list")
        return [_read(Step, each) for each in answer]

    def get_step(self, task_uuid: str, step_uuid: str) -> Flow[Step]:
        """Look at a step, with its result whatever its size."""
        document = yield from self._ask(_get(_path(task_uuid, "workflow_steps", step_uuid)))
        return _read(Step, document)

    def cancel(self, task_uuid: str, by: str | None = None, reason: str | None = None) -> Flow[Task]:
        """Cancel a task; a second time changes nothing, so it may be repeated."""
        said = {name: text for name, text in (("cancelled_by", by), ("reason", reason)) if text is not None}
        document = yield from self._ask(Request("DELETE", _path(task_uuid), said, is_safe=True))
        return _read(Task, document)

    def wait(self, task_uuid: str, timeout: float) -> Flow[Task]:
        """Look at a task again and again until it is finished."""
        until = time.monotonic() + timeout
        pause = _FIRST_PAUSE_S
        while True:
            task = yield from self.get_task(task_uuid)
            left = until - time.monotonic()
            if task.is_finished:
                return task
            if left <= 0:
                raise TaskNotFinishedError(task_uuid, task.status, timeout)
            yield Pause(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)

    def publish_event(self, name: str, payload: Any, options: EventOptions) -> Flow[PublishedEvent]:
        """Publish an event; never repeated once it was sent, because it would be another one."""
        known = {key: value for key, value in options.items() if value is not None}
        body = orjson.dumps({**known, "name": name, "payload": as_json(payload, "/payload", MAX_PAYLOAD_BYTES)})
        document = yield from self._ask(Request("POST", "/v1/events", body=body))
        return _read(PublishedEvent, document)

    def reset_step(self, task_uuid: str, step_uuid: str, by: str, reason: str) -> Flow[Step]:
        """Let a failed step run again."""
        return self._control(task_uuid, step_uuid, StepAction.RESET_FOR_RETRY, reset_by=by, reason=reason)

    def resolve_step(self, task_uuid: str, step_uuid: str, by: str, reason: str) -> Flow[Step]:
        """Let what is after a failed step go on without it."""
        return self._control(task_uuid, step_uuid, StepAction.RESOLVE_MANUALLY, resolved_by=by, reason=reason)

    def complete_step(self, task_uuid: str, step_uuid: str, result: Any, by: str, reason: str) -> Flow[Step]:
        """Give a failed step a result."""
        data = {"result": as_json(result, "/completion_data/result", MAX_CONTEXT_BYTES)}
        keys = {"completed_by": by, "reason": reason, "completion_data": data}
        return self._control(task_uuid, step_uuid, StepAction.COMPLETE_MANUALLY, **keys)

    def _control(self, task_uuid: str, step_uuid: str, action: StepAction, **keys: Any) -> Flow[Step]:
        body = orjson.dumps({"action_type": action, **keys})
        path = _path(task_uuid, "workflow_steps", step_uuid)
        document = yield from self._ask(Request("PATCH", path, body=body))
        return _read(Step, document)

    def _ask(self, request: Request, failures: list[UnavailableError] | None = None) -> Flow[dict[str, Any]]:
        """Do the same as `_send` for an answer that is a mapping."""
        answer = yield from self._send(request, failures)
        if not isinstance(answer, dict):
            raise _unreadable("a list")
        return answer

    def _send(self, request: Request, failures: list[UnavailableError] | None = None) -> Flow[Document]:
        """Send a request, and again where that is safe; what was in vain and may have been done is in `failures`."""
        until = time.monotonic() + self._retry_for
        pause = _FIRST_PAUSE_S
        while True:
            try:
                answer: Document = yield request
            except UnavailableError as error:
                not_sent = isinstance(error, SupervisorUnreachableError) and not error.was_sent
                if not (request.is_safe or not_sent) or time.monotonic() + pause > until:
                    raise
                if failures is not None and not not_sent:
                    failures.append(error)
            else:
                return answer
            yield Pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)


def _path(*parts: str) -> str:
    return "/".join(("/v1/tasks", *(quote(part, safe="") for part in parts)))


def _get(path: str, **parameters: Any) -> Request:
    given = {name: _text(value) for name, value in parameters.items() if value is not None}
    return Request("GET", path, given, is_safe=True)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _part(document: dict[str, Any], key: str) -> list[Any]:
    part = document.get(key)
    if not isinstance(part, list):
        raise _unreadable(f"no list {key!r}")
    return part


def _read(kind: type[_A], document: Any) -> _A:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise _unreadable(str(error)) from error


def _unreadable(what: str) -> ProtocolError:
    return ProtocolError(f"the supervisor's answer cannot be read: {what}; is it of another release?")
