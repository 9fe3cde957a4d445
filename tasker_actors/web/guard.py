"""The outermost layer of the port: who may ask, how much, and that every request gets an answer.

Pure ASGI, and the only middleware: FastAPI's own would cost each request more than the rest together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasker_actors.telemetry.trace_context import correlated
from tasker_actors.web.accept import takes_json
from tasker_actors.web.body_limit import BodyTooLargeError, has_body, read_body_message, replay
from tasker_actors.web.errors import error_response, internal_error, stopping
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.request_context import RequestContext, add_headers, read_context
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.security import has_key, is_open, is_own_host

STREAM_PATH = "/v1/events/stream"
"""Answered for as long as the client stays, so it holds no place among the active."""

_JSON_PATHS = frozenset({"/config", "/metrics/events", "/api-docs", "/api-docs/openapi.json"})

logger = structlog.get_logger(__name__)


class Guard:
    """Wraps the application; every request comes through here first."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime
        self._api_key = runtime.settings.http.api_key
        self._limits = runtime.settings.http
        self._places = asyncio.Semaphore(self._limits.max_active_requests)
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of ASGI traffic go through as they are."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD" and scope["path"] != STREAM_PATH:
            scope = {**scope, "method": "GET"}  # the server knows better, and sends no body
        context = read_context(scope, self._runtime.new_trace)
        answer = _Answer(send, context)
        began = time.perf_counter()
        with correlated(context.trace, context.correlation_id):
            try:
                await self._answer(scope, receive, answer)
            except ClientDisconnect:
                return
            except asyncio.CancelledError:
                # Only a stop that has run out of patience cancels requests; what a thread still does is not known.
                if not answer.started:
                    await stopping()(scope, receive, answer.send)
            except Exception:
                logger.exception("HTTP request failed", method=scope["method"], path=scope["path"])
                if not answer.started:
                    await internal_error()(scope, receive, answer.send)
            logger.debug(
                "HTTP request",
                method=scope["method"],
                path=scope["path"],
                status=answer.status,
                duration_ms=round((time.perf_counter() - began) * 1000, 3),
            )

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        path = scope["path"]
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, answer.send)
        elif is_open(path) or path == STREAM_PATH:
            await self._app(scope, receive, answer.send)
        elif _is_json(path) and not takes_json(_accept(scope)):
            message = f"{path} answers with application/json, which the Accept header of the request does not take"
            await error_response(HTTPStatus.NOT_ACCEPTABLE, "not_acceptable", message)(scope, receive, answer.send)
        elif self._waiting >= self._limits.max_waiting_requests:
            response = self._refused(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "too many requests at once")
            await response(scope, receive, answer.send)
        else:
            await self._answer_in_turn(scope, receive, answer)

    async def _answer_in_turn(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            if has_body(scope):
                await self._answer_with_body(scope, receive, answer)
            else:
                await self._app(scope, receive, answer.send)
        finally:
            self._places.release()

    async def _answer_with_body(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        limits = self._limits
        try:
            body = await read_body_message(scope, receive, limits.max_body_bytes, limits.body_timeout_ms / 1000)
        except BodyTooLargeError:
            message = f"a body has at most {limits.max_body_bytes} bytes"
            response = self._refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message)
            await response(scope, receive, answer.send)
        except TimeoutError:
            message = "the body did not arrive in time"
            response = self._refused(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", message)
            await response(scope, receive, answer.send)
        else:
            await self._app(scope, replay(body, receive), answer.send)

    def _refusal(self, scope: Scope) -> JsonResponse | None:
        headers = scope["headers"]
        size = (
            len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in headers)
        )
        if size > self._limits.max_header_bytes:  # it came in one piece, of which the connection takes more
            message = f"request line and headers have at most {self._limits.max_header_bytes} bytes"
            return self._refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message)
        if is_open(scope["path"]):
            return None
        if self._api_key is None:
            if is_own_host(headers):
                return None
            message = "without TASKER_API_KEY only requests to localhost are answered: set a key, and send it"
            return self._refused(HTTPStatus.FORBIDDEN, "forbidden_host", message)
        if has_key(headers, self._api_key):
            return None
        message = "send the API key as Authorization: Bearer KEY, or as X-API-Key"
        return self._refused(HTTPStatus.UNAUTHORIZED, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})

    def _refused(
        self, status: HTTPStatus, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> JsonResponse:
        self._runtime.refused(code)
        return error_response(status, code, message, headers=headers)


def _is_json(path: str) -> bool:
    return path.startswith("/v1/") or path in _JSON_PATHS


def _accept(scope: Scope) -> str:
    return ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")


class _Answer:
    """What goes back to the client: with trace and correlation in its headers, and known to have begun or not."""

    def __init__(self, send: Send, context: RequestContext) -> None:
        self._send = send
        self._context = context
        self.status: int | None = None

    @property
    def started(self) -> bool:
        """Whether the status was sent, after which no other answer can be given."""
        return self.status is not None

    async def send(self, message: Message) -> None:
        """Send one part of the answer."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            add_headers(message, self._context)
        await self._send(message)
