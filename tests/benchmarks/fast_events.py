"""Fast events a second in one worker to one subscriber: from the commit's message to the subscriber's return."""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasker_actors.actors import Actor, ActorSystem
from tasker_actors.delivery.backlog import Backlog
from tasker_actors.delivery.bus import InProcessEventBus
from tasker_actors.delivery.event_log import EventLog
from tasker_actors.delivery.ffi_channel import FfiChannel
from tasker_actors.delivery.patterns import PatternIndex
from tasker_actors.delivery.publication import derive_publication
from tasker_actors.delivery.router import EventRouter
from tasker_actors.delivery.subscription import Subscription
from tasker_actors.events.subscriber import SubscriberSpec
from tasker_actors.identifiers import new_uuid7
from tasker_actors.messages import CommitItem, PendingPublication, PublishEvent, StepsCommitted
from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.recorder import WorkerRecorder
from tasker_actors.steps.ledger import Ledger
from tasker_actors.telemetry.trace_context import new_trace

EVENTS = 40_000
COMMIT = 100
PACED = 10
"""Events of a commit where the pace is measured: a commit brings its events at once."""
NOTHING = threading.Event()


class Unused(Actor):
    """Stands where the router sends what this benchmark has none of."""

    def receive(self, message: Any) -> None:
        """Take a message."""


class Answered:
    """Takes the router's answers."""

    def answer(self, value: Any) -> None:
        """Take an answer."""

    def fail(self, error: BaseException) -> None:
        """Take a failure."""
        raise error


class Never:
    """A logger that writes nothing, as with `logging.event_sample_rate = 0`."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_kwargs: None


def run(rounds: int) -> dict[str, list[float]]:
    """Hand commits of a hundred fast events to a real router, bus and subscription: at once, then at half that rate."""
    figures: dict[str, list[float]] = {"fast_events_per_s": [], "fast_event_p50_ms": [], "fast_event_p99_ms": []}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds + 1):
            rate = _rate(Path(directory), 2 * number)
            late = sorted(_latencies(Path(directory), 2 * number + 1, rate / 2))
            if number:
                figures["fast_events_per_s"].append(rate)
                figures["fast_event_p50_ms"].append(late[len(late) // 2])
                figures["fast_event_p99_ms"].append(late[len(late) * 99 // 100])
    return figures


def no_drops(_count: int, _reason: str) -> None:
    """Nothing is dropped here."""


def _rate(directory: Path, number: int) -> float:
    seen = 0
    all_seen = threading.Event()

    def subscriber(event: Any) -> None:
        nonlocal seen
        seen += event.payload["value"]
        if seen == EVENTS:
            all_seen.set()

    with _router(directory, number, subscriber) as router:
        commits = _commits(EVENTS, COMMIT)
        began = time.perf_counter()
        for commit in commits:
            router.tell(commit)
        all_seen.wait(60)
        return EVENTS / (time.perf_counter() - began)


def _latencies(directory: Path, number: int, rate: float) -> list[float]:
    """Milliseconds from a commit's message to the router until each of its events is with the subscriber."""
    told: list[float] = []
    late: list[float] = []
    all_seen = threading.Event()

    def subscriber(event: Any) -> None:
        assert event.payload["value"] == 1
        late.append((time.perf_counter() - told[len(late) // PACED]) * 1000)
        if len(late) == EVENTS // 2:
            all_seen.set()

    with _router(directory, number, subscriber) as router:
        commits = _commits(EVENTS // 2, PACED)
        pause, began = threading.Event(), time.perf_counter()
        for index, commit in enumerate(commits):
            pause.wait(max(0.0, began + index * PACED / rate - time.perf_counter()))
            told.append(time.perf_counter())
            router.tell(commit)
        all_seen.wait(60)
    return late


@contextmanager
def _router(directory: Path, number: int, subscriber: Callable[[Any], None]) -> Iterator[Any]:
    block = BlockWriter(create_block(directory, slot=0, incarnation=number, executors=1))
    recorder = WorkerRecorder(block, [])
    spec = SubscriberSpec("benchmark", ("bench.*",), subscriber, is_async=False)
    counter = block.shared_bus_counter(3)
    subscription = Subscription(
        spec,
        buffer_size=EVENTS,
        buffer_bytes=1 << 30,
        timeout_ms=5000,
        max_stuck=4,
        errors=counter,
        drops=no_drops,
        logger=Never(),
    )
    subscription.start()
    system = ActorSystem("worker-0")
    index = PatternIndex([(0, "bench.*")])
    channel = FfiChannel(
        (),
        buffer_size=1,
        buffer_bytes=1,
        timeout_ms=5000,
        errors=counter,
        drops=no_drops,
        logger=Never(),
    )
    ledger = Ledger()
    bus = system.start(
        "bus",
        lambda: InProcessEventBus(
            subscriptions=[subscription], index=index, channel=channel, outflow=ledger.outflow, recorder=recorder
        ),
    )
    other = system.start("unused", Unused)
    log = EventLog(Never(), publishing=NOTHING.is_set, published=NOTHING.is_set)
    router = system.start(
        "router",
        lambda: EventRouter(
            ledger=ledger,
            publisher=other,
            bus=bus,
            hooks=other,
            hooks_backlog=Backlog(1, 1),
            publications=Backlog(1, 1),
            recorder=recorder,
            log=log,
            max_payload_bytes=1024,
            tracer=None,
        ),
    )
    try:
        yield router
    finally:
        system.stop_all((), time.monotonic() + 5)
        subscription.stop()


def _commits(events: int, each: int) -> list[StepsCommitted]:
    """Make them before they are needed, and out of the collector's sight: no worker holds so many at once."""
    commits = [_commit(each) for _ in range(events // each)]
    gc.collect()
    gc.freeze()
    return commits


def _commit(events: int) -> StepsCommitted:
    return StepsCommitted(
        won=tuple(_item() for _ in range(events)),
        lost=(),
        continued=(),
        released=0,
        finished_tasks={},
        sent_at=time.monotonic(),
        committed_at=time.monotonic(),
    )


def _item() -> CommitItem:
    message = PublishEvent(
        event_id=new_uuid7(),
        name="bench.event",
        namespace="bench",
        payload='{"value": 1, "text": "as long as a short sentence"}',
        delivery_mode="fast",
        correlation_id=new_uuid7(),
        parent_correlation_id=None,
        traceparent="",
        tracestate=None,
    )
    derived = derive_publication(message, fired_at=datetime.now(UTC), max_payload_bytes=1024)
    publication = PendingPublication(
        derived, new_trace(), message.event_id, message.correlation_id, Answered(), finished_at=time.monotonic()
    )
    return CommitItem(document={}, size=0, token=0, task_uuid=None, finished=None, publication=publication)
