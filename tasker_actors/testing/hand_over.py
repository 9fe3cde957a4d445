"""After the commit: fast events to their subscribers, then the publishers' hooks, in a worker's order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tasker_actors.delivery.patterns import PatternIndex
from tasker_actors.events.hooks import notify_published, notify_refused
from tasker_actors.events.outgoing import OutgoingEvent
from tasker_actors.events.subscriber import SubscriberSpec
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.telemetry.span_ids import publish_fast_id
from tasker_actors.telemetry.span_scope import OpenTelemetrySpan
from tasker_actors.telemetry.trace_context import WorkingOn, correlated
from tasker_actors.testing.attempt import is_for_the_test
from tasker_actors.testing.records import Delivery

if TYPE_CHECKING:
    from tasker_actors.testing.loop import HandlerRunner


@dataclass(frozen=True, slots=True)
class HookFailure:
    """A hook of a publisher that raised after the commit, which costs nothing but itself."""

    publisher: str
    event_name: str
    error: BaseException


@dataclass(slots=True)
class HandOver:
    """The subscribers of one task, and what became of each event that they wanted."""

    subscribers: Sequence[SubscriberSpec]
    deliveries: list[Delivery] = field(default_factory=list)
    hook_failures: list[HookFailure] = field(default_factory=list)
    _index: PatternIndex[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read the patterns; PatternError for one that is none."""
        self._index = PatternIndex(
            [(number, pattern) for number, each in enumerate(self.subscribers) for pattern in each.patterns]
        )

    def count(self, event_name: str) -> int:
        """Tell how many subscribers an event has."""
        return len(self._index.keys_for(event_name))

    def committed(self, finished: FinishedStep, loop: HandlerRunner) -> None:
        """Hand over the events of an attempt that was committed."""
        for event in finished.derived.events:
            if event.delivery_mode.is_fast:
                for number in self._index.keys_for(event.event_name):
                    self._deliver(event, self.subscribers[number], finished, loop)
        with WorkingOn(finished):
            for event in finished.derived.events:
                self._call_back(event.publisher_name, event.event_name, partial(notify_published, event, loop.hooks()))
            for refused in finished.derived.refused:
                self._call_back(
                    refused.publisher_name, refused.event_name, partial(notify_refused, refused, loop.hooks())
                )

    def _deliver(
        self, event: OutgoingEvent, subscriber: SubscriberSpec, finished: FinishedStep, loop: HandlerRunner
    ) -> None:
        span = finished.trace.with_span(publish_fast_id(event.event_id))
        seen = event.event
        failed: BaseException | None = None
        try:
            with correlated(span, finished.correlation_id), OpenTelemetrySpan(lambda: span):
                returned = subscriber.call(seen)
                if subscriber.is_async and inspect.iscoroutine(returned):
                    loop.run(returned)
        except BaseException as error:
            if is_for_the_test(error):
                raise
            failed = error
        self.deliveries.append(Delivery(subscriber.name, seen, failed))

    def _call_back(self, publisher: str, event_name: str, hook: Callable[[], None]) -> None:
        try:
            hook()
        except BaseException as error:
            if is_for_the_test(error):
                raise
            self.hook_failures.append(HookFailure(publisher, event_name, error))
