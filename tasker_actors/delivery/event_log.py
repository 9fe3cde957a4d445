"""The log lines about one event that people grep for (SPEC 2 rule 2, 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasker_actors.telemetry.trace_context import WorkingOn

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasker_actors.events.outgoing import OutgoingEvent, RefusedEvent
    from tasker_actors.telemetry.trace_context import Correlated


class EventLog:
    """Writes the lines, two of them for a share of the events; used by one thread.

    `source` is what an event belongs to: the line has its correlation and trace ids.
    """

    def __init__(self, logger: Any, *, publishing: Callable[[], bool], published: Callable[[], bool]) -> None:
        self._logger = logger
        self._sample_publishing = publishing
        self._sample_published = published

    def publishing(self, event: OutgoingEvent, task_uuid: str | None, source: Correlated) -> None:
        """Say, on level debug, that an event goes into the next commit."""
        if self._sample_publishing():
            with WorkingOn(source):
                self._logger.debug(
                    "Publishing domain event",
                    task_uuid=task_uuid,
                    event_id=event.event_id,
                    event_name=event.event_name,
                    queue_name=_queue(event),
                )

    def published(self, event: OutgoingEvent, task_uuid: str | None, source: Correlated) -> None:
        """Say, on level info, that an event was committed, or handed over if it is a fast one."""
        if self._sample_published():
            with WorkingOn(source):
                self._logger.info(
                    "Domain event published successfully",
                    task_uuid=task_uuid,
                    namespace=event.namespace,
                    event_id=event.event_id,
                    event_name=event.event_name,
                    queue_name=_queue(event),
                    delivery_mode=event.delivery_mode.value,
                )

    def refused(self, event: RefusedEvent, task_uuid: str | None, source: Correlated) -> None:
        """Say, always, that an event became a dead letter."""
        with WorkingOn(source):
            log_refused(self._logger, event, task_uuid)


def log_refused(logger: Any, event: RefusedEvent, task_uuid: str | None) -> None:
    """Say, on level warning, that an event became a dead letter, and why."""
    logger.warning(
        "Domain event could not be published",
        task_uuid=task_uuid,
        namespace=event.namespace,
        event_id=event.event_id,
        event_name=event.event_name,
        queue_name=f"{event.namespace}_domain_events_dlq",
        delivery_mode=event.delivery_mode.value,
        code=event.code,
        path=event.path,
        error=event.reason,
    )


def _queue(event: OutgoingEvent) -> str | None:
    return f"{event.namespace}_domain_events" if event.delivery_mode.is_durable else None
