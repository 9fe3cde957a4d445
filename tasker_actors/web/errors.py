"""Errors as HTTP answers: `{"error": {"code", "message", …}}` for everything that goes wrong, without internals."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, TypeAlias

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from tasker_actors.errors import DatabaseUnavailableError, RequestRefusedError
from tasker_actors.postgres.session import DatabaseBusyError, OutcomeUnknownError, QueryTimeoutError
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.workflow.request_model import request_faults

_RETRY_AFTER_S = "1"
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_READING = frozenset({"GET", "HEAD"})

Handler: TypeAlias = Callable[[Request, Any], Coroutine[Any, Any, Response]]


class ApiError(Exception):
    """A request cannot be answered as asked; `details` stand beside code and message."""

    def __init__(self, status: HTTPStatus, code: str, message: str, **details: Any) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        super().__init__(message)


def error_response(
    status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, **details: Any
) -> JsonResponse:
    """Make the answer for an error; a 503 asks to come again after a second."""
    known = {"Retry-After": _RETRY_AFTER_S} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    shown = {key: value for key, value in details.items() if value is not None}
    return JsonResponse(
        {"error": {"code": code, "message": message, **shown}}, status_code=status, headers={**known, **(headers or {})}
    )


def internal_error() -> JsonResponse:
    """Make the answer for a fault of our own; what it was stands in the log, under the correlation id of the answer."""
    message = "something went wrong in the supervisor; its log has it under the x-correlation-id of this answer"
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message)


def stopping() -> JsonResponse:
    """Make the answer for a request that a stop of the supervisor cut off."""
    message = "the supervisor stops, and whether the request was carried out is not known"
    return error_response(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", message)


def exception_handlers() -> dict[int | type[Exception], Handler]:
    """Return what FastAPI needs to answer every exception; the guard logs those that nobody meant to raise."""
    return {
        ApiError: _api_error,
        RequestRefusedError: _refused,
        HTTPException: _http_exception,
        RequestValidationError: _invalid_parameters,
        DatabaseUnavailableError: _database_error,
        DatabaseBusyError: _database_error,
        QueryTimeoutError: _database_error,
        Exception: _unexpected,
    }


async def _api_error(_request: Request, error: ApiError) -> JsonResponse:
    return error_response(error.status, error.code, error.message, **error.details)


async def _refused(_request: Request, error: RequestRefusedError) -> JsonResponse:
    """Answer what the rules of creating tasks refuse, which hold without HTTP too."""
    return error_response(error.status, **error.error)


async def _http_exception(request: Request, error: HTTPException) -> JsonResponse:
    """Answer what routing refuses: no such path, or not with this method."""
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            code, message = "not_found", f"there is no {request.url.path}; GET /api-docs lists what there is"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = _allowed_methods(request)
            code, message = "method_not_allowed", f"{request.url.path} takes {allowed}, not {request.method}"
            return error_response(error.status_code, code, message, headers={"Allow": allowed})
        case _:
            code, message = "refused", str(error.detail)
    return error_response(error.status_code, code, message, headers=error.headers)


def _allowed_methods(request: Request) -> str:
    """Find the methods of this path; Starlette itself names those of the first route alone.

    A path that the document has as it stands, as /v1/tasks/batch, also fits routes with a parameter in its place, as
    /v1/tasks/{task_uuid}: those are not meant.
    """
    written_out = request.app.openapi()["paths"].get(request.url.path)
    allowed = [
        method
        for method in _METHODS
        if (written_out is None or method.lower() in written_out)
        and any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]
    if "GET" in allowed:
        allowed.insert(allowed.index("GET") + 1, "HEAD")  # the guard asks for the same and keeps the body back
    return ", ".join(allowed)


async def _invalid_parameters(_request: Request, error: RequestValidationError) -> JsonResponse:
    """Answer query parameters that cannot be used; bodies are read by `read_body`."""
    found = [asdict(fault) for fault in request_faults(error.errors(), skip=1)]
    faults = [{**fault, "path": fault["path"].removeprefix("/")} for fault in found]
    message = f"a parameter cannot be used: {faults[0]['path'] or 'all together'}: {faults[0]['message']}"
    return error_response(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", message, faults=faults)


async def _database_error(request: Request, error: Exception) -> JsonResponse:
    match error:
        case QueryTimeoutError():
            code, message = "query_timeout", f"{error}: ask for less with filters"
        case DatabaseBusyError():
            code, message = "database_busy", str(error)
        case OutcomeUnknownError() if request.method not in _READING:
            code = "database_unavailable"
            message = f"{error}: look before you ask again (an idempotency_key makes creating a task safe to repeat)"
        case OutcomeUnknownError():
            code, message = "database_unavailable", "the connection to the database was lost; try again"
        case _:
            code, message = "database_unavailable", str(error)
    return error_response(HTTPStatus.SERVICE_UNAVAILABLE, code, message)


async def _unexpected(_request: Request, _error: Exception) -> JsonResponse:
    return internal_error()
