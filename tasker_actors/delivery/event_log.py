"""The two log lines about one event that people grep for (SPEC 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasker_actors.events.outgoing import OutgoingEvent


class EventLog:
    """Writes the lines, for the share of events that `sample` says yes to; used by one thread."""

    def __init__(self, logger: Any, *, publishing: Callable[[], bool], published: Callable[[], bool]) -> None:
        self._logger = logger
        self._sample_publishing = publishing
        self._sample_published = published

    def publishing(self, event: OutgoingEvent, task_uuid: str | None, correlation_id: str) -> None:
        """Say, on level debug, that an event goes into the next commit."""
        if self._sample_publishing():
            self._logger.debug(
                "Publishing domain event",
                correlation_id=correlation_id,
                task_uuid=task_uuid,
                event_id=event.event_id,
                event_name=event.event_name,
                queue_name=_queue(event),
            )

    def published(self, event: OutgoingEvent, task_uuid: str | None, correlation_id: str) -> None:
        """Say, on level info, that an event was committed, or handed over if it is a fast one."""
        if self._sample_published():
            self._logger.info(
                "Domain event published successfully",
                correlation_id=correlation_id,
                task_uuid=task_uuid,
                namespace=event.namespace,
                event_id=event.event_id,
                event_name=event.event_name,
                queue_name=_queue(event),
                delivery_mode=event.delivery_mode.value,
            )


def _queue(event: OutgoingEvent) -> str | None:
    return f"{event.namespace}_domain_events" if event.delivery_mode.is_durable else None
