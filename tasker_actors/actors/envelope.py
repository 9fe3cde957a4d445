"""A message with what travels beside it, and the place where its answer goes."""

from __future__ import annotations

from typing import Any, Protocol

from tasker_actors.telemetry.trace_context import TraceContext
from tasker_actors.values import value


class Reply(Protocol):
    """Where the answer to an ask goes. The first call wins, later ones do nothing; none of them raises."""

    def answer(self, value: Any) -> None:
        """Give the asker a value."""

    def fail(self, error: BaseException) -> None:
        """Make the asker's call raise an ActorError about this error."""

    def refuse(self, reason: str) -> None:
        """Make the asker's call raise an ActorUnavailableError, since nobody will answer."""


@value()
class Envelope:
    """One message on its way to one actor.

    `sender` is the full name of the actor that sent it (`worker-1/event_router`), None when no actor did.
    `message_id` is unique among the messages of the sending process and correlates an answer with its ask.
    `reply` is None for a tell. The message is shared, never copied, so it must be frozen.
    """

    message: Any
    trace: TraceContext | None
    correlation_id: str | None
    sender: str | None
    message_id: int
    reply: Reply | None = None
