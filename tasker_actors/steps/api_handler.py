"""Handlers that call an HTTP API, under tasker-py's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, ClassVar

import httpx

from tasker_actors.steps.api_response import ApiResponse
from tasker_actors.steps.failures import ErrorType
from tasker_actors.steps.handler import StepHandler
from tasker_actors.steps.result import StepHandlerResult

_CREATION = Lock()


class APIMixin:
    """Adds an HTTP client to a StepHandler; all threads share it, so that connections are reused.

    Requests raise what httpx raises; `connection_error` and `timeout_error` make a failure of that.
    """

    base_url: str = ""
    default_timeout: float = 30.0
    default_headers: Mapping[str, str] = {}
    api_capabilities: ClassVar[Sequence[str]] = ("http", "api")

    # On the class, because a subclass's own constructor may forget this one's.
    _client: httpx.Client | None = None

    @property
    def client(self) -> httpx.Client:
        """The client, opened when it is first used."""
        with _CREATION:
            if self._client is None:
                self._client = httpx.Client(
                    base_url=self.base_url, timeout=self.default_timeout, headers=dict(self.default_headers)
                )
            return self._client

    def close(self) -> None:
        """Close the client's connections; the next request opens a new one."""
        with _CREATION:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def get(self, path: str, params: Any = None, headers: Mapping[str, str] | None = None, **more: Any) -> ApiResponse:
        """Send GET; `more` is for httpx."""
        return self.request("GET", path, params=params, headers=headers, **more)

    def post(
        self, path: str, json: Any = None, data: Any = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> ApiResponse:
        """Send POST; `more` is for httpx."""
        return self.request("POST", path, json=json, data=data, headers=headers, **more)

    def put(
        self, path: str, json: Any = None, data: Any = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> ApiResponse:
        """Send PUT; `more` is for httpx."""
        return self.request("PUT", path, json=json, data=data, headers=headers, **more)

    def patch(
        self, path: str, json: Any = None, data: Any = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> ApiResponse:
        """Send PATCH; `more` is for httpx."""
        return self.request("PATCH", path, json=json, data=data, headers=headers, **more)

    def delete(self, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> ApiResponse:
        """Send DELETE; `more` is for httpx."""
        return self.request("DELETE", path, headers=headers, **more)

    def request(self, method: str, path: str, **more: Any) -> ApiResponse:
        """Send a request with any method, and block until its answer is read."""
        return ApiResponse(self.client.request(method, path, **more))

    def api_success(
        self,
        response: ApiResponse,
        result: Mapping[str, Any] | None = None,
        include_response: bool = True,  # noqa: FBT001, FBT002 - third by position in tasker-py, whose modules run here
    ) -> StepHandlerResult:
        """Complete the step with `result`, else with the answer's body; status and headers go into the metadata."""
        if result is None:
            result = response.body if isinstance(response.body, dict) else {"data": response.body}
        return StepHandlerResult.success(dict(result), _seen(response) if include_response else None)

    def api_failure(self, response: ApiResponse, message: str | None = None) -> StepHandlerResult:
        """Fail the attempt as the status says; the pause that a server asks for before a retry is kept."""
        metadata = _seen(response)
        if response.retry_after is not None:
            metadata["retry_after_seconds"] = response.retry_after
        if response.body:
            metadata["response_body"] = response.body
        return StepHandlerResult.failure(
            message or response.error_message,
            response.error_type,
            response.is_retryable,
            metadata,
            retry_after=response.retry_after if response.is_retryable else None,
        )

    def connection_error(self, error: Exception, context: str | None = None) -> StepHandlerResult:
        """Fail the attempt because there was no connection; it is tried again."""
        return _unreached("Connection error", "connection_error", error, context)

    def timeout_error(self, error: Exception, context: str | None = None) -> StepHandlerResult:
        """Fail the attempt because the answer did not come in time; it is tried again."""
        return _unreached("Request timeout", ErrorType.TIMEOUT, error, context)


class ApiHandler(APIMixin, StepHandler):
    """A handler that calls an HTTP API as a class; derive from it and set `base_url`."""

    @property
    def capabilities(self) -> list[str]:
        """What the handler can do, for its author's use."""
        return ["process", *self.api_capabilities]


def _seen(response: ApiResponse) -> dict[str, Any]:
    # A cookie is a secret of the connection, and metadata ends up in events.
    headers = {name: value for name, value in response.headers.items() if name.lower() != "set-cookie"}
    return {"status_code": response.status_code, "headers": headers}


def _unreached(what: str, error_type: str, error: Exception, context: str | None) -> StepHandlerResult:
    during = f" while {context}" if context else ""
    return StepHandlerResult.failure(
        f"{what}{during}: {error}", error_type, metadata={"exception_type": type(error).__name__}
    )
