"""The message of SPEC 2.4, from the facts of an attempt."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from tasker_actors.events.codec import PayloadError, encode_payload, json_text
from tasker_actors.events.event import EVENT_VERSION
from tasker_actors.events.facts import StepFacts
from tasker_actors.events.text import payload_repr, shortened, storable_text
from tasker_actors.events.timestamp import timestamp
from tasker_actors.workflow.outcome import StepFailure, StepOutcome, StepSuccess

_MAX_ERROR_CHARACTERS = 4096
"""An exception's message can hold a whole response; with this much of it an event stays far below its limit."""

_MAX_LABEL_CHARACTERS = 255


class AttemptMessage:
    """What all events of one attempt have in common, made once: execution, metadata, the default payload.

    `encoded_result` is what encode_payload wrote of a success's result, where the caller has it already.
    """

    __slots__ = ("_encoded", "default_payload", "execution", "metadata")

    def __init__(
        self,
        facts: StepFacts,
        outcome: StepOutcome,
        *,
        will_retry: bool,
        moment: datetime,
        encoded_result: bytes | None = None,
    ) -> None:
        fired_at = timestamp(moment)
        self._encoded: bytes | None = None
        status, error = "complete", None
        if isinstance(outcome, StepSuccess):
            self.default_payload = outcome.result
            self._encoded = encoded_result
        else:
            status, error = "waiting_for_retry" if will_retry else "error", _error(outcome)
            self.default_payload = _failure_payload(facts, outcome, error, fired_at)
        self.execution: dict[str, Any] = {
            "status": status,
            "attempt": facts.attempt,
            "duration_ms": facts.duration_ms,
            "error": error,
        }
        self.metadata: dict[str, Any] = {
            "task_uuid": facts.task_uuid,
            "step_uuid": facts.step_uuid,
            "step_name": storable_text(facts.step_name),
            "namespace": facts.namespace,
            "correlation_id": facts.correlation_id,
            "parent_correlation_id": facts.parent_correlation_id,
            "fired_at": fired_at,
            "fired_by": storable_text(facts.handler_name),
            "custom": {},
        }

    def encoded_payload(self) -> bytes | None:
        """Encode the default payload, at most once, whatever its size; None where it is no JSON."""
        if self._encoded is None:
            try:
                self._encoded = encode_payload(self.default_payload, max_bytes=sys.maxsize)
            except PayloadError:
                return None  # whoever wants to publish it encodes it again, and learns why not
        return self._encoded

    def payload_copy(self) -> Any:
        """Copy the default payload as plain JSON for one publisher; the handler's own value where it is no JSON."""
        encoded = self.encoded_payload()
        return self.default_payload if encoded is None else orjson.loads(encoded)


def metadata_outside(
    namespace: str, correlation_id: str, parent_correlation_id: str | None, *, fired_at: str, fired_by: str
) -> dict[str, Any]:
    """Give the metadata of an event that was published outside a step (SPEC 2.4)."""
    return {
        "task_uuid": None,
        "step_uuid": None,
        "step_name": None,
        "namespace": namespace,
        "correlation_id": correlation_id,
        "parent_correlation_id": parent_correlation_id,
        "fired_at": fired_at,
        "fired_by": storable_text(fired_by),
        "custom": {},
    }


def message_json(
    event_id: str,
    event_name: str,
    payload: bytes,
    execution: Mapping[str, Any] | None,
    metadata: Mapping[str, Any],
) -> bytes:
    """Write a message around a payload that is encoded already."""
    return json_text(
        {
            "event_id": event_id,
            "event_name": event_name,
            "event_version": EVENT_VERSION,
            "payload": orjson.Fragment(payload),
            "execution": execution,
            "metadata": metadata,
        }
    )


def dead_letter_json(
    event: Mapping[str, Any], payload: bytes | None, value: object, reason: Mapping[str, str], failed_at: str
) -> bytes:
    """Write a dead letter (SPEC 2, rule 2): `payload` is None where the value cannot be stored."""
    document: dict[str, Any] = {"event": event}
    if payload is not None:
        document["payload"] = orjson.Fragment(payload)
    return json_text({**document, "payload_repr": payload_repr(value), "reason": reason, "failed_at": failed_at})


def _error(failure: StepFailure) -> dict[str, str | None]:
    """Give the error of a failed attempt as storable text: an exception may have quoted anything."""
    return {
        "type": _text(failure.error_type, _MAX_LABEL_CHARACTERS),
        "code": None if failure.error_code is None else _text(failure.error_code, _MAX_LABEL_CHARACTERS),
        "message": _text(failure.message, _MAX_ERROR_CHARACTERS),
    }


def _failure_payload(
    facts: StepFacts, failure: StepFailure, error: Mapping[str, str | None], failed_at: str
) -> dict[str, Any]:
    """Join the failure's metadata with what is known about it, which wins, nulls left out (SPEC 2.1)."""
    payload = {
        **failure.metadata,
        "error_type": error["type"],
        "error_message": error["message"],
        "retryable": failure.retryable,
        "attempt": facts.attempt,
        "max_attempts": facts.max_attempts,
        "failed_at": failed_at,
    }
    if error["code"] is not None:
        payload["error_code"] = error["code"]
    return payload


def _text(value: object, limit: int) -> str:
    return storable_text(shortened(value if isinstance(value, str) else payload_repr(value), limit))
