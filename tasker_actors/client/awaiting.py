"""Conversations with a supervisor from a coroutine."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from tasker_actors.client.endpoint import Document, Endpoint, Request
from tasker_actors.client.flow import Flow, Pause
from tasker_actors.errors import TaskerError

if TYPE_CHECKING:
    import httpx

_T = TypeVar("_T")


class AsyncConnection:
    """Drives flows in a coroutine, otherwise as BlockingConnection; for one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        import httpx  # noqa: PLC0415  see Endpoint.options

        self._endpoint = endpoint
        self._failure = httpx.TransportError
        try:
            self.http: httpx.AsyncClient = httpx.AsyncClient(**endpoint.options())
        except (httpx.InvalidURL, ValueError) as error:
            raise endpoint.unusable(error) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def send(self, request: Request) -> Document:
        """Send one request and return its answer; raises SupervisorUnreachableError and RequestRefusedError."""
        try:
            response = await self.http.request(**self._endpoint.arguments(request))
        except self._failure as error:
            raise self._endpoint.failed(request, error) from error
        return self._endpoint.read(response)

    async def run(self, flow: Flow[_T]) -> _T:
        """Do what a flow says until it returns."""
        try:
            action = next(flow)
            while True:
                try:
                    wait = asyncio.sleep(action.seconds) if isinstance(action, Pause) else self.send(action)
                    answer = await wait
                except TaskerError as error:
                    action = flow.throw(error)
                else:
                    action = flow.send(answer)
        except StopIteration as done:
            result: _T = done.value
            return result
