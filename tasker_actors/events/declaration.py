"""How an event is delivered, and after which outcomes a declared event is published (SPEC 2 and 2.1)."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never


class DeliveryMode(StrEnum):
    """Where an event goes: the durable queue, this process's subscribers, or both (SPEC 2)."""

    DURABLE = "durable"
    FAST = "fast"
    BROADCAST = "broadcast"

    @property
    def is_durable(self) -> bool:
        """Whether the event is written in the transaction of the step's result."""
        return self is not DeliveryMode.FAST

    @property
    def is_fast(self) -> bool:
        """Whether the event is handed to the subscribers of this process after the commit."""
        return self is not DeliveryMode.DURABLE


class EventCondition(StrEnum):
    """The outcome of an attempt after which an event is published."""

    SUCCESS = "success"
    FAILURE = "failure"
    RETRYABLE_FAILURE = "retryable_failure"
    PERMANENT_FAILURE = "permanent_failure"
    ALWAYS = "always"


def applies(condition: EventCondition, *, succeeded: bool, will_retry: bool) -> bool:
    """Tell whether an attempt with this outcome publishes an event with this condition (table of SPEC 2.1).

    `will_retry` has no meaning for an attempt that succeeded.
    """
    match condition:
        case EventCondition.SUCCESS:
            return succeeded
        case EventCondition.FAILURE:
            return not succeeded
        case EventCondition.RETRYABLE_FAILURE:
            return not succeeded and will_retry
        case EventCondition.PERMANENT_FAILURE:
            return not succeeded and not will_retry
        case EventCondition.ALWAYS:
            return True
        case _:
            assert_never(condition)
