"""EventRouter: between a finished step and its commit, and between the commit and the subscribers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from tasker_actors.actors import Actor, LocalAddress
from tasker_actors.actors.envelope import Reply
from tasker_actors.delivery.backlog import Backlog
from tasker_actors.delivery.event_log import EventLog
from tasker_actors.delivery.publication import derive_publication
from tasker_actors.delivery.publisher_hooks import callbacks_size, has_callbacks
from tasker_actors.delivery.routing import commit_item, event_documents
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.outgoing import FastEvent
from tasker_actors.messages import (
    CommitItem,
    CommitItems,
    EventPublished,
    PendingPublication,
    PublisherCallbacks,
    PublishEvent,
    RouteFast,
    StepFinished,
    StepsCommitted,
)
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.ledger import Ledger, Stage
from tasker_actors.steps.outflow import events_size
from tasker_actors.telemetry.trace_context import new_trace, parse_traceparent

if TYPE_CHECKING:
    from tasker_actors.events.outgoing import OutgoingEvent, RefusedEvent
    from tasker_actors.telemetry.trace_context import Correlated

_BATCH = 1000


class DeliveryRecorder(Protocol):
    """Counts what was committed and handed over; called in the router's thread only."""

    def committed(self, message: StepsCommitted, now: float) -> None:
        """Count what was stored: steps, durable events, dead letters, tasks that were started and that are finished."""

    def handed_over(self, events: Sequence[FastEvent], now: float) -> None:
        """Count fast and broadcast events that the bus took; with each the moment its step finished, and its trace."""

    def bus_refused(self, events: Sequence[FastEvent], now: float) -> None:
        """Count fast and broadcast events that the bus did not take."""

    def dropped(self, buffer: str, count: int, reason: str) -> None:
        """Count what found no room."""


class Tracer(Protocol):
    """Makes spans of what was committed; called in the router's thread only."""

    def committed(
        self, message: StepsCommitted, *, taken_up: float, counted: float, handed_over: float, bus_accepted: bool
    ) -> None:
        """Trace a commit. Times are monotonic seconds: taken up by the router, counted, handed to the bus."""


