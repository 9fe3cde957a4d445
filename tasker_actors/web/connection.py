"""One connection of the port, bounded in number, in size of its headers and in time, whatever its client does.

Uvicorn bounds none of these: a client that sends a header a minute, or takes nothing of its answer, would hold its
connection, and in the end a place among the active requests, for ever.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

from tasker_actors.settings import HttpSettings

LEAST_TAKEN_BYTES = 16 * 1024
"""What a client has to take of its answer in `answer_timeout_ms`."""

_MESSAGES = {
    "too_many_connections": (HTTPStatus.SERVICE_UNAVAILABLE, "too many connections at once; try again"),
    "header_timeout": (HTTPStatus.REQUEST_TIMEOUT, "the request's headers did not arrive in time"),
    "headers_too_large": (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's line and headers are too large"),
    "bad_request": (HTTPStatus.BAD_REQUEST, "this is no HTTP request"),
}


@dataclass(slots=True)
class Connections:
    """What the connections of one server share; for its event loop. `refused(reason)` is told of each refusal."""

    limits: HttpSettings
    refused: Callable[[str], None]
    idle: dict[BoundedConnection, None] = field(default_factory=dict)
    """Those that are in no request, the longest idle one first."""

    def protocol(self) -> type[asyncio.Protocol]:
        """Make the class that Uvicorn makes a connection of: it passes on nothing of ours."""
        return type("Connection", (BoundedConnection,), {"shared": self})


class BoundedConnection(H11Protocol):
    """Speaks HTTP/1 as Uvicorn does, and ends by itself: see `HttpSettings` for the bounds."""

    shared: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Uvicorn's 5 s are those of many clients: where both let go at once, a request meets a closed connection.
        self.timeout_keep_alive = self.shared.limits.keep_alive_timeout_ms / 1000  # type: ignore[assignment]  # seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as Uvicorn has it
        """Take the connection, in the place of the longest idle one if there are too many, or refuse it."""
        super().connection_made(transport)
        if len(self.connections) > self.shared.limits.max_connections:
            longest_idle = next(iter(self.shared.idle), None)
            if longest_idle is None:
                self._refuse("too_many_connections")
                return
            longest_idle.give_way()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._is_busy()
        self._is_taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the time for a request's head runs from its first one, however slowly the others come."""
        if self._head_timer is None and not self._is_in_request:
            self._wait_for_head()
        super().data_received(data)

    def handle_events(self) -> None:
        """Act on what has arrived; once a request's head is there, the rest is the guard's."""
        super().handle_events()
        if self._is_in_request:
            self._is_busy()

    def on_response_complete(self) -> None:
        """Wait for the next request, whose head may be there already."""
        super().on_response_complete()
        if self._is_in_request:
            return
        if self.conn.trailing_data[0]:
            self._unset_keepalive_if_required()
            self._wait_for_head()
        elif self._answer_timer is None:
            self.shared.idle[self] = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - Uvicorn's text is no JSON
        """Refuse what is no request, or one whose head is larger than allowed."""
        error = sys.exception()
        too_large = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == _TOO_LARGE
        self._refuse("headers_too_large" if too_large else "bad_request")

    def pause_writing(self) -> None:
        """Give the client its time to take what waits for it."""
        super().pause_writing()
        self._wait_for_client()

    def resume_writing(self) -> None:
        """Go on: the client has taken what waited."""
        super().resume_writing()
        self._is_taken()

    def give_way(self) -> None:
        """Close a connection that is in no request, for another one."""
        self._is_busy()
        self.shared.refused("idle_connection_closed")
        self.connections.discard(self)  # at once: more may come before the event loop gets to it
        self.transport.close()

    @property
    def _is_in_request(self) -> bool:
        cycle = cast("Any", self.cycle)  # None before the first request, which Uvicorn does not declare
        return cycle is not None and not cycle.response_complete

    def _wait_for_head(self) -> None:
        self.shared.idle[self] = None
        limit = self.shared.limits.header_timeout_ms / 1000
        self._head_timer = self.loop.call_later(limit, self._refuse, "header_timeout")

    def _is_busy(self) -> None:
        self.shared.idle.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_taken(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _wait_for_client(self) -> None:
        limit = self.shared.limits.answer_timeout_ms / 1000
        self._answer_timer = self.loop.call_later(limit, self._look_at_client, self.transport.get_write_buffer_size())

    def _look_at_client(self, waited: int) -> None:
        """Go on waiting for a client that takes its answer, however slowly; cut off one that only pretends to."""
        if waited - self.transport.get_write_buffer_size() >= LEAST_TAKEN_BYTES:
            self._wait_for_client()
            return
        self._answer_timer = None
        self.shared.refused("answer_timeout")
        self.transport.abort()  # `close` would wait for the client to take the rest

    def _refuse(self, reason: str) -> None:
        """Answer with an error, if an answer can still be given, and close."""
        self._is_busy()
        self.shared.refused(reason)
        if not self._is_in_request:
            self.transport.write(_answer(reason))
        self.transport.close()


_TOO_LARGE = 431
"""What h11 suggests for an incomplete head above its limit."""


def _answer(reason: str) -> bytes:
    status, message = _MESSAGES[reason]
    body = orjson.dumps({"error": {"code": reason, "message": message}})
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
