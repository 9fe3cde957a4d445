"""InProcessEventBus: hands committed events to the subscribers of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tasker_actors.actors import Actor
from tasker_actors.delivery.ffi_channel import FfiChannel
from tasker_actors.delivery.patterns import PatternIndex
from tasker_actors.delivery.subscription import Subscription
from tasker_actors.messages import RouteFast
from tasker_actors.steps.outflow import Outflow


class BusRecorder(Protocol):
    """Counts what the bus took; called in the bus's thread only."""

    def dispatched(self, events: int, matched: int, foreign: int) -> None:
        """Count events taken, those that matched at least one Python subscriber, those the foreign channel took."""


class InProcessEventBus(Actor):
    """Matches events with subscribers and puts them into their buffers; it never waits for a subscriber.

    Order per subscriber is the order of the commits. What is in a buffer is lost if the process dies (SPEC 2, fast).
    """

    def __init__(
        self,
        *,
        subscriptions: Sequence[Subscription],
        index: PatternIndex[int],
        channel: FfiChannel,
        outflow: Outflow,
        recorder: BusRecorder,
    ) -> None:
        self._subscriptions = subscriptions
        self._index = index
        self._channel = channel
        self._outflow = outflow
        self._has_foreign = channel.subscriber_count > 0
        self._recorder = recorder

    def receive(self, message: RouteFast) -> None:
        """Take a batch of events."""
        try:
            self._offer(message)
        finally:
            self._outflow.dispatched()

    def _offer(self, message: RouteFast) -> None:
        matched = foreign = 0
        for event, _, trace in message.events:
            keys = self._index.keys_for(event.event_name)
            if keys:
                matched += 1
                seen = event.event  # by all of them: it is parsed once
                for key in keys:
                    self._subscriptions[key].offer(seen, len(event.message), trace)
            if self._has_foreign:
                foreign += self._channel.offer(event, trace)
        self._recorder.dispatched(len(message.events), matched, foreign)
