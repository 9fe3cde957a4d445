"""What is known about the attempt that an event tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasker_actors.events.declaration import DeliveryMode, EventCondition
from tasker_actors.values import value


@value()
class StepFacts:
    """One attempt of a step: whose it is, which one, and how long it took.

    `attempt` counts from 1; `input_data` is the task's context, for publishers only: no event carries it.
    """

    task_uuid: str
    step_uuid: str
    step_name: str
    namespace: str
    correlation_id: str
    parent_correlation_id: str | None
    handler_name: str
    attempt: int
    max_attempts: int
    duration_ms: float
    input_data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CodeEvent:
    """An event that a handler published with `context.publish`; it waits for the commit of its attempt (SPEC 2.1)."""

    name: str
    payload: Any
    delivery_mode: DeliveryMode = DeliveryMode.DURABLE
    when: EventCondition = EventCondition.SUCCESS
