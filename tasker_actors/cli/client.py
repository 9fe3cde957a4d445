"""Requests to a supervisor over its HTTP port (SPEC 8), with every failure as an error that says what to do."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import orjson

from tasker_actors.cli.errors import RequestRefusedError, SupervisorUnreachableError
from tasker_actors.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx

_CONNECT_TIMEOUT_S = 5.0
# A batch of 1,000 tasks is one transaction; a busy database may take a while to commit it.
_ANSWER_TIMEOUT_S = 60.0
_HTTP_ERROR = 400


class SupervisorClient:
    """An HTTP connection to one supervisor, kept open between requests; use it as a context manager.

    Every method blocks, for 60 s at most without an answer. They raise SupervisorUnreachableError where nobody answers
    and RequestRefusedError where the supervisor answers with an error.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        import httpx  # noqa: PLC0415  it costs 70 ms, which --help and the commands without a supervisor save

        self._url = url
        self._failure = httpx.TransportError
        self._no_answer = httpx.ReadTimeout
        try:
            self._http: httpx.Client = httpx.Client(
                base_url=url,
                headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
                timeout=httpx.Timeout(_ANSWER_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
                # A proxy of the environment cannot reach this machine's loopback.
                trust_env=not _is_loopback(url),
            )
        except (httpx.InvalidURL, ValueError) as error:
            msg = f"--url {url}: {error}"
            raise ConfigurationError(msg) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **parameters: str | int | None) -> dict[str, Any]:
        """Return the answer to a GET; parameters that are None are not sent."""
        given = {name: str(value) for name, value in parameters.items() if value is not None}
        return self._mapping(self._request("GET", path, params=given))

    def get_list(self, path: str, **parameters: str | int | None) -> list[Any]:
        """The same for an answer that is a list."""
        given = {name: str(value) for name, value in parameters.items() if value is not None}
        answer = self._request("GET", path, params=given)
        if not isinstance(answer, list):
            raise self._stranger()
        return answer

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        """Return the answer to a POST of a JSON document."""
        return self._mapping(self._request("POST", path, content=body))

    def patch(self, path: str, body: bytes) -> dict[str, Any]:
        """Return the answer to a PATCH with a JSON document."""
        return self._mapping(self._request("PATCH", path, content=body))

    def delete(self, path: str) -> dict[str, Any]:
        """Return the answer to a DELETE."""
        return self._mapping(self._request("DELETE", path))

    def _request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> dict[str, Any] | list[Any]:
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            response = self._http.request(method, path, params=params, content=content, headers=headers)
        except self._no_answer as error:
            msg = f"the supervisor at {self._url} did not answer within {_ANSWER_TIMEOUT_S:.0f} s"
            if method != "GET":
                msg += "; it may still have done what it was asked: look before you ask again"
            raise SupervisorUnreachableError(msg) from error
        except self._failure as error:
            msg = (
                f"no supervisor answers at {self._url} ({error or type(error).__name__}): start one with "
                "`tasker-actors run`, or give its address with --url or TASKER_URL"
            )
            raise SupervisorUnreachableError(msg) from error
        return self._answer(response)

    def _answer(self, response: httpx.Response) -> dict[str, Any] | list[Any]:
        try:
            body = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            body = None
        if isinstance(body, dict | list) and response.status_code < _HTTP_ERROR:
            return body
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            raise RequestRefusedError(response.status_code, body["error"])
        raise self._stranger(response.status_code)

    def _mapping(self, answer: dict[str, Any] | list[Any]) -> dict[str, Any]:
        if isinstance(answer, list):
            raise self._stranger()
        return answer

    def _stranger(self, status: int = HTTPStatus.OK) -> SupervisorUnreachableError:
        return SupervisorUnreachableError(
            f"{self._url} answers, but not as a supervisor does (HTTP {status:d}): check --url"
        )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
