"""Events that are published from outside a step (SPEC 2.4)."""

from __future__ import annotations

from datetime import datetime

import orjson

from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.derive import build_event
from tasker_actors.events.outgoing import Derived, OutgoingEvent
from tasker_actors.events.timestamp import timestamp
from tasker_actors.messages import PublishEvent


def derive_publication(message: PublishEvent, *, fired_at: datetime, max_payload_bytes: int) -> Derived:
    """Make the event, or its dead letter, by the rules of a step's events; its metadata names no step."""
    made = build_event(
        event_id=message.event_id,
        event_name=message.name,
        namespace=message.namespace,
        payload=orjson.loads(message.payload),
        delivery_mode=DeliveryMode(message.delivery_mode),
        correlation_id=message.correlation_id,
        parent_correlation_id=message.parent_correlation_id,
        fired_at=timestamp(fired_at),
        max_payload_bytes=max_payload_bytes,
    )
    return Derived(events=(made,)) if isinstance(made, OutgoingEvent) else Derived(refused=(made,))
