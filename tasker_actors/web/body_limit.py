"""Reads the body of a request before anything else sees it: bounded in bytes and in time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope


class BodyTooLargeError(Exception):
    """The body is larger than allowed; the server drops the rest of it, so that the client gets to see the answer."""


def has_body(scope: Scope) -> bool:
    """Return whether the request comes with a body, by its headers (RFC 9112, section 6)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
        for name, value in scope["headers"]
    )


async def read_body_message(scope: Scope, receive: Receive, max_bytes: int, timeout_s: float) -> Message:
    """Return the whole body as one ASGI message; at most a chunk more than `max_bytes` is ever in memory.

    Raises BodyTooLargeError (at once where the length is declared), TimeoutError for a client that takes too
    long, and ClientDisconnect.
    """
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if declared.isdigit() and int(declared) > max_bytes:
        raise BodyTooLargeError
    chunks: list[bytes] = []
    size = 0
    async with asyncio.timeout(timeout_s):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > max_bytes:
                raise BodyTooLargeError
            chunks.append(chunk)
            if not message.get("more_body", False):
                return {"type": "http.request", "body": b"".join(chunks), "more_body": False}


def replay(body: Message, receive: Receive) -> Receive:
    """Make the `receive` of an application that has the body first and then whatever really comes."""
    waiting = [body]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
