"""EventRouter: nothing before the commit, everything after it, and counted where it happened (SPEC 2, 3)."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson
import pytest
from support.exporting import Lines
from support.leases import DONE, Inbox, event, finish, leased, sampled_task
from support.waiting import until_stable

from tasker_actors.actors import ActorSystem, ActorUnavailableError, RestartPolicy
from tasker_actors.delivery.backlog import Backlog
from tasker_actors.delivery.commit_spans import CommitSpans
from tasker_actors.delivery.event_log import EventLog
from tasker_actors.delivery.publisher_hooks import callbacks_size
from tasker_actors.delivery.router import EventRouter
from tasker_actors.delivery.routing import commit_item
from tasker_actors.delivery.tracer import CommitTracer
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.identifiers import new_uuid7
from tasker_actors.messages import (
    CommitItem,
    CommitItems,
    EventPublished,
    PublisherCallbacks,
    PublishEvent,
    RouteFast,
    StepFinished,
    StepsCommitted,
)
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.ledger import Ledger, Stage
from tasker_actors.steps.outflow import events_size
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow.outcome import StepSuccess


class Told:
    """What the router counted, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.broken = False

    def committed(self, message: StepsCommitted, _now: float) -> None:
        """Take note."""
        if self.broken:
            self.broken = False
            raise RuntimeError("the router fails")
        self.calls.extend(("committed", item.token) for item in message.won)
        self.calls.append(("tasks", dict(message.finished_tasks)))

    def handed_over(self, events: Any, _now: float) -> None:
        """Take note."""
        self.calls.append(("handed over", [one.event_name for one, _, _ in events]))

    def bus_refused(self, events: Any, _now: float) -> None:
        """Take note."""
        self.calls.append(("bus refused", [one.event_name for one, _, _ in events]))

    def dropped(self, buffer: str, count: int, reason: str) -> None:
        """Take note."""
        self.calls.append(("dropped", (buffer, count, reason)))


HOOKS_BYTES = 5_000


class Router:
    """A router with everything around it in the test's hands."""

    def __init__(self) -> None:
        self.hooks_backlog = Backlog(3, HOOKS_BYTES)
        self.publications = Backlog(2, 1_000)
        self.system = ActorSystem("worker-0", on_restart=lambda *_: None)
        self.ledger = Ledger()
        self.told = Told()
        self.to_publisher: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.to_bus: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.to_hooks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        publisher, bus, hooks = (
            self.system.start(name, partial(Inbox, heard))
            for name, heard in (("publisher", self.to_publisher), ("bus", self.to_bus), ("hooks", self.to_hooks))
        )
        self.traced: list[CommitSpans] = []
        tracer = CommitTracer(self.traced.append, lost=lambda _: None, slot=3, subscribers=lambda _: 2)
        log = EventLog(get_logger("tests"), publishing=lambda: True, published=lambda: True)
        self.address = self.system.start(
            "event_router",
            lambda: EventRouter(
                ledger=self.ledger,
                publisher=publisher,
                bus=bus,
                hooks=hooks,
                hooks_backlog=self.hooks_backlog,
                publications=self.publications,
                max_payload_bytes=1000,
                recorder=self.told,
                log=log,
                tracer=tracer,
            ),
            RestartPolicy(backoff_base_ms=0),
        )

    def finish(self, *results: FinishedStep) -> None:
        """Take results into the ledger as executors do."""
        self.ledger.add(result.step for result in results)
        for result in results:
            item = self.ledger.begin(result.step.token, 0, 0.0)
            assert item is not None
            self.ledger.finish(item, result)

    def commit(self, *results: FinishedStep, lost: tuple[FinishedStep, ...] = (), **facts: Any) -> None:
        """Tell the router that a transaction is over, and wait until it has handled that."""
        won, gone = tuple(map(commit_item, results)), tuple(map(commit_item, lost))
        self.address.tell(StepsCommitted(won, gone, (), 0, facts, 1.0, 2.0))
        self.settle()

    def settle(self) -> None:
        """Wait until the router and those behind it have handled everything."""
        until_stable(lambda: all(one.mailbox_depth == 0 and one.busy_seconds is None for one in self.system.actors()))


@pytest.fixture
def router() -> Iterator[Router]:
    router = Router()
    yield router
    assert router.system.stop_all([], time.monotonic() + 5) == ()


def three_ways(**keys: Any) -> FinishedStep:
    declared = [event("a.durable"), event("b.fast", "fast"), event("c.both", "broadcast")]
    return finish(leased(publishes_events=declared, **keys))


# Before the commit


def test_a_finished_step_is_sent_to_the_commit_and_nothing_to_anybody_else(router: Router):
    result = three_ways()
    router.finish(result)
    router.address.tell(StepFinished(result))

    (item,) = router.to_publisher.get(timeout=5).items
    router.settle()
    assert (item.token, item.finished, item.publication) == (result.step.token, result, None)
    assert [one["label"][1] for one in item.document["events"]] == ["a.durable", "c.both"]
    assert router.ledger.items()[0].stage is Stage.COMMITTING
    assert (router.to_bus.empty(), router.to_hooks.empty(), router.told.calls) == (True, True, [])


