"""Conversations with a supervisor from a thread that may block."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from tasker_actors.client.endpoint import Document, Endpoint, Request
from tasker_actors.client.flow import Flow, Pause
from tasker_actors.errors import TaskerError

if TYPE_CHECKING:
    import httpx

_T = TypeVar("_T")


class BlockingConnection:
    """Drives flows in the calling thread, over connections that are kept open; any thread may call.

    Raises ConfigurationError for an address that is none.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        import httpx  # noqa: PLC0415  see Endpoint.options

        self._endpoint = endpoint
        self._failure = httpx.TransportError
        try:
            self.http: httpx.Client = httpx.Client(**endpoint.options())
        except (httpx.InvalidURL, ValueError) as error:
            raise endpoint.unusable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.http.close()

    def send(self, request: Request) -> Document:
        """Send one request and return its answer; raises SupervisorUnreachableError and RequestRefusedError."""
        try:
            response = self.http.request(**self._endpoint.arguments(request))
        except self._failure as error:
            raise self._endpoint.failed(request, error) from error
        return self._endpoint.read(response)

    def run(self, flow: Flow[_T]) -> _T:
        """Do what a flow says until it returns."""
        try:
            action = next(flow)
            while True:
                try:
                    answer = self._do(action)
                except TaskerError as error:
                    action = flow.throw(error)
                else:
                    action = flow.send(answer)
        except StopIteration as done:
            result: _T = done.value
            return result

    def _do(self, action: Request | Pause) -> Document | None:
        if isinstance(action, Pause):
            time.sleep(action.seconds)
            return None
        return self.send(action)
