"""From a request to the rows of a task: its template found, its context checked, its ids made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres.tasks import DuplicateTaskError, NewTaskRow
from tasker_actors.telemetry.span_ids import task_span, task_span_id
from tasker_actors.telemetry.trace_context import TraceContext
from tasker_actors.web.errors import MAX_FAULTS, ApiError
from tasker_actors.web.request_context import RequestContext
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.task_requests import NewTask
from tasker_actors.workflow.input_schema import validate_context
from tasker_actors.workflow.nearest import hint
from tasker_actors.workflow.registered import RegisteredTemplate


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task that is ready to be created."""

    row: NewTaskRow
    registered: RegisteredTemplate
    trace: TraceContext


def plan_task(request: NewTask, runtime: Runtime, context: RequestContext) -> PlannedTask:
    """Plan one task; raises ApiError 404 for an unknown template, 422 for a context that does not fit its schema."""
    registered = _find_template(request, runtime, index=None)
    _refuse(_context_faults(request, registered, ""))
    return _plan(request, registered, runtime, context)


def plan_tasks(requests: Sequence[NewTask], runtime: Runtime, context: RequestContext) -> list[PlannedTask]:
    """Plan a batch; raises ApiError that names the index of a fault, 409 for a key that is in the batch twice."""
    found = [_find_template(request, runtime, index=index) for index, request in enumerate(requests)]
    faults: list[dict[str, str]] = []
    for index, (request, registered) in enumerate(zip(requests, found, strict=True)):
        faults.extend(_context_faults(request, registered, f"/tasks/{index}"))
        if len(faults) >= MAX_FAULTS:
            break
    _refuse(faults[:MAX_FAULTS])
    _refuse_repeated_keys(requests)
    return [_plan(request, registered, runtime, context) for request, registered in zip(requests, found, strict=True)]


def duplicate_task(error: DuplicateTaskError, *, in_batch: bool) -> ApiError:
    """Say that an idempotency key is taken: by which task, so that a repeated request finds it, and nothing of it."""
    index = error.index if in_batch else None
    message = "a task of this template has this idempotency_key already" + _of(index)
    return ApiError(HTTPStatus.CONFLICT, "duplicate_task", message, task_uuid=error.task_uuid, index=index)


def _find_template(request: NewTask, runtime: Runtime, *, index: int | None) -> RegisteredTemplate:
    registered = runtime.find_template(request.namespace, request.name, request.version)
    if registered is not None:
        return registered
    known = [each.template for each in runtime.templates()]
    versions = [each.version for each in known if (each.namespace_name, each.name) == (request.namespace, request.name)]
    wanted = f"{request.namespace}/{request.name}"
    if versions:
        message = f"template {wanted} has no version {request.version}; it has {', '.join(versions[:20])}"
    else:
        message = (
            f"there is no template {wanted}{hint(wanted, {f'{each.namespace_name}/{each.name}' for each in known})}"
        )
    raise ApiError(HTTPStatus.NOT_FOUND, "unknown_template", message + _of(index), index=index)


def _context_faults(request: NewTask, registered: RegisteredTemplate, place: str) -> list[dict[str, str]]:
    faults = validate_context(registered.template.input_schema, request.context)
    return [{"path": f"{place}/context{fault.path}", "message": fault.message} for fault in faults]


def _refuse(faults: list[dict[str, str]]) -> None:
    if faults:
        message = f"the context does not fit the template's input_schema: {faults[0]['path']}: {faults[0]['message']}"
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_context", message, faults=faults)


def _refuse_repeated_keys(requests: Sequence[NewTask]) -> None:
    seen: set[tuple[str, str, str]] = set()
    for index, request in enumerate(requests):
        if request.idempotency_key is not None:
            key = (request.namespace, request.name, request.idempotency_key)
            if key in seen:
                message = "this idempotency_key is in the batch twice" + _of(index)
                raise ApiError(HTTPStatus.CONFLICT, "duplicate_task", message, index=index)
            seen.add(key)


def _of(index: int | None) -> str:
    return "" if index is None else f" (task {index} of the batch)"


def _plan(request: NewTask, registered: RegisteredTemplate, runtime: Runtime, context: RequestContext) -> PlannedTask:
    task_uuid = new_uuid7()
    # Tasks of one batch without a caller's trace are not related, so each gets a trace.
    created_in = context.caller or runtime.new_trace().with_span(task_span_id(task_uuid))
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
        correlation_id=request.correlation_id or context.given_correlation_id or new_uuid7(),
        parent_correlation_id=request.parent_correlation_id,
        idempotency_key=request.idempotency_key,
        traceparent=created_in.traceparent,
        tracestate=created_in.tracestate,
    )
    return PlannedTask(row, registered, task_span(task_uuid, created_in)[0])