def test_a_result_is_sent_to_the_commit_once_whoever_reports_it(router: Router):
    result = finish(leased())
    router.finish(result)
    router.address.tell(StepFinished(result))
    router.address.tell(StepFinished(result))
    router.settle()

    assert len(router.to_publisher.get(timeout=5).items) == 1
    assert router.to_publisher.empty()


def test_a_result_of_a_step_that_was_let_go_is_not_sent(router: Router):
    result = finish(leased())
    router.finish(result)
    router.ledger.remove([result.step.token])
    router.address.tell(StepFinished(result))
    router.settle()

    assert router.to_publisher.empty()


def test_what_an_earlier_instance_had_taken_and_not_sent_is_sent_by_the_next(router: Router):
    result = finish(leased())
    router.told.broken = True
    router.finish(result)  # its message went down with the instance that had drained it
    router.commit(finish(leased()))

    assert [item.token for item in router.to_publisher.get(timeout=5).items] == [result.step.token]


# After the commit


def test_fast_and_broadcast_events_of_what_was_stored_go_to_the_bus_in_commit_order(router: Router):
    first, second = three_ways(), three_ways()
    router.commit(second, first, lost=(three_ways(),))

    taken = router.to_bus.get(timeout=5)
    assert isinstance(taken, RouteFast)
    expected = [(event, result.step.trace) for result in (second, first) for event in result.derived.events[1:]]
    assert [(one.event, one.trace) for one in taken.events] == expected
    assert router.told.calls == [
        ("committed", second.step.token),
        ("committed", first.step.token),
        ("tasks", {}),
        ("handed over", ["b.fast", "c.both", "b.fast", "c.both"]),
    ]


def test_what_goes_to_the_bus_is_on_its_way_there_and_the_rest_has_arrived(router: Router):
    result, outflow = three_ways(), router.ledger.outflow
    outflow.to_router(events_size(result.derived.events))

    router.commit(result)
    assert outflow.bytes == events_size(result.derived.events[1:])
    outflow.dispatched()
    assert outflow.bytes == 0


def test_nothing_of_a_result_that_lost_its_lease_happens(router: Router):
    router.commit(lost=(three_ways(),))

    assert (router.to_bus.empty(), router.to_hooks.empty()) == (True, True)
    assert router.told.calls == [("tasks", {})]


def test_what_is_sampled_is_traced_after_it_was_handed_over(router: Router):
    sampled, other = three_ways(task=sampled_task()), three_ways()
    router.commit(sampled, other, **{sampled.step.task.task_uuid: "complete"})

    (spans,) = router.traced
    assert [attempt.trace for attempt in spans.attempts] == [sampled.step.trace]
    assert [finished.task.trace for finished in spans.finished] == [sampled.step.task.trace]
    times = spans.times
    assert (times.sent, times.committed) == (1.0, 2.0)
    assert times.taken_up <= times.counted <= times.handed_over


def test_every_line_about_an_event_has_the_ids_of_its_own_task(lines: Lines):
    router = Router()
    steps = [finish(leased(task=sampled_task(), publishes_events=[event("a.one")])) for _ in range(3)]
    steps.append(finish(leased(task=sampled_task(), publishes_events=[event("a.one")]), max_payload_bytes=1))
    router.finish(*steps)
    router.address.tell(StepFinished(steps[0]), trace=steps[0].trace, correlation_id=steps[0].correlation_id)
    for step in steps[1:]:
        router.address.tell(StepFinished(step), trace=step.trace, correlation_id=step.correlation_id)
    router.settle()
    router.commit(*steps)
    router.system.stop_all([], time.monotonic() + 5)

    found = [
        (line["event_id"], line["correlation_id"], line["trace_id"]) for line in lines.lines() if "event_id" in line
    ]
    expected = {
        one.event_id: (step.correlation_id, step.trace.trace_id)
        for step in steps
        for one in (*step.derived.events, *step.derived.refused)
    }
    assert len(found) == 3 + 3 + 1
    assert all(expected[event_id] == tuple(ids) for event_id, *ids in found)


def test_without_fast_events_the_bus_is_left_alone(router: Router):
    router.commit(finish(leased(publishes_events=[event("a.durable")]), DONE), task="complete")

    assert router.to_bus.empty()
    assert router.told.calls[-1] == ("tasks", {"task": "complete"})


def test_while_the_bus_is_stopped_fast_events_are_counted_as_refused(router: Router):
    router.system.stop("bus", time.monotonic() + 5)
    router.commit(three_ways())

    assert router.told.calls[-1] == ("bus refused", ["b.fast", "c.both"])


class Hooked(BasePublisher):
    """Wants to hear of the commit."""

    publisher_name = "hooked"

    def after_publish(self, event_name: str, payload: Any, metadata: Any) -> None:
        """Hear."""


