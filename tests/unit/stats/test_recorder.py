"""What a worker counts of claims and waiting, of events that its bus did not take, and of ended tasks (SPEC 3, 4.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.dynamic import slice_done
from support.leases import AGAIN, DONE, NEVER, event, finish, leased, template
from support.sub_workflows import started

from tasker_actors.delivery.routing import commit_item
from tasker_actors.events.outgoing import FastEvent
from tasker_actors.messages import StepsCommitted
from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.counters import EventRouterStats
from tasker_actors.stats.figures import HistogramValue
from tasker_actors.stats.reader import BlockReader
from tasker_actors.stats.recorder import WorkerRecorder
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.trace_context import new_trace
from tasker_actors.workflow.dag import plan
from tasker_actors.workflow.registered import RegisteredTemplate

UNSAMPLED = new_trace()


@pytest.fixture
def path(tmp_path):
    return create_block(tmp_path, slot=0, incarnation=1, executors=1)


@pytest.fixture
def recorder(path):
    return WorkerRecorder(BlockWriter(path), ["shop", "bank"])


def of_namespace(namespace):
    step = leased()
    return replace(step, plan=replace(step.plan, namespace=namespace))


def committed(*finished, ends=None):
    """What the publisher says of a commit of these attempts."""
    return StepsCommitted(tuple(map(commit_item, finished)), (), (), 0, ends or {}, 1.0, 2.0)


def histograms(path, metric):
    return BlockReader(path).snapshot().figures.histograms.get(metric, {})


def test_a_claim_is_observed_once_in_each_namespace_that_it_took_steps_of(path, recorder):
    recorder.claimed([of_namespace(name) for name in ("shop", "bank", "shop")], 3.0)
    recorder.claimed([of_namespace("bank")], 40.0)

    assert histograms(path, metrics.STEP_CLAIM_DURATION) == {
        ("shop", "success"): HistogramValue().observe(3.0),
        ("bank", "success"): HistogramValue().observe(3.0).observe(40.0),
    }
    counters = BlockReader(path).snapshot().figures.counters
    assert counters[metrics.STEPS_CLAIMED] == {("shop", "only"): 2, ("bank", "only"): 2}


def test_a_continuation_is_counted_and_was_no_claim(path, recorder):
    recorder.claimed([leased()], None)

    assert histograms(path, metrics.STEP_CLAIM_DURATION) == {}
    assert BlockReader(path).snapshot().figures.counters[metrics.STEPS_CLAIMED] == {("shop", "only"): 1}


def test_a_claim_that_failed_is_observed_in_each_namespace_that_it_was_for(path, recorder):
    recorder.claim_failed(70.0)

    value = HistogramValue().observe(70.0)
    assert histograms(path, metrics.STEP_CLAIM_DURATION) == {("shop", "failure"): value, ("bank", "failure"): value}


def test_a_first_attempt_waited_in_the_queue_and_in_the_worker_and_a_later_one_is_not_observed(path, recorder):
    first = finish(leased(row={"waited_ms": 40.0}), DONE)
    first = replace(first, began_at=first.step.leased_at + 0.2)
    again = finish(leased(row={"waited_ms": 5000.0, "attempt": 2}), NEVER)
    recorder.committed(committed(first, again), again.finished_at)

    [(labels, value)] = histograms(path, metrics.STEP_WAIT_DURATION).items()
    assert (labels, value.count) == (("shop", "success"), 1)
    assert value.total == pytest.approx(240.0)
    executions = BlockReader(path).snapshot().figures.counters[metrics.STEP_EXECUTIONS]
    assert executions == {("shop", "only"): 2}


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
    recorder.committed(committed(step), 1.0)
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

    recorder.committed(committed(done, failed, elsewhere, ends=ends), 1.0)

    counters = BlockReader(path).snapshot().figures.counters
    assert counters[metrics.TASK_COMPLETIONS] == {("shop", done.step.plan.task_type): 1}
    assert counters[metrics.TASK_FAILURES] == {("shop", failed.step.plan.task_type, "permanent_error"): 1}


def test_a_slice_of_work_is_no_execution(recorder, path):
    instance = finish(leased(row={"own": {"name": "only_001", "definition": 1}}))
    recorder.committed(committed(finish(leased(), slice_done(1)), instance), now=1.0)

    counters = BlockReader(path).snapshot().figures.counters
    assert counters[metrics.STEP_EXECUTIONS] == {("shop", "only"): 1}


def test_tasks_that_a_step_has_started_are_counted_with_its_commit(path, recorder):
    invoice = template({"a": []}, name="invoice", namespace="bank")
    finished, _ = started(leased(), RegisteredTemplate(1, invoice, plan(invoice)), 2)

    recorder.committed(committed(finished), now=0.0)

    counters = BlockReader(path).snapshot().figures.counters
    assert counters[metrics.TASK_REQUESTS] == {("bank", "invoice"): 2}
    assert metrics.STEP_EXECUTIONS not in counters
