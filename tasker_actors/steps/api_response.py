"""An answer over HTTP as a handler sees it, and what kind of failure its status is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
_ERROR_TYPES = {429: "rate_limited"}
"""Statuses whose tasker-py error type is not their phrase."""

_UNNAMED = {4: "client_error", 5: "server_error"}
_NAMED = frozenset({400, 401, 403, 404, 405, 408, 409, 410, 422, 500, 502, 503, 504})
_DETAIL_KEYS = ("error", "message", "detail", "error_message", "msg")
_UNREADABLE_PAUSE_S = 60


class ApiResponse:
    """An answer: status, headers, and the body, decoded where it is JSON and text otherwise."""

    def __init__(self, response: httpx.Response, body: Any = None) -> None:
        self.status_code = response.status_code
        self.headers: dict[str, str] = dict(response.headers)
        self.raw_response = response
        self.body: Any = _body(response) if body is None else body

    @property
    def ok(self) -> bool:
        """Whether the request succeeded."""
        return HTTPStatus.OK <= self.status_code < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_client_error(self) -> bool:
        """Whether the request was at fault."""
        return HTTPStatus.BAD_REQUEST <= self.status_code < HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def is_server_error(self) -> bool:
        """Whether the server was at fault."""
        return self.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status_code in _RETRYABLE

    @property
    def retry_after(self) -> int | None:
        """The pause in seconds that the server asks for, as a number or a date; a minute where it cannot be read."""
        value = self.headers.get("retry-after")
        if value is None:
            return None
        if value.strip().isdecimal():
            return int(value)
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return _UNREADABLE_PAUSE_S
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return max(0, round((moment - datetime.now(UTC)).total_seconds()))

    @property
    def error_type(self) -> str:
        """The type of failure that the status stands for, such as `not_found`."""
        if self.status_code in _NAMED:
            return _ERROR_TYPES.get(self.status_code, _phrase_name(self.status_code))
        return _ERROR_TYPES.get(self.status_code, _UNNAMED.get(self.status_code // 100, "http_error"))

    @property
    def error_message(self) -> str:
        """The status with what the body says of the error, else with the status's own phrase."""
        return f"HTTP {self.status_code}: {_detail(self.body) or _phrase(self.status_code)}"

    def to_dict(self) -> dict[str, Any]:
        """Return status, headers and body as JSON."""
        return {"status_code": self.status_code, "headers": self.headers, "body": self.body}


def _body(response: httpx.Response) -> Any:
    if "application/json" in response.headers.get("content-type", ""):
        try:
            return response.json()
        except ValueError:
            return response.text
    return response.text


def _detail(body: Any) -> str | None:
    if not isinstance(body, dict):
        return None
    for key in _DETAIL_KEYS:
        found = body.get(key)
        if isinstance(found, dict):
            found = found.get("message")
        if isinstance(found, str):
            return found
    return None


def _phrase(status: int) -> str:
    try:
        return "Unprocessable Entity" if status == HTTPStatus.UNPROCESSABLE_ENTITY else HTTPStatus(status).phrase
    except ValueError:
        return "HTTP Error"


def _phrase_name(status: int) -> str:
    return re.sub(r"\W+", "_", _phrase(status).lower())
