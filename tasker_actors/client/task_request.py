"""A task that an application asks for, with the same words over HTTP and in a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypedDict

import orjson

from tasker_actors.errors import RequestFault, invalid_request
from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.workflow.template_reference import parse_template_reference

MAX_CONTEXT_BYTES = 2 * 1024 * 1024
"""What a supervisor takes in one request, if nobody changed `http.max_body_bytes`."""


class TaskOptions(TypedDict, total=False):
    """What a task may have besides its template and its context; see the fields of TaskRequest."""

    priority: int
    tags: Sequence[str]
    initiator: str | None
    source_system: str | None
    reason: str | None
    correlation_id: str | None
    parent_correlation_id: str | None
    idempotency_key: str | None
    unique_for_seconds: int | None
    run_at: datetime | None
    delay_seconds: int | None


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task to create.

    `template` is `namespace/name` or `namespace/name@version`, `context` what the template's `input_schema` describes.
    With an `idempotency_key` a second task of the template with the same key is refused; `unique_for_seconds` does so
    within a period of this length, by the key, else by the context. Nothing of it begins before `run_at`, a moment with
    its zone, or before `delay_seconds` are over by the clock of the database.
    """

    template: str
    context: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    tags: Sequence[str] = ()
    initiator: str | None = None
    source_system: str | None = None
    reason: str | None = None
    correlation_id: str | None = None
    parent_correlation_id: str | None = None
    idempotency_key: str | None = None
    unique_for_seconds: int | None = None
    run_at: datetime | None = None
    delay_seconds: int | None = None

    def document(self, place: str = "") -> dict[str, Any]:
        """Return the request as the HTTP API has it, its context as JSON values.

        Raises InvalidRequestError for a template that cannot be read and for values that are no JSON, with paths below
        `place`.
        """
        reference = parse_template_reference(self.template)
        if reference is None:
            message = f"{self.template!r} is no template: write namespace/name or namespace/name@version"
            fault = RequestFault(f"{place}/template", message)
            raise invalid_request(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", message, [fault])
        given = {
            "namespace": reference.namespace,
            "name": reference.name,
            "version": reference.version,
            "context": dict(self.context),
            "priority": self.priority,
            "tags": list(self.tags),
            "initiator": self.initiator,
            "source_system": self.source_system,
            "reason": self.reason,
            "correlation_id": self.correlation_id,
            "parent_correlation_id": self.parent_correlation_id,
            "idempotency_key": self.idempotency_key,
            "unique_for_seconds": self.unique_for_seconds,
            "run_at": self.run_at,
            "delay_seconds": self.delay_seconds,
        }
        known = {key: value for key, value in given.items() if value is not None}
        document: dict[str, Any] = as_json(known, place, MAX_CONTEXT_BYTES)
        return document


def as_json(value: Any, place: str, max_bytes: int) -> Any:
    """Return a value as JSON values; raises InvalidRequestError that names the place of what is none.

    Besides plain values, dataclasses, pydantic models, enums, UUIDs, dates and times are taken, as in results of steps.
    """
    try:
        return orjson.loads(encode_payload(value, max_bytes=max_bytes))
    except PayloadError as error:
        fault = RequestFault(f"{place}{error.path}", error.message)
        message = f"{fault.path}: {error.message}"
        raise invalid_request(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, message, [fault]) from error
