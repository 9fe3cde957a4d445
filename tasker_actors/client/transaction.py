"""Tasks and events inside the caller's own transaction: committed with it, or never there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import orjson
from pydantic import ValidationError

from tasker_actors.client.answers import CreatedTask, PublishedEvent
from tasker_actors.client.event_request import EventRequest
from tasker_actors.client.operations import EventOptions
from tasker_actors.client.task_request import TaskOptions, TaskRequest
from tasker_actors.client.tracing import callers_trace
from tasker_actors.delivery.routing import queue_headers
from tasker_actors.errors import InvalidRequestError, RequestFault, invalid_request
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.derive import build_event
from tasker_actors.events.outgoing import OutgoingEvent
from tasker_actors.events.timestamp import timestamp
from tasker_actors.identifiers import is_uuid, new_uuid7
from tasker_actors.postgres.creation import EVENTS_AT_ONCE, SentEvent, create, send_events
from tasker_actors.postgres.in_transaction import SqlFlow, run, run_async
from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.sampling import is_sampled
from tasker_actors.telemetry.trace_context import SAMPLED, TraceContext, new_trace
from tasker_actors.workflow.request_model import ApiModel, request_faults
from tasker_actors.workflow.task_planning import Origin, plan_task, plan_tasks
from tasker_actors.workflow.task_requests import NewTask, NewTasks

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection


MAX_EVENTS = 1_000
"""Of one call, as of tasks."""


class TransactionClient:
    """Creates tasks and publishes durable events inside the transaction that a connection is in.

    They are there, and run, when the caller commits; after a rollback they never were. Nothing is committed and no
    setting of the session is changed; an error takes back what its own call did, and the transaction can go on, as
    after a savepoint. A connection in autocommit mode that is in no transaction commits each call by itself.

    Every method blocks for as long as the database takes. They raise InvalidRequestError, UnknownTemplateError,
    DuplicateTaskError, SchemaMissingError, PermissionMissingError, TransactionAbortedError, and the driver's errors.
    A task with the identity of one that another transaction has created waits for the end of that transaction, for 5 s.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def create_task(
        self, template: str, context: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]
    ) -> CreatedTask:
        """Create a task of `namespace/name` or `namespace/name@version`; TaskRequest says what the options are.

        Without a version it is the newest that was ever registered in this database.
        """
        return run(self._connection, _create_task(TaskRequest(template, context or {}, **options)))

    def create_tasks(self, requests: Sequence[TaskRequest]) -> list[CreatedTask]:
        """Create up to 1,000 tasks, all or none; errors have the `index` of the task."""
        return run(self._connection, _create_tasks(requests))

    def publish_event(self, name: str, payload: Any, **options: Unpack[EventOptions]) -> PublishedEvent:
        """Publish a durable event, `namespace` among the options; one that cannot be published becomes no dead letter.

        Other delivery modes hand events over to subscribers in workers, which know nothing of this transaction.
        """
        return run(self._connection, _publish(name, payload, options))

    def publish_events(self, requests: Sequence[EventRequest]) -> list[PublishedEvent]:
        """Publish up to 1,000 durable events, all or none, in their order; paths of faults begin `/events/INDEX`.

        Of more than 64 the server stores the first while the next are made; what is wrong with a later one takes them
        back.
        """
        return run(self._connection, _publish_all(requests), overlapping=len(requests) > EVENTS_AT_ONCE)


