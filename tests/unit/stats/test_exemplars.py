"""Exemplars from a worker's counting to what a scrape shows: of sampled traces only, and few."""

from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.leases import AGAIN, DONE, NEVER, event, finish, leased

from tasker_actors.delivery.routing import commit_item
from tasker_actors.messages import StepsCommitted
from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.book import StatsBook, WorkerIdentity
from tasker_actors.stats.exposition import openmetrics_text
from tasker_actors.stats.reader import BlockReader
from tasker_actors.stats.recorder import WorkerRecorder
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.metrics import DURATION_BOUNDS_MS, EVENT_REFUSALS, STEP_WAIT_DURATION, MetricKind
from tasker_actors.telemetry.trace_context import new_trace

TRACE = new_trace(sampled=True)


@pytest.fixture
def path(tmp_path):
    return create_block(tmp_path, slot=0, incarnation=1, executors=2)


def found(writer, reader):
    """Where exemplars stand, with their spans."""
    return {reader.locate(cell): exemplar.span_id for cell, exemplar in writer.take_exemplars().items()}


def record(writer, outcome, *, sampled, finished_tasks="complete"):
    step = leased(publishes_events=[event()])
    step = replace(step, trace=new_trace(sampled=sampled))
    item = commit_item(finish(step, outcome))
    recorder = WorkerRecorder(writer, ["shop"])
    finished = {step.task.task_uuid: finished_tasks}
    message = StepsCommitted((item,), (), (), 0, finished, sent_at=1.0, committed_at=2.0)
    recorder.committed(message, item.finished.finished_at + 0.002)
    return step


def test_a_cell_is_found_again_with_its_bucket(writer, reader):
    writer.counter(EVENT_REFUSALS, ("ns", "a")).add()
    counter = writer.counter(EVENT_REFUSALS, ("ns", "b"))
    histogram = writer.histogram(STEP_WAIT_DURATION, ("ns", "success"))
    counter.add(1, TRACE)
    for bound in DURATION_BOUNDS_MS:
        histogram.observe(bound, TRACE)
    histogram.observe(1e6, TRACE)
    assert found(writer, reader) == {
        (EVENT_REFUSALS, ("ns", "b"), 0): TRACE.span_id,
        **{
            (STEP_WAIT_DURATION, ("ns", "success"), bucket): TRACE.span_id
            for bucket in range(len(DURATION_BOUNDS_MS) + 1)
        },
    }
    assert writer.take_exemplars() == {}


def test_cells_that_count_no_series_are_nobodys(writer, reader):
    writer.histogram(STEP_WAIT_DURATION, ("ns", "success"))
    assert reader.locate(0) is None
    assert reader.locate(10**6) is None


def test_the_latest_of_a_bucket_is_kept_and_their_number_is_bounded(path):
    writer = BlockWriter(path, max_exemplars=2)
    counters = [writer.counter(EVENT_REFUSALS, ("ns", str(number))) for number in range(5)]
    for counter in counters:
        counter.add(1, TRACE)
    counters[0].add(7, TRACE)
    taken = writer.take_exemplars()
    assert [exemplar.value for exemplar in taken.values()] == [7, 1]
    counters[4].add(1, TRACE)
    assert len(writer.take_exemplars()) == 1


@pytest.mark.parametrize("outcome", [DONE, AGAIN, NEVER])
def test_nothing_is_kept_of_a_trace_that_nobody_records(writer, outcome):
    record(writer, outcome, sampled=False)
    assert writer.take_exemplars() == {}


def test_a_sampled_attempt_marks_its_durations_and_what_came_of_it(writer, reader):
    step = record(writer, DONE, sampled=True)
    assert {place[0]: span for place, span in found(writer, reader).items()} == dict.fromkeys(
        (
            metrics.STEP_SUCCESSES,
            metrics.STEP_EXECUTION_DURATION,
            metrics.STEP_RESULT_SUBMISSION_DURATION,
            metrics.STEP_WAIT_DURATION,
            metrics.EVENTS_PUBLISHED,
            metrics.EVENT_PUBLISH_DURATION,
            metrics.TASK_COMPLETIONS,
        ),
        step.trace.span_id,
    )


def test_a_sampled_failure_marks_the_counters_of_failures(writer, reader):
    record(writer, NEVER, sampled=True, finished_tasks="error")
    marked = {place[0] for place in found(writer, reader)}
    assert {metrics.STEP_FAILURES, metrics.TASK_FAILURES} <= marked
    assert metrics.STEP_SUCCESSES not in marked


def test_a_sampled_step_among_others_marks_itself_alone(writer, reader):
    steps = [leased(publishes_events=[event()]) for _ in range(5)]
    steps = [replace(step, trace=new_trace(sampled=number == 2)) for number, step in enumerate(steps)]
    items = tuple(commit_item(finish(step)) for step in steps)
    WorkerRecorder(writer, ["shop"]).committed(StepsCommitted(items, (), (), 0, {}, 1.0, 2.0), now=2.0)

    found = {reader.locate(cell): exemplar for cell, exemplar in writer.take_exemplars().items()}
    assert {exemplar.span_id for exemplar in found.values()} == {steps[2].trace.span_id}
    counted = {place[0]: exemplar.value for place, exemplar in found.items() if place[0].kind is MetricKind.COUNTER}
    assert counted == {metrics.STEP_SUCCESSES: 1, metrics.EVENTS_PUBLISHED: 1}


def test_fast_events_mark_what_the_bus_took_and_refused_under_their_own_trace(writer, reader):
    [fast] = finish(leased(publishes_events=[event(mode="fast")])).derived.events
    recorder = WorkerRecorder(writer, ["shop"])
    silent = new_trace()
    recorder.handed_over([(fast, 1.0, silent)], 1.002)
    recorder.bus_refused([(fast, 1.0, silent)], 1.002)
    assert writer.take_exemplars() == {}
    recorder.handed_over([(fast, 1.0, TRACE)], 1.002)
    assert {place[0] for place in found(writer, reader)} == {metrics.EVENTS_PUBLISHED, metrics.EVENT_PUBLISH_DURATION}
    recorder.bus_refused([(fast, 1.0, TRACE)], 1.002)
    assert {place[0] for place in found(writer, reader)} == {
        metrics.EVENTS_REFUSED_BY_BUS,
        metrics.EVENT_REFUSALS,
        metrics.EVENT_PUBLISH_DURATION,
    }


def test_a_scrape_shows_them_where_they_were_counted(path, writer):
    book = StatsBook()
    book.attach(WorkerIdentity(0, 1, "w"), BlockReader(path))
    step = record(writer, DONE, sampled=True)
    book.exemplify(0, 1, writer.take_exemplars())
    shown = {}
    for family in text_string_to_metric_families(openmetrics_text(book.figures()).decode()):
        for sample in family.samples:
            if sample.exemplar is not None:
                shown[sample.name] = sample.exemplar.labels
    ids = {"trace_id": step.trace.trace_id, "span_id": step.trace.span_id}
    assert shown == dict.fromkeys(
        (
            "tasker_steps_successes_total",
            "tasker_tasks_completions_total",
            "tasker_domain_events_published_total",
            "tasker_domain_events_publish_duration_milliseconds_bucket",
            "tasker_step_execution_duration_milliseconds_bucket",
            "tasker_step_result_submission_duration_milliseconds_bucket",
            "tasker_step_wait_duration_milliseconds_bucket",
        ),
        ids,
    )
    book.retire(0, 1, None)