class EventRouter(Actor):
    """Sends each event on the path of its delivery mode (SPEC 2).

    Before the commit it turns finished steps into entries of the batch, durable events nested in their result; after it
    hands fast events to the bus, in the order in which their steps were committed. What is counted here was committed.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        publisher: LocalAddress,
        bus: LocalAddress,
        hooks: LocalAddress,
        hooks_backlog: Backlog,
        publications: Backlog,
        max_payload_bytes: int,
        recorder: DeliveryRecorder,
        log: EventLog,
        tracer: Tracer | None,
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._bus = bus
        self._hooks = hooks
        self._hooks_backlog = hooks_backlog
        self._publications = publications
        self._max_payload_bytes = max_payload_bytes
        self._recorder = recorder
        self._log = log
        self._tracer = tracer

    def on_start(self) -> None:
        """Send on what an earlier instance had taken from the mailbox and not sent on."""
        self._commit([item.step.token for item in self._ledger.items(Stage.FINISHED)])

    def receive(self, message: StepFinished | StepsCommitted | PublishEvent) -> None:
        """Route one message, and with a finished step all others that wait behind it."""
        match message:
            case StepFinished(finished):
                waiting = self.take_waiting(_BATCH, StepFinished)
                self._commit([finished.step.token, *(envelope.message.finished.step.token for envelope in waiting)])
            case StepsCommitted():
                try:
                    self._hand_over(message)
                finally:
                    self._ledger.outflow.routed()
            case PublishEvent():
                self._publish(message)

    def _commit(self, tokens: Sequence[int]) -> None:
        """Send finished steps to the commit; a token that the ledger does not know as finished was sent before."""
        items = []
        for item in self._ledger.committing(tokens):
            finished = item.finished
            if finished is not None:
                items.append(commit_item(finished))
                self._log_publishing(finished, finished.step.task.task_uuid)
        if items:
            self._publisher.tell(CommitItems(tuple(items)))

    def _log_publishing(self, source: FinishedStep | PendingPublication, task_uuid: str | None) -> None:
        for event in source.derived.events:
            self._log.publishing(event, task_uuid, source)

    def _hand_over(self, committed: StepsCommitted) -> None:
        fast: list[FastEvent] = []
        callbacks: list[tuple[OutgoingEvent | RefusedEvent, Correlated]] = []
        now = time.monotonic()
        self._recorder.committed(committed, now)
        for item in committed.won:
            source = item.finished or item.publication
            if source is None:
                continue
            for event in source.derived.events:
                self._log.published(event, item.task_uuid, source)
                if event.delivery_mode is not DeliveryMode.DURABLE:
                    fast.append(FastEvent(event, source.finished_at, source.trace))
                if has_callbacks(event.publisher):
                    callbacks.append((event, source))
            for refused in source.derived.refused:
                self._log.refused(refused, item.task_uuid, source)
                if has_callbacks(refused.publisher):
                    callbacks.append((refused, source))
            if item.publication is not None:
                item.publication.reply.answer(_answer(item.publication))
        counted = time.monotonic()
        accepted = self._deliver(fast) if fast else True
        handed_over = time.monotonic()
        if callbacks:
            self._call_back(PublisherCallbacks(tuple(callbacks)))
        if self._tracer is not None:
            self._tracer.committed(
                committed, taken_up=now, counted=counted, handed_over=handed_over, bus_accepted=accepted
            )

    def _deliver(self, fast: Sequence[FastEvent]) -> bool:
        accepted = self._bus.is_accepting
        if accepted:
            self._ledger.outflow.to_bus(events_size(each.event for each in fast))
            self._bus.tell(RouteFast(tuple(fast)))
            self._recorder.handed_over(fast, time.monotonic())
        else:
            self._recorder.bus_refused(fast, time.monotonic())
        return accepted

    def _call_back(self, message: PublisherCallbacks) -> None:
        """Let hooks hear of a commit, unless too many wait already: a slow hook delays nothing and fills no memory."""
        refusal = self._hooks_backlog.add(len(message.events), callbacks_size(message))
        if refusal is None:
            self._hooks.tell(message)
        else:
            self._recorder.dropped("publisher_hooks", len(message.events), refusal)

    def _publish(self, message: PublishEvent) -> None:
        """Commit one event from outside a step; its asker gets the answer after the commit.

        While the database is away askers give up and come again, and what they sent waits here all the same. Above a
        limit it is refused, so that their patience bounds nothing that this process holds.
        """
        size = len(message.payload)
        refusal = self._publications.add(1, size)
        if refusal is not None:
            self._recorder.dropped("publications", 1, refusal)
            self.defer_reply().refuse("too many events from outside of steps wait to be committed; try again later")
            return
        trace = parse_traceparent(message.traceparent, message.tracestate) or new_trace()
        derived = derive_publication(message, fired_at=datetime.now(UTC), max_payload_bytes=self._max_payload_bytes)
        publication = PendingPublication(
            derived,
            trace,
            message.event_id,
            message.correlation_id,
            _ReleasingReply(self.defer_reply(), self._publications, size),
            time.monotonic(),
        )
        self._log_publishing(publication, None)
        document = event_documents(derived, trace, message.correlation_id)
        document["namespace"] = message.namespace
        item = CommitItem(
            document=document,
            size=size,
            token=0,
            task_uuid=None,
            finished=None,
            publication=publication,
        )
        self._publisher.tell(CommitItems((item,)))


class _ReleasingReply:
    """The answer to an asker, after which the publication does not count as waiting any more."""

    def __init__(self, reply: Reply, publications: Backlog, size: int) -> None:
        self._reply = reply
        self._publications = publications
        self._size = size

    def answer(self, value: object) -> None:
        """Give the asker a value."""
        self._publications.remove(1, self._size)
        self._reply.answer(value)

    def fail(self, error: BaseException) -> None:
        """Make the asker's call raise an ActorError about this error."""
        self._publications.remove(1, self._size)
        self._reply.fail(error)


def _answer(publication: PendingPublication) -> EventPublished:
    if publication.derived.refused:
        refused = publication.derived.refused[0]
        return EventPublished(publication.event_id, refused.code, refused.reason, refused.path)
    return EventPublished(publication.event_id)