class AsyncTransactionClient:
    """As TransactionClient, on an AsyncConnection: each method is to be awaited."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    async def create_task(
        self, template: str, context: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]
    ) -> CreatedTask:
        """Create a task."""
        return await run_async(self._connection, _create_task(TaskRequest(template, context or {}, **options)))

    async def create_tasks(self, requests: Sequence[TaskRequest]) -> list[CreatedTask]:
        """Create up to 1,000 tasks, all or none."""
        return await run_async(self._connection, _create_tasks(requests))

    async def publish_event(self, name: str, payload: Any, **options: Unpack[EventOptions]) -> PublishedEvent:
        """Publish a durable event."""
        return await run_async(self._connection, _publish(name, payload, options))

    async def publish_events(self, requests: Sequence[EventRequest]) -> list[PublishedEvent]:
        """Publish up to 1,000 durable events, all or none."""
        return await run_async(self._connection, _publish_all(requests), overlapping=len(requests) > EVENTS_AT_ONCE)


def _create_task(request: TaskRequest) -> SqlFlow[CreatedTask]:
    new = _checked(NewTask, request.document())
    planned = yield from create([new], lambda templates: [plan_task(new, templates, _origin())], in_batch=False)
    return CreatedTask(task_uuid=planned[0].row.task_uuid, correlation_id=planned[0].row.correlation_id)


def _create_tasks(requests: Sequence[TaskRequest]) -> SqlFlow[list[CreatedTask]]:
    documents = [request.document(f"/tasks/{index}") for index, request in enumerate(requests)]
    new = _checked(NewTasks, {"tasks": documents}).tasks
    planned = yield from create(new, lambda templates: plan_tasks(new, templates, _origin()), in_batch=True)
    return [CreatedTask(task_uuid=each.row.task_uuid, correlation_id=each.row.correlation_id) for each in planned]


def _publish(name: str, payload: Any, options: EventOptions) -> SqlFlow[PublishedEvent]:
    mode = options.get("delivery_mode", DeliveryMode.DURABLE)
    if mode != DeliveryMode.DURABLE:
        message = (
            f"an event with delivery_mode {mode} cannot be a part of a transaction: workers hand it to subscribers, "
            "and know nothing of this transaction; publish it over HTTP after the commit"
        )
        raise _invalid("not_durable", "/delivery_mode", message)
    ids = (options.get("correlation_id"), options.get("parent_correlation_id"))
    sent, published = _Publication().made(EventRequest(name, payload, options["namespace"], *ids), "")
    yield from send_events([sent])
    return published


def _publish_all(requests: Sequence[EventRequest]) -> SqlFlow[list[PublishedEvent]]:
    if len(requests) > MAX_EVENTS:
        raise _invalid("invalid", "/events", f"has {len(requests)} entries, and {MAX_EVENTS} are the most")
    publication = _Publication()
    published: list[PublishedEvent] = []

    def made() -> Iterator[SentEvent]:
        for index, each in enumerate(requests):
            sent, answer = publication.made(each, f"/events/{index}")
            published.append(answer)
            yield sent

    yield from send_events(made())
    return published


class _Publication:
    """What all events of one call have in common: the moment and the caller's trace."""

    def __init__(self) -> None:
        self._fired_at = timestamp(datetime.now(UTC))
        self._caller = callers_trace()
        self._new_trace = _own_traces()

    def made(self, request: EventRequest, place: str) -> tuple[SentEvent, PublishedEvent]:
        """Make what is sent of an event, and what its publisher gets; `place` is where it stands among others."""
        correlation_id = _uuid(request.correlation_id, place, "correlation_id") or new_uuid7()
        event = build_event(
            event_name=request.name,
            namespace=request.namespace,
            payload=request.payload,
            delivery_mode=DeliveryMode.DURABLE,
            correlation_id=correlation_id,
            parent_correlation_id=_uuid(request.parent_correlation_id, place, "parent_correlation_id"),
            fired_at=self._fired_at,
        )
        if not isinstance(event, OutgoingEvent):
            part = {"invalid_event_name": "/name", "invalid_namespace": "/namespace"}.get(event.code, "/payload")
            raise _invalid(event.code, f"{place}{part}{event.path}", event.reason)
        headers = queue_headers(event, self._caller or self._new_trace(), correlation_id)
        if self._caller is not None:
            # No worker traces this publication: the caller's span is above.
            headers["traceparent"] = self._caller.traceparent
        document = b'{"message":%b,"headers":%b}' % (event.message, orjson.dumps(headers))
        answer = PublishedEvent(event_id=event.event_id, correlation_id=correlation_id)
        return SentEvent(event.namespace, document), answer


def _uuid(text: str | None, place: str, key: str) -> str | None:
    if text is None:
        return None
    if not is_uuid(text):
        raise _invalid("invalid", f"{place}/{key}", "must be a UUID, such as 0199c3e0-ccdb-7581-87ab-3f67daeaa4a5")
    return text.lower()


_Model = TypeVar("_Model", bound=ApiModel)


def _checked(model: type[_Model], document: dict[str, Any]) -> _Model:
    """Read a request as the HTTP API would."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = request_faults(error.errors(include_url=False, include_input=False))
        message = f"the request cannot be used: {faults[0].path or 'it'}: {faults[0].message}"
        raise invalid_request(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", message, faults) from error


def _invalid(code: str, path: str, message: str) -> InvalidRequestError:
    text = f"{path}: {message}"
    return invalid_request(HTTPStatus.UNPROCESSABLE_ENTITY, code, text, [RequestFault(path, message)])


def _origin() -> Origin:
    return Origin(callers_trace(), None, _own_traces())


def _own_traces() -> Callable[[], TraceContext]:
    """Start traces, sampled as this process's variables of telemetry say: the same as the supervisor's.

    The variables are read once, when the first one starts.
    """
    config = cache(TelemetryConfig.from_environ)

    def start() -> TraceContext:
        trace = new_trace()
        if config().enabled and is_sampled(trace.trace_id, config().sampling_ratio):
            return replace(trace, flags=SAMPLED)
        return trace

    return start
