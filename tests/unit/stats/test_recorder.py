"""What a worker counts of events that its bus did not take, and of tasks that ended (SPEC 3, 4.3)."""

from __future__ import annotations

import pytest
from support.leases import AGAIN, DONE, NEVER, event, finish, leased

from tasker_actors.delivery.router import commit_item
from tasker_actors.events.outgoing import FastEvent
from tasker_actors.messages import StepsCommitted
from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.counters import EventRouterStats
from tasker_actors.stats.reader import BlockReader
from tasker_actors.stats.recorder import WorkerRecorder
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.trace_context import new_trace

UNSAMPLED = new_trace()


@pytest.fixture
def path(tmp_path):
    return create_block(tmp_path, slot=0, incarnation=1, executors=1)


@pytest.fixture
def recorder(path):
    return WorkerRecorder(BlockWriter(path))


def outgoing(mode):
    return finish(leased(publishes_events=[event("a.lost", mode)])).derived.events


def test_a_fast_event_that_the_bus_refused_is_lost_and_an_error(path, recorder):
    recorder.bus_refused([FastEvent(one, 1.0, UNSAMPLED) for one in outgoing("fast")], 1.5)

    snapshot = BlockReader(path).snapshot()
    assert snapshot.router.stats() == EventRouterStats(1, 0, 0, 0, 1, 1)
    counters = snapshot.figures.counters
    assert counters[metrics.EVENTS_REFUSED_BY_BUS] == {("shop", "a.lost", "fast", "default"): 1}
    assert counters[metrics.EVENT_REFUSALS] == {("shop", "bus_refused"): 1}
    assert metrics.EVENTS_PUBLISHED not in counters


def test_a_broadcast_event_that_the_bus_refused_is_still_published(path, recorder):
    step = finish(leased(publishes_events=[event("a.half", "broadcast")]))
    recorder.committed(commit_item(step), 1.0)
    recorder.bus_refused([FastEvent(one, 1.0, UNSAMPLED) for one in step.derived.events], 1.5)

    snapshot = BlockReader(path).snapshot()
    assert snapshot.router.stats() == EventRouterStats(1, 0, 0, 1, 1, 0)
    assert snapshot.router.broadcast_refused == 1
    counters = snapshot.figures.counters
    assert counters[metrics.EVENTS_PUBLISHED] == {("shop", "a.half", "broadcast", "default"): 1}
    assert metrics.EVENTS_REFUSED_BY_BUS not in counters


def test_a_task_is_counted_by_its_end_and_a_failed_one_under_what_failed(path, recorder):
    done, failed, elsewhere = finish(leased(), DONE), finish(leased(), NEVER), finish(leased(), AGAIN)
    ends = {done.step.task.task_uuid: "complete", failed.step.task.task_uuid: "error", "cancelled elsewhere": "error"}
    won = tuple(map(commit_item, (done, failed, elsewhere)))

    recorder.tasks_finished(StepsCommitted(won, (), (), 0, ends, 1.0, 2.0))

    counters = BlockReader(path).snapshot().figures.counters
    assert counters[metrics.TASK_COMPLETIONS] == {("shop", done.step.plan.task_type): 1}
    assert counters[metrics.TASK_FAILURES] == {("shop", failed.step.plan.task_type, "permanent_error"): 1}
