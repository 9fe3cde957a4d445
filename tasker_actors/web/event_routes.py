"""`/v1/events`: what is in the durable queues, and events published from outside a step."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres.events import namespace_has_queue, read_events
from tasker_actors.telemetry.span_ids import publish_domain_event_id
from tasker_actors.web.errors import ApiError
from tasker_actors.web.event_requests import EventQuery, NewEvent
from tasker_actors.web.json_body import raw_body, read_body
from tasker_actors.web.json_response import JsonResponse, raw_json
from tasker_actors.web.openapi import accepts, answers
from tasker_actors.web.request_context import RequestContext, request_context
from tasker_actors.web.runtime import (
    Publication,
    PublicationRefusedError,
    PublishReceipt,
    PublishUnavailableError,
    Runtime,
)
from tasker_actors.web.views import EventList, PublishedEvent

PUBLISH_TIMEOUT_S = 10.0


def event_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix="/v1/events", tags=["events"])

    @router.get("", responses=answers(200, EventList, 404, 422))
    def list_events(query: Annotated[EventQuery, Query()]) -> JsonResponse:
        """Read the newest events that are in the durable queues; nothing is consumed."""
        found = read_events(
            runtime.pool, namespace=query.namespace, correlation_id=query.correlation_id, limit=query.limit
        )
        if found is None:
            raise unknown_namespace(query.namespace)
        return JsonResponse({"events": [raw_json(text) for text in found.texts], "truncated": found.truncated})

    @router.post(
        "",
        status_code=HTTPStatus.ACCEPTED,
        openapi_extra=accepts(NewEvent),
        responses=answers(202, PublishedEvent, 400, 404, 422, 503, 504),
    )
    def publish_event(request: Request, raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Publish an event; the answer comes after its commit."""
        event = read_body(raw, NewEvent, runtime.settings.http.max_json_depth)
        _require_namespace(runtime, event.namespace)
        context = request_context(request)
        context.correlation_id = event.correlation_id or context.given_correlation_id or new_uuid7()
        receipt = _publish(runtime, event, context)
        return JsonResponse(
            {"event_id": receipt.event_id, "correlation_id": context.correlation_id}, HTTPStatus.ACCEPTED
        )

    return router


def unknown_namespace(namespace: str | None) -> ApiError:
    """Say that no supervisor has registered a template of this namespace."""
    message = f"there is no namespace {namespace}: no template of it was registered on this database"
    return ApiError(HTTPStatus.NOT_FOUND, "unknown_namespace", message)


def _require_namespace(runtime: Runtime, namespace: str) -> None:
    own = any(each.template.namespace_name == namespace for each in runtime.templates())
    if not own and not namespace_has_queue(runtime.pool, namespace):
        raise unknown_namespace(namespace)


def _publish(runtime: Runtime, event: NewEvent, context: RequestContext) -> PublishReceipt:
    event_id = new_uuid7()
    own = publish_domain_event_id(event_id)
    given = context.caller or context.trace.with_span(own)
    context.trace = given.with_span(own)
    publication = Publication(
        event_id=event_id,
        name=event.name,
        namespace=event.namespace,
        payload=event.payload,
        delivery_mode=event.delivery_mode,
        correlation_id=context.correlation_id,
        parent_correlation_id=event.parent_correlation_id,
        trace=given,
    )
    try:
        return runtime.publish(publication, PUBLISH_TIMEOUT_S)
    except PublicationRefusedError as error:
        faults = [{"path": f"/payload{error.path}", "message": error.message}]
        message = f"the event became a dead letter: {error.message}"
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, message, faults=faults) from error
    except PublishUnavailableError as error:
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "no_worker", str(error)) from error
    except TimeoutError as error:
        message = (
            "the event was not committed in time, and may still be: look for its correlation_id before you repeat it"
        )
        raise ApiError(
            HTTPStatus.GATEWAY_TIMEOUT, "publish_timeout", message, correlation_id=context.correlation_id
        ) from error
