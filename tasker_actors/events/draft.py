"""One event on its way out: it becomes a message, or a dead letter that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tasker_actors.errors import TaskerError
from tasker_actors.events.codec import PayloadError, check_size, encode_payload
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.event import EVENT_VERSION
from tasker_actors.events.message import dead_letter_json, message_json
from tasker_actors.events.outgoing import OutgoingEvent, RefusedEvent
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.events.schema import SchemaValidator, SchemaViolationError


class EventNameError(TaskerError):
    """An event's name or namespace is none (SPEC 2.2); what `on_publish_error` gets for it."""


@dataclass(slots=True)
class Draft:
    """An event whose payload is not known yet. Names in it are storable; `metadata` is the message's own."""

    event_id: str
    event_name: str
    namespace: str
    delivery_mode: DeliveryMode
    publisher: BasePublisher
    publisher_name: str
    execution: Mapping[str, Any] | None
    metadata: Mapping[str, Any]
    max_payload_bytes: int

    def publish(
        self, payload: Any, *, schema: SchemaValidator | None = None, encoded: bytes | None = None
    ) -> OutgoingEvent | RefusedEvent:
        """Check a payload against JSON, the limit and the schema, and send or refuse it.

        `encoded` is what encode_payload wrote of the payload, where the caller has it already.
        """
        try:
            if encoded is None:
                encoded = encode_payload(payload, max_bytes=self.max_payload_bytes)
            else:
                check_size(encoded, self.max_payload_bytes)
            if schema is not None:
                schema.check(orjson.loads(encoded))
        except PayloadError as error:
            return self.refuse(error.code, error.message, error.path, payload=payload, error=error)
        except SchemaViolationError as error:
            return self.refuse("schema_violation", error.message, error.path, payload=payload, error=error)
        message = message_json(self.event_id, self.event_name, encoded, self.execution, self.metadata)
        return OutgoingEvent(
            self.event_id,
            self.event_name,
            self.namespace,
            self.delivery_mode,
            self.publisher,
            self.publisher_name,
            message,
            len(encoded),
        )

    def refuse_name(self, code: str, fault: str, payload: Any) -> RefusedEvent:
        """Refuse an event for its name or namespace."""
        return self.refuse(code, fault, payload=payload, error=EventNameError(fault))

    def refuse(self, code: str, reason: str, path: str = "", *, payload: Any, error: Exception) -> RefusedEvent:
        """Make the dead letter; the payload goes with it if it could have been stored, its repr always."""
        try:
            stored = encode_payload(payload, max_bytes=self.max_payload_bytes)
        except PayloadError:
            stored = None
        event = {
            "event_id": self.event_id,
            "event_name": self.event_name,
            "event_version": EVENT_VERSION,
            "execution": self.execution,
            "metadata": self.metadata,
        }
        document = dead_letter_json(
            event, stored, payload, {"code": code, "message": reason, "path": path}, self.metadata["fired_at"]
        )
        return RefusedEvent(
            self.event_id,
            self.event_name,
            self.namespace,
            self.delivery_mode,
            self.publisher,
            self.publisher_name,
            code,
            reason,
            path,
            document,
            payload,
            error,
        )
