"""What a commit adds to the counters is what its steps and events would add one by one."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.leases import AGAIN, DONE, NEVER, event, finish, leased

from tasker_actors.delivery.routing import commit_item
from tasker_actors.events.outgoing import FastEvent
from tasker_actors.messages import StepsCommitted
from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.counters import EventRouterStats
from tasker_actors.stats.reader import BlockReader
from tasker_actors.stats.recorder import WorkerRecorder
from tasker_actors.telemetry import metrics
from tasker_actors.workflow.outcome import StepFailure

STEPS = [
    leased(publishes_events=[event(f"{name}.done", mode, condition="always")])
    for name in ("a", "b")
    for mode in ("durable", "broadcast", "fast")
]
attempts = st.builds(
    lambda step, namespace, attempt, outcome: finish(
        replace(
            step,
            attempt=attempt,
            plan=replace(step.plan, namespace=namespace, name=step.plan.declarations[0].declaration.name[0]),
        ),
        outcome,
    ),
    st.sampled_from(STEPS),
    st.sampled_from(["shop", "bank"]),
    st.sampled_from([1, 2]),
    st.sampled_from([DONE, AGAIN, NEVER]),
)


@given(st.lists(attempts, max_size=12), st.booleans())
def test_a_commit_counts_what_its_steps_would_count_one_by_one(finished, bus_takes):
    with tempfile.TemporaryDirectory() as directory:
        path = create_block(Path(directory), slot=0, incarnation=1, executors=1)
        recorder = WorkerRecorder(BlockWriter(path), ["shop", "bank"])
        won = tuple(map(commit_item, finished))
        recorder.committed(StepsCommitted(won, (), (), 0, {}, 1.0, 2.0), now=2.0)
        events = [(one, attempt) for attempt in finished for one in attempt.derived.events]
        fast = [
            FastEvent(one, attempt.finished_at, attempt.trace) for one, attempt in events if one.delivery_mode.is_fast
        ]
        (recorder.handed_over if bus_takes else recorder.bus_refused)(fast, 2.0)
        snapshot = BlockReader(path).snapshot()

    counters, histograms = snapshot.figures.counters, snapshot.figures.histograms
    assert counters.get(metrics.STEP_EXECUTIONS, {}) == Counter(_step(each) for each in finished)
    failed = [each for each in finished if isinstance(each.outcome, StepFailure)]
    assert counters.get(metrics.STEP_SUCCESSES, {}) == Counter(_step(each) for each in finished if each not in failed)
    assert counters.get(metrics.STEP_FAILURES, {}) == Counter(
        (*_step(each), each.outcome.error_type, str(each.outcome.retryable).lower()) for each in failed
    )
    ends = Counter((each.step.plan.namespace, "failure" if each in failed else "success") for each in finished)
    for metric in (metrics.STEP_EXECUTION_DURATION, metrics.STEP_RESULT_SUBMISSION_DURATION):
        assert {labels: value.count for labels, value in histograms.get(metric, {}).items()} == ends
    waited = Counter(
        (each.step.plan.namespace, "failure" if each in failed else "success")
        for each in finished
        if each.step.attempt == 1
    )
    assert {labels: value.count for labels, value in histograms.get(metrics.STEP_WAIT_DURATION, {}).items()} == waited

    modes = Counter(one.delivery_mode.value for one, _ in events)
    published = Counter(_labels(one) for one, _ in events if bus_takes or one.delivery_mode.is_durable)
    assert counters.get(metrics.EVENTS_PUBLISHED, {}) == published
    refused = Counter() if bus_takes else Counter(_labels(one) for one, _ in events if not one.delivery_mode.is_durable)
    assert counters.get(metrics.EVENTS_REFUSED_BY_BUS, {}) == refused
    timed = Counter((labels[0], labels[2], "success") for labels in published.elements())
    timed += Counter((labels[0], labels[2], "failure") for labels in refused.elements())
    found = histograms.get(metrics.EVENT_PUBLISH_DURATION, {})
    assert {labels: value.count for labels, value in found.items()} == timed
    taken = modes["fast"] if bus_takes else 0
    stats: EventRouterStats = snapshot.router.stats()
    assert (snapshot.router.broadcast_refused, stats.fast_routed) == (0 if bus_takes else modes["broadcast"], taken)


def _step(finished):
    return finished.step.plan.namespace, finished.step.plan.name


def _labels(one):
    return one.namespace, one.event_name, one.delivery_mode.value, one.publisher_name
