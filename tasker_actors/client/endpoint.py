"""One address of a supervisor: what is sent there, and what answers and failures mean, whichever way it is sent."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import orjson

from tasker_actors.client.tracing import callers_trace
from tasker_actors.errors import ConfigurationError, SupervisorUnreachableError, refusal

if TYPE_CHECKING:
    import httpx

_CONNECT_TIMEOUT_S = 5.0
_HTTP_ERROR = 400

Document: TypeAlias = dict[str, Any] | list[Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `is_safe` if sending it again can do no harm, whatever became of it the first time."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    is_safe: bool = False


class Endpoint:
    """An address, how long an answer may take, and by what option a user has given it (for messages)."""

    def __init__(self, url: str, api_key: str | None, *, timeout: float, given_as: str) -> None:
        self.url = url
        self._api_key = api_key
        self._timeout = timeout
        self._given_as = given_as

    def options(self) -> dict[str, Any]:
        """Return what both of httpx's clients are made with."""
        import httpx  # noqa: PLC0415  it costs 70 ms, which --help and applications that only import us save

        return {
            "base_url": self.url,
            "headers": {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {},
            "timeout": httpx.Timeout(self._timeout, connect=_CONNECT_TIMEOUT_S),
            # A proxy of the environment cannot reach this machine's loopback.
            "trust_env": not _is_loopback(self.url),
        }

    def unusable(self, error: Exception) -> ConfigurationError:
        """Say that httpx cannot read the address."""
        return ConfigurationError(f"{self._given_as} {self.url}: {error}")

    @staticmethod
    def arguments(request: Request) -> dict[str, Any]:
        """Return what httpx's `request` is called with; the caller's trace goes along."""
        headers = {"Content-Type": "application/json"} if request.body is not None else {}
        trace = callers_trace()
        if trace is not None:
            headers["traceparent"] = trace.traceparent
            if trace.tracestate is not None:
                headers["tracestate"] = trace.tracestate
        return {
            "method": request.method,
            "url": request.path,
            "params": dict(request.params),
            "content": request.body,
            "headers": headers,
        }

    def failed(self, request: Request, error: httpx.TransportError) -> SupervisorUnreachableError:
        """Say that there was no answer, and whether the supervisor may have done what it was asked."""
        import httpx  # noqa: PLC0415  as above

        if isinstance(error, httpx.ReadTimeout):
            msg = f"the supervisor at {self.url} did not answer within {self._timeout:g} s"
            if request.method != "GET":
                msg += "; it may still have done what it was asked: look before you ask again"
            return SupervisorUnreachableError(msg)
        msg = (
            f"no supervisor answers at {self.url} ({error or type(error).__name__}): start one with "
            f"`tasker-actors run`, or give its address as {self._given_as}"
        )
        not_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
        return SupervisorUnreachableError(msg, was_sent=not not_sent)

    def read(self, response: httpx.Response) -> Document:
        """Return the document of an answer.

        Raises the RequestRefusedError that it stands for, and SupervisorUnreachableError where it is no supervisor's.
        """
        try:
            body = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            body = None
        if isinstance(body, dict | list) and response.status_code < _HTTP_ERROR:
            return body
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            raise refusal(response.status_code, body["error"])
        raise self.stranger(response.status_code)

    def stranger(self, status: int = HTTPStatus.OK) -> SupervisorUnreachableError:
        """Say that whoever answers is no supervisor, or a stranger one than is known here."""
        return SupervisorUnreachableError(
            f"{self.url} answers, but not as a supervisor does (HTTP {status:d}): check {self._given_as}"
        )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
