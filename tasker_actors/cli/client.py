"""Requests of commands to a supervisor over its HTTP port (SPEC 8): every failure is an error that says what to do."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from tasker_actors.client.blocking import BlockingConnection
from tasker_actors.client.endpoint import Document, Endpoint, Request

# A batch of 1,000 tasks is one transaction; a busy database may take a while to commit it.
_ANSWER_TIMEOUT_S = 60.0


class SupervisorClient:
    """An HTTP connection to one supervisor, kept open between requests; use it as a context manager.

    Commands show what the API answers as it is, so these are documents and not the values of TaskerClient, and what
    fails is told at once and not repeated. Every method blocks, for 60 s at most without an answer. They raise
    SupervisorUnreachableError where nobody answers and RequestRefusedError where the supervisor answers with an error.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._endpoint = Endpoint(url, api_key, timeout=_ANSWER_TIMEOUT_S, given_as="--url or TASKER_URL")
        self._connection = BlockingConnection(self._endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.__exit__(kind, error, traceback)

    def get(self, path: str, **parameters: str | int | None) -> dict[str, Any]:
        """Return the answer to a GET; parameters that are None are not sent."""
        return self._mapping(self._get(path, parameters))

    def get_list(self, path: str, **parameters: str | int | None) -> list[Any]:
        """The same for an answer that is a list."""
        answer = self._get(path, parameters)
        if not isinstance(answer, list):
            raise self._endpoint.stranger()
        return answer

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        """Return the answer to a POST of a JSON document."""
        return self._mapping(self._connection.send(Request("POST", path, body=body)))

    def put(self, path: str, body: bytes) -> dict[str, Any]:
        """Return the answer to a PUT of a JSON document."""
        return self._mapping(self._connection.send(Request("PUT", path, body=body)))

    def patch(self, path: str, body: bytes) -> dict[str, Any]:
        """Return the answer to a PATCH with a JSON document."""
        return self._mapping(self._connection.send(Request("PATCH", path, body=body)))

    def delete(self, path: str, **parameters: str | int | None) -> dict[str, Any]:
        """Return the answer to a DELETE; parameters that are None are not sent."""
        return self._mapping(self._connection.send(Request("DELETE", path, _given(parameters))))

    def _get(self, path: str, parameters: dict[str, str | int | None]) -> Document:
        return self._connection.send(Request("GET", path, _given(parameters)))

    def _mapping(self, answer: Document) -> dict[str, Any]:
        if isinstance(answer, list):
            raise self._endpoint.stranger()
        return answer


def _given(parameters: dict[str, str | int | None]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items() if value is not None}
