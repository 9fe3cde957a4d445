"""From a request to the rows of a task: its template found, its context checked, its ids and its identity made.

The same for whoever creates tasks: the HTTP API, and an application in a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Protocol

import orjson

from tasker_actors.errors import RequestFault, duplicate_task, invalid_request, unknown_template
from tasker_actors.identifiers import new_uuid7
from tasker_actors.telemetry.span_ids import task_span, task_span_id
from tasker_actors.telemetry.trace_context import TraceContext
from tasker_actors.values import value
from tasker_actors.workflow.identity import is_key_missing, task_identity
from tasker_actors.workflow.input_schema import validate_context
from tasker_actors.workflow.nearest import hint
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.request_model import MAX_FAULTS
from tasker_actors.workflow.task_requests import NewTask

_SHOWN_VERSIONS = 20


class Templates(Protocol):
    """The templates that tasks can be created from; neither call blocks."""

    def find_template(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        """Return a version of a template, the newest for None."""

    def templates(self) -> Sequence[RegisteredTemplate]:
        """Return every template."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What tasks are created under: the caller's trace and correlation id, None where there are none.

    `new_trace` starts a trace for a task without a caller's.
    """

    trace: TraceContext | None
    correlation_id: str | None
    new_trace: Callable[[], TraceContext]


@value()
class NewTaskRow:
    """A task to create: the columns of `tasker.tasks` that its creator decides; `context` is JSON text.

    `step_uuids` are in the order of the template's positions. `traceparent` is the caller's, or names the task's own
    span where there is no caller (see `telemetry.span_ids.task_span`). `identity_hash` is what `task_identity` made.
    Before `start_at`, if there is one, nothing of the task begins; its first steps are then as old as this moment,
    whatever the priority.
    """

    task_uuid: str
    template_id: int
    namespace: str
    name: str
    priority: int
    step_uuids: tuple[str, ...]
    context: bytes
    initiator: str | None
    source_system: str | None
    reason: str | None
    tags: tuple[str, ...]
    correlation_id: str
    parent_correlation_id: str | None
    idempotency_key: str | None
    identity_hash: str | None
    traceparent: str
    tracestate: str | None
    start_at: datetime | None = None


@value()
class PlannedTask:
    """A task that is ready to be created; `trace` names its span."""

    row: NewTaskRow
    registered: RegisteredTemplate
    trace: TraceContext


def plan_task(request: NewTask, templates: Templates, origin: Origin) -> PlannedTask:
    """Plan one task.

    Raises UnknownTemplateError, and InvalidRequestError for a context that does not fit its schema or a missing key.
    """
    registered = _find_template(request, templates, index=None)
    _require_key(request, registered, index=None)
    _refuse(_context_faults(request, registered, ""))
    return _plan(request, registered, origin)


def plan_tasks(requests: Sequence[NewTask], templates: Templates, origin: Origin) -> list[PlannedTask]:
    """Plan a batch, all or none; the same errors with the index of the task, and DuplicateTaskError for one twice."""
    found = [_find_template(request, templates, index=index) for index, request in enumerate(requests)]
    faults: list[RequestFault] = []
    for index, (request, registered) in enumerate(zip(requests, found, strict=True)):
        _require_key(request, registered, index=index)
        faults.extend(_context_faults(request, registered, f"/tasks/{index}"))
        if len(faults) >= MAX_FAULTS:
            break
    _refuse(faults[:MAX_FAULTS])
    planned = [_plan(request, registered, origin) for request, registered in zip(requests, found, strict=True)]
    _refuse_repeated(planned)
    return planned


def missing_template(request: NewTask, known: Iterable[tuple[str, str, str]], index: int | None) -> Exception:
    """Say that there is no such template, and which there are like it; `known` are namespaces, names and versions."""
    names: set[str] = set()
    versions = []
    wanted = f"{request.namespace}/{request.name}"
    for namespace, name, version in known:
        names.add(f"{namespace}/{name}")
        if (namespace, name) == (request.namespace, request.name):
            versions.append(version)
    if versions:
        message = f"template {wanted} has no version {request.version}; it has {', '.join(versions[:_SHOWN_VERSIONS])}"
    else:
        message = f"there is no template {wanted}{hint(wanted, names)}"
    return unknown_template(message + _of(index), index=index)


def task_exists(index: int | None) -> Exception:
    """Say that a task with this identity is there, and nothing else about it: who asks may only be guessing.

    `index` is its place in a batch.
    """
    return duplicate_task("a task of this template with this identity is there already" + _of(index), index=index)


def _find_template(request: NewTask, templates: Templates, *, index: int | None) -> RegisteredTemplate:
    registered = templates.find_template(request.namespace, request.name, request.version)
    if registered is not None:
        return registered
    raise missing_template(request, (each.template.identity for each in templates.templates()), index)


def _require_key(request: NewTask, registered: RegisteredTemplate, *, index: int | None) -> None:
    if is_key_missing(registered.template.identity_strategy, request.idempotency_key):
        wanted = f"{request.namespace}/{request.name}"
        reason = f"template {wanted} has identity_strategy caller_provided, which needs an idempotency_key"
        path = "/idempotency_key" if index is None else f"/tasks/{index}/idempotency_key"
        fault = RequestFault(path, "is missing")
        raise invalid_request(
            HTTPStatus.BAD_REQUEST, "missing_idempotency_key", reason + _of(index), [fault], index=index
        )


def _context_faults(request: NewTask, registered: RegisteredTemplate, place: str) -> list[RequestFault]:
    faults = validate_context(registered.template.input_schema, request.context)
    return [RequestFault(f"{place}/context{fault.path}", fault.message) for fault in faults]


def _refuse(faults: list[RequestFault]) -> None:
    if faults:
        message = f"the context does not fit the template's input_schema: {faults[0].path}: {faults[0].message}"
        raise invalid_request(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_context", message, faults)


def _refuse_repeated(planned: Sequence[PlannedTask]) -> None:
    seen: set[str] = set()
    for index, each in enumerate(planned):
        identity = each.row.identity_hash
        if identity is not None:
            if identity in seen:
                raise duplicate_task("a task with this identity is in the batch twice" + _of(index), index=index)
            seen.add(identity)


def _of(index: int | None) -> str:
    return "" if index is None else f" (task {index} of the batch)"


def _plan(request: NewTask, registered: RegisteredTemplate, origin: Origin) -> PlannedTask:
    task_uuid = new_uuid7()
    # Tasks of one batch without a caller's trace are not related, so each gets a trace.
    created_in = origin.trace or origin.new_trace().with_span(task_span_id(task_uuid))
    row = NewTaskRow(
        task_uuid=task_uuid,
        template_id=registered.template_id,
        namespace=request.namespace,
        name=request.name,
        priority=request.priority,
        step_uuids=tuple(new_uuid7() for _ in registered.plan),
        context=orjson.dumps(request.context),
        initiator=request.initiator,
        source_system=request.source_system,
        reason=request.reason,
        tags=tuple(request.tags),
        correlation_id=request.correlation_id or origin.correlation_id or new_uuid7(),
        parent_correlation_id=request.parent_correlation_id,
        idempotency_key=request.idempotency_key,
        identity_hash=task_identity(
            registered.template.identity_strategy,
            namespace=request.namespace,
            name=request.name,
            idempotency_key=request.idempotency_key,
            unique_for_seconds=request.unique_for_seconds,
            context=request.context,
        ),
        traceparent=created_in.traceparent,
        tracestate=created_in.tracestate,
    )
    return PlannedTask(row, registered, task_span(task_uuid, created_in)[0])
