"""`/v1/events/dlq`: events that could not be published, and sending them again."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Request

from tasker_actors.events.json_size import stored_bytes
from tasker_actors.postgres.dead_letters import Redrive, RedriveRequest, read_dead_letters, redrive
from tasker_actors.web.errors import ApiError
from tasker_actors.web.event_requests import DeadLetterQuery, RedriveBody
from tasker_actors.web.event_routes import unknown_namespace
from tasker_actors.web.json_body import raw_body, read_body
from tasker_actors.web.json_response import JsonResponse, raw_json
from tasker_actors.web.openapi import accepts, answers
from tasker_actors.web.request_context import request_context
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.views import DeadLetterList, RedriveView


def dead_letter_routes(runtime: Runtime) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(prefix="/v1/events/dlq", tags=["dead letters"])

    @router.get("", responses=answers(200, DeadLetterList, 404, 422))
    def list_dead_letters(query: Annotated[DeadLetterQuery, Query()]) -> JsonResponse:
        """Read the newest dead letters; `redrivable` ones can be sent again as they are."""
        found = read_dead_letters(runtime.pool, namespace=query.namespace, limit=query.limit)
        if found is None:
            raise unknown_namespace(query.namespace)
        return JsonResponse({"dead_letters": [raw_json(text) for text in found.texts], "truncated": found.truncated})

    @router.post("/redrive", openapi_extra=accepts(RedriveBody), responses=answers(200, RedriveView, 400, 404, 422))
    def redrive_dead_letters(request: Request, raw: Annotated[bytes, Depends(raw_body)]) -> JsonResponse:
        """Publish dead letters into their durable queue, with the same event_id, and remove them in the same commit."""
        body = read_body(raw, RedriveBody, runtime.settings.http.max_json_depth)
        result = redrive(runtime.pool, _request(body, runtime), request_context(request).trace)
        if result is None:
            raise unknown_namespace(body.namespace)
        return JsonResponse(_shown(result))

    return router


def _request(body: RedriveBody, runtime: Runtime) -> RedriveRequest:
    payload = orjson.dumps(body.payload) if body.has_payload else None
    limit = runtime.settings.events.max_payload_bytes
    if payload is not None and (size := stored_bytes(payload)) > limit:
        message = f"the payload has {size} bytes of JSON, at most {limit} are allowed"
        raise ApiError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "too_large", message, faults=[{"path": "/payload", "message": message}]
        )
    return RedriveRequest(
        body.namespace,
        body.msg_ids,
        body.event_ids,
        body.after_msg_id,
        payload,
        event_name=body.event_name,
        reason=body.reason,
        failed_before=body.failed_before,
        failed_after=body.failed_after,
    )


def _shown(result: Redrive) -> dict[str, object]:
    return {
        "redriven": [{"msg_id": msg_id, "event_id": event_id} for msg_id, event_id in result.redriven],
        "refused": [asdict(refusal) for refusal in result.refused],
        "next_after_msg_id": result.next_after_msg_id,
    }
