"""What clients send about events and dead letters."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.names import (
    EVENT_NAME_PATTERN,
    MAX_EVENT_NAME_LENGTH,
    NAMESPACE_PATTERN,
    check_event_name,
    check_namespace,
)
from tasker_actors.postgres.dead_letters import MAX_NAMED
from tasker_actors.workflow.request_model import WHOLE, ApiModel, BodyModel, MomentInBody, Text, Uuid

_MAX_MSG_ID = 2**63 - 1


def _event_name(text: str) -> str:
    fault = check_event_name(text)
    if fault is not None:
        raise ValueError(fault)
    return text


def _namespace(text: str) -> str:
    fault = check_namespace(text)
    if fault is not None:
        raise ValueError(fault)
    return text


Namespace = Annotated[str, AfterValidator(_namespace), Field(json_schema_extra={"pattern": NAMESPACE_PATTERN})]
EventName = Annotated[
    str,
    AfterValidator(_event_name),
    Field(json_schema_extra={"pattern": EVENT_NAME_PATTERN, "maxLength": MAX_EVENT_NAME_LENGTH}),
]
MsgId = Annotated[int, Field(ge=1, le=_MAX_MSG_ID), WHOLE]


class NewEvent(BodyModel):
    """An event to publish from outside a step."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"namespace": "shop", "name": "payment.processed", "payload": {"amount": 5}}]}
    )

    name: Annotated[EventName, Field(description="Such as payment.processed.")]
    namespace: Annotated[Namespace, Field(description="Whose queue it goes into.")]
    payload: Annotated[Any, Field(description="Any JSON value.")]
    delivery_mode: Annotated[DeliveryMode, Field(strict=False)] = DeliveryMode.DURABLE
    correlation_id: Annotated[Uuid | None, Field(description="Left out: x-correlation-id, else a new UUIDv7.")] = None
    parent_correlation_id: Uuid | None = None


class EventQuery(ApiModel):
    """Which events to read: the newest of one namespace or of all."""

    correlation_id: Uuid | None = None
    namespace: Namespace | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class DeadLetterQuery(ApiModel):
    """Which dead letters to read: the newest of one namespace or of all."""

    namespace: Namespace | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class RedriveBody(BodyModel):
    """Which dead letters to publish again: exactly one of `msg_ids`, `event_ids` and `all`, which filters narrow."""

    namespace: Namespace
    msg_ids: Annotated[list[MsgId] | None, Field(min_length=1, max_length=MAX_NAMED)] = None
    event_ids: Annotated[list[Uuid] | None, Field(min_length=1, max_length=MAX_NAMED)] = None
    all: Annotated[bool, Field(description="One batch of all of the namespace.")] = False
    after_msg_id: Annotated[
        int, Field(ge=0, le=_MAX_MSG_ID, description="With `all`: go on after this one."), WHOLE
    ] = 0
    event_name: Annotated[EventName | None, Field(description="With `all`: only events of this name.")] = None
    reason: Annotated[Text | None, Field(description="With `all`: only with this code of their reason.")] = None
    failed_before: Annotated[MomentInBody | None, Field(description="With `all`: that failed before this.")] = None
    failed_after: Annotated[MomentInBody | None, Field(description="With `all`: that failed then or later.")] = None
    payload: Annotated[Any, Field(description="In place of the kept payload; for a single dead letter.")] = None

    @property
    def has_payload(self) -> bool:
        """Whether a payload was given, be it null."""
        return "payload" in self.model_fields_set

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> Self:
        ways = (self.msg_ids is not None) + (self.event_ids is not None) + self.all
        if ways != 1:
            msg = "give exactly one of msg_ids, event_ids and all"
            raise ValueError(msg)
        if not self.all and any((self.event_name, self.reason, self.failed_before, self.failed_after)):
            msg = "a filter by event_name, reason, failed_before or failed_after goes with all"
            raise ValueError(msg)
        if self.after_msg_id and not self.all:
            msg = "after_msg_id goes with all"
            raise ValueError(msg)
        if self.has_payload and len([*(self.msg_ids or ()), *(self.event_ids or ())]) != 1:
            msg = "a payload goes with exactly one msg_id or event_id"
            raise ValueError(msg)
        return self
