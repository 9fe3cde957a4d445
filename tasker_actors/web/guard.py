"""The outermost layer of the port: who may ask, how much, and that every request gets an answer.

Pure ASGI, and the only middleware: FastAPI's own would cost each request more than the rest together.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasker_actors.telemetry.trace_context import correlated
from tasker_actors.web.body_limit import BodyTooLargeError, has_body, read_body_message, replay
from tasker_actors.web.errors import error_response, internal_error, stopping
from tasker_actors.web.json_response import JsonResponse
from tasker_actors.web.request_context import RequestContext, add_headers, read_context
from tasker_actors.web.runtime import Runtime
from tasker_actors.web.security import has_key, is_open, is_own_host

MAX_ACTIVE = 64
"""Requests that are read and answered at the same time; with the largest bodies they hold 128 MiB."""
MAX_WAITING = 2_000
"""Requests that may wait for that; their bodies stay in the sockets."""
STREAM_PATH = "/v1/events/stream"
"""Answered for as long as the client stays, so it holds no place among the active."""

logger = structlog.get_logger(__name__)


class Guard:
    """Wraps the application; every request comes through here first."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime
        self._api_key = runtime.settings.http.api_key
        self._max_body_bytes = runtime.settings.http.max_body_bytes
        self._places = asyncio.Semaphore(MAX_ACTIVE)
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of ASGI traffic go through as they are."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
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
        refusal = None if is_open(path) else self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, answer.send)
        elif is_open(path) or path == STREAM_PATH:
            await self._app(scope, receive, answer.send)
        elif self._waiting >= MAX_WAITING:
            response = error_response(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "too many requests at once")
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
        try:
            body = await read_body_message(scope, receive, self._max_body_bytes)
        except BodyTooLargeError:
            message = f"a body has at most {self._max_body_bytes} bytes"
            response = error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message)
            await response(scope, receive, answer.send)
        except TimeoutError:
            response = error_response(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "the body did not arrive in time")
            await response(scope, receive, answer.send)
        else:
            await self._app(scope, replay(body, receive), answer.send)

    def _refusal(self, scope: Scope) -> JsonResponse | None:
        headers = scope["headers"]
        if self._api_key is None:
            if is_own_host(headers):
                return None
            message = "without TASKER_API_KEY only requests to localhost are answered: set a key, and send it"
            return error_response(HTTPStatus.FORBIDDEN, "forbidden_host", message)
        if has_key(headers, self._api_key):
            return None
        message = "send the API key as Authorization: Bearer KEY, or as X-API-Key"
        return error_response(HTTPStatus.UNAUTHORIZED, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


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