def test_publishers_that_want_to_hear_of_the_commit_do(router: Router):
    declared = [event("a.heard", publisher="hooked"), event("b.plain"), event("c.refused", publisher="hooked")]
    declared[2]["schema"] = {"type": "object", "required": ["missing"]}
    result = finish(leased(publishers={"hooked": Hooked()}, publishes_events=declared))
    router.commit(result, lost=(result,))

    callbacks = router.to_hooks.get(timeout=5)
    assert isinstance(callbacks, PublisherCallbacks)
    assert [(one.event_name, source) for one, source in callbacks.events] == [
        ("a.heard", result),
        ("c.refused", result),
    ]
    assert router.to_hooks.empty()


def test_publishers_that_do_not_are_not_bothered(router: Router):
    router.commit(three_ways())

    assert router.to_hooks.empty()


def test_callbacks_that_nobody_takes_up_are_let_go_and_counted(router: Router):
    result = finish(leased(publishers={"hooked": Hooked()}, publishes_events=[event("a.heard", publisher="hooked")]))
    for _ in range(5):
        router.commit(result)
    waiting = [router.to_hooks.get(timeout=5) for _ in range(3)]
    assert router.to_hooks.empty()
    assert [call for call in router.told.calls if call[0] == "dropped"] == [
        ("dropped", ("publisher_hooks", 1, "too_many"))
    ] * 2

    router.hooks_backlog.remove(1, callbacks_size(waiting[0]))
    router.commit(result)
    assert router.to_hooks.get(timeout=5).events


def test_callbacks_are_bounded_by_what_they_hold_too(router: Router):
    declared = [event("a.heard", publisher="hooked")]
    large = finish(leased(publishers={"hooked": Hooked()}, publishes_events=declared), StepSuccess("x" * 900))
    for _ in range(4):
        router.commit(large)
    size = callbacks_size(router.to_hooks.get(timeout=5))
    dropped = ("dropped", ("publisher_hooks", 1, "too_large"))
    assert 900 < size < HOOKS_BYTES
    assert [call for call in router.told.calls if call[0] == "dropped"] == [dropped] * (4 - HOOKS_BYTES // size)


# Events from outside a step


def publication(payload: Any, mode: str = "durable") -> PublishEvent:
    """What the supervisor sends."""
    text = orjson.dumps(payload).decode()
    trace = new_trace().traceparent
    return PublishEvent(new_uuid7(), "ops.noted", "shop", text, mode, new_uuid7(), None, trace, None)


def ask(router: Router, payload: Any, mode: str = "durable") -> tuple[CommitItem, queue.SimpleQueue[Any]]:
    """Ask for a publication; returns its entry of the batch and where the answer will come."""
    message = publication(payload, mode)
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(router.address.ask(message, 10))).start()
    entries = router.to_publisher.get(timeout=5)
    assert isinstance(entries, CommitItems)
    return entries.items[0], answer


def committed(router: Router, asked: tuple[CommitItem, queue.SimpleQueue[Any]]) -> None:
    """Tell the router of its commit, and see that the asker hears."""
    item, answer = asked
    router.address.tell(StepsCommitted((item,), (), (), 0, {}, 1.0, 2.0))
    assert answer.get(timeout=5).code is None


def test_an_outside_event_is_answered_after_its_commit(router: Router):
    item, answer = ask(router, {"n": 1}, "broadcast")
    assert (item.document["namespace"], item.token, item.task_uuid) == ("shop", 0, None)
    assert (answer.empty(), router.to_bus.empty()) == (True, True)

    router.address.tell(StepsCommitted((item,), (), (), 0, {}, 1.0, 2.0))

    assert item.publication is not None
    assert answer.get(timeout=5) == EventPublished(item.publication.event_id)
    assert [one.event.event_name for one in router.to_bus.get(timeout=5).events] == ["ops.noted"]


def test_events_from_outside_that_are_not_committed_are_bounded(router: Router):
    """Their askers give up after a while, and what they sent waits all the same."""
    waiting = [ask(router, {"n": 1}), ask(router, {"n": 2})]
    with pytest.raises(ActorUnavailableError, match="too many events from outside of steps wait"):
        router.address.ask(publication({"n": 3}), 10)
    assert router.told.calls == [("dropped", ("publications", 1, "too_many"))]

    committed(router, waiting.pop())
    committed(router, ask(router, {"n": 4}))
    committed(router, waiting.pop())


def test_large_events_from_outside_are_bounded_by_their_bytes(router: Router):
    waiting = ask(router, "x" * 600)
    with pytest.raises(ActorUnavailableError, match="too many events"):
        router.address.ask(publication("x" * 600), 10)
    assert router.told.calls == [("dropped", ("publications", 1, "too_large"))]
    committed(router, waiting)


def test_an_outside_event_that_cannot_be_published_is_a_dead_letter_and_its_asker_hears_why(router: Router):
    item, answer = ask(router, "x" * 1001)
    assert ("events" in item.document, len(item.document["dead_letters"])) == (False, 1)

    router.address.tell(StepsCommitted((item,), (), (), 0, {}, 1.0, 2.0))

    assert answer.get(timeout=5).code == "too_large"
    router.settle()
    assert router.to_bus.empty()


def test_the_size_of_an_entry_is_known_before_it_is_encoded():
    assert commit_item(finish(leased(), StepSuccess("x" * 500))).size == 502
