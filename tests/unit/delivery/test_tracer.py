"""The spans of a commit: SPEC 4.2's tree, with its parents, attributes, times and errors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from support.leases import AGAIN, NEVER, event, finish, leased, publication, sampled_task

from tasker_actors.delivery.commit_spans import CommitSpans
from tasker_actors.delivery.routing import commit_item
from tasker_actors.delivery.tracer import CommitTracer, Tracing
from tasker_actors.messages import CommitItem, StepsCommitted
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.telemetry.span_ids import publish_domain_event_id, publish_durable_id
from tasker_actors.telemetry.trace_context import TraceContext

EVENTS = [event("a.durable"), event("b.fast", "fast"), event("c.both", "broadcast")]


def traced(
    *won: FinishedStep | CommitItem,
    lost: Sequence[FinishedStep] = (),
    finished: Mapping[str, str] | None = None,
    bus_accepted: bool = True,
) -> list[Span]:
    """Trace a commit that was sent 1 s ago, and return its spans."""
    offered: list[CommitSpans] = []
    tracer = CommitTracer(offered.append, lost=nothing_lost, slot=3, subscribers=len)
    now = time.monotonic()
    items = tuple(one if isinstance(one, CommitItem) else commit_item(one) for one in won)
    message = StepsCommitted(items, tuple(map(commit_item, lost)), (), 0, finished or {}, now - 1.0, now - 0.75)
    tracer.committed(message, taken_up=now - 0.5, counted=now - 0.25, handed_over=now, bus_accepted=bus_accepted)
    spans = [Span.FromString(encoded) for batch in offered for encoded in batch.encode()]
    assert len(spans) == sum(batch.count for batch in offered)
    return spans


def nothing_lost(count: int) -> None:
    """Take no loss."""
    raise AssertionError(f"{count} spans were lost")


def done(outcome: Any = None, **keys: Any) -> FinishedStep:
    """Finish an attempt of a sampled task that began 3 s ago, ran for 1 s and was concluded 1.5 s ago."""
    step = leased(task=keys.pop("task", None) or sampled_task(), **keys)
    finished = finish(step) if outcome is None else finish(step, outcome)
    now = time.monotonic()
    return replace(finished, began_at=now - 3, duration_ms=1000.0, finished_at=now - 1.5)


def tree(spans: Sequence[Span], parent: bytes) -> dict[str, Any]:
    """Give the spans below one by name."""
    below: dict[str, Any] = {}
    for span in spans:
        if span.parent_span_id == parent:
            assert span.name not in below
            below[span.name] = tree(spans, span.span_id)
    return below


def named(spans: Sequence[Span], name: str) -> Span:
    """Return the only span of a name."""
    (found,) = [span for span in spans if span.name == name]
    return found


def attributes(span: Span) -> dict[str, Any]:
    """Give a span's attributes as a dict."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def seconds(span: Span) -> float:
    """Tell how long a span took."""
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


@pytest.mark.parametrize(
    ("mode", "routes"),
    [
        ("durable", {"publish_durable": {}}),
        ("fast", {"publish_fast": {}}),
        ("broadcast", {"publish_durable": {}, "publish_fast": {}}),
    ],
)
def test_a_finished_task_with_one_step_and_one_event_is_the_tree_of_the_specification(mode: str, routes: Any):
    step = done(publishes_events=[event("a.one", mode)])
    spans = traced(step, finished={step.step.task.task_uuid: "complete"})

    assert tree(spans, b"") == {
        "task_execution": {
            "step_execution": {
                "handler_call": {},
                "publish_domain_event": {"route_event": routes, "record_metrics": {}},
            },
            "result_submission": {},
        }
    }
    assert {span.trace_id.hex() for span in spans} == {step.step.task.trace.trace_id}
    assert all(span.status.code == Status.STATUS_CODE_UNSET for span in spans)


def test_every_span_says_whose_it_is():
    step = done(publishes_events=EVENTS)
    task = step.step.task
    for span in traced(step, finished={task.task_uuid: "complete"}):
        said = attributes(span)
        assert (said["task_uuid"], said["namespace"], said["correlation_id"]) == (
            task.task_uuid,
            "shop",
            task.correlation_id,
        )
        if span.name != "task_execution":
            assert (said["step_uuid"], said["step_name"]) == (step.step.step_uuid, "only")


def test_each_kind_of_span_says_what_it_did():
    step = done(publishes_events=[event("c.both", "broadcast")])
    spans = traced(step, finished={step.step.task.task_uuid: "complete"})
    (published,) = step.derived.events

    def said(name: str, *keys: str) -> tuple[Any, ...]:
        return tuple(attributes(named(spans, name))[key] for key in keys)

    assert said("task_execution", "task.name", "task.status") == ("work", "complete")
    assert said("step_execution", "attempt", "worker.slot") == (1, 3)
    assert said("handler_call", "handler") == ("shop.only",)
    assert said("publish_domain_event", "event_name", "delivery_mode") == ("c.both", "broadcast")
    assert said("route_event", "delivery_mode", "target_queue") == ("broadcast", "shop_domain_events")
    assert said("publish_durable", "queue_name", "message_size") == ("shop_domain_events", len(published.message))
    assert said("publish_durable", "messaging.system", "messaging.destination.name", "messaging.message.id") == (
        "pgmq",
        "shop_domain_events",
        published.event_id,
    )
    assert named(spans, "publish_durable").kind == Span.SPAN_KIND_PRODUCER
    assert said("publish_fast", "subscriber_count") == (len("c.both"),)


def test_spans_have_the_times_of_what_they_tell():
    step = done(publishes_events=[event("c.both", "broadcast")])
    task_uuid = step.step.task.task_uuid
    spans = traced(step, finished={task_uuid: "complete"})
    now = time.time_ns()

    expected = {
        "step_execution": 3.0,
        "handler_call": 1.0,
        "publish_domain_event": 1.5,
        "route_event": 1.5,
        "publish_durable": 0.25,
        "record_metrics": 0.25,
        "publish_fast": 0.25,
        "result_submission": 0.75,
    }
    assert {name: seconds(named(spans, name)) for name in expected} == pytest.approx(expected, abs=0.05)
    assert named(spans, "task_execution").start_time_unix_nano == int(task_uuid.replace("-", "")[:12], 16) * 10**6
    assert abs(named(spans, "step_execution").end_time_unix_nano - now) < 60e9
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)


def test_a_reader_of_the_queue_knows_the_publisher_s_span():
    step = done(publishes_events=[event("a.durable")])
    spans = traced(step)

    (entry,) = commit_item(step).document["events"]
    (published,) = step.derived.events
    _, trace_id, span_id, flags = entry["headers"]["traceparent"].split("-")
    span = named(spans, "publish_durable")
    assert (trace_id, span_id, flags) == (span.trace_id.hex(), span.span_id.hex(), "01")
    assert span_id == publish_durable_id(published.event_id)


def test_a_failure_marks_its_spans_and_is_recorded_once():
    step = done(NEVER)
    spans = traced(step, finished={step.step.task.task_uuid: "error"})

    failed = {span.name: span.status.message for span in spans if span.status.code == Status.STATUS_CODE_ERROR}
    assert failed == {"task_execution": "step only: no", "step_execution": "no", "handler_call": "no"}
    recorded = [(span.name, each.name, attributes(each)) for span in spans for each in span.events]  # type: ignore[arg-type]  # span or event, both have attributes
    assert recorded == [("handler_call", "exception", {"exception.type": "permanent_error", "exception.message": "no"})]


def test_each_attempt_has_spans_of_its_own():
    task = sampled_task()
    spans = traced(done(AGAIN, task=task), done(task=task, row={"attempt": 2}))

    attempts = [span for span in spans if span.name == "step_execution"]
    assert [attributes(span)["attempt"] for span in attempts] == [1, 2]
    assert {span.parent_span_id.hex() for span in attempts} == {task.trace.span_id}
    assert len({span.span_id for span in spans}) == len(spans)
    assert [attributes(span)["step.state"] for span in spans if span.name == "result_submission"] == [
        "waiting_for_retry",
        "complete",
    ]


def test_two_steps_that_end_a_task_together_make_one_span_of_it():
    task = sampled_task()
    spans = traced(done(task=task), done(task=task), finished={task.task_uuid: "complete"})
    assert [span.name for span in spans].count("task_execution") == 1


def test_a_task_goes_on_below_its_caller_s_span():
    task = sampled_task("cd" * 8)
    spans = traced(done(task=task), finished={task.task_uuid: "complete"})
    assert named(spans, "task_execution").parent_span_id.hex() == "cd" * 8


def test_what_is_not_sampled_makes_no_spans():
    assert traced(finish(leased(publishes_events=EVENTS)), publication({})) == []


def test_a_result_that_came_too_late_is_an_attempt_that_failed_and_published_nothing():
    spans = traced(lost=[done(publishes_events=EVENTS)])
    failed = {span.name: span.status.code == Status.STATUS_CODE_ERROR for span in spans}
    assert failed == {"step_execution": True, "handler_call": False, "result_submission": True}
    assert attributes(named(spans, "step_execution"))["error.type"] == "lease_lost"
    assert [span.name for span in spans for _ in span.events] == ["result_submission"]


def test_an_event_that_the_bus_refused_has_an_error_on_its_fast_way_only():
    spans = traced(done(publishes_events=[event("c.both", "broadcast")]), bus_accepted=False)
    failed = [span.name for span in spans if span.status.code == Status.STATUS_CODE_ERROR]
    assert failed == ["publish_fast"]


def test_an_event_that_could_not_be_published_says_why():
    step = replace(done(), derived=finish(leased(publishes_events=EVENTS[:1]), max_payload_bytes=1).derived)
    spans = traced(step)
    span = named(spans, "publish_domain_event")
    assert (span.status.code, attributes(span)["error.type"]) == (Status.STATUS_CODE_ERROR, "too_large")
    assert tree(spans, span.span_id) == {"record_metrics": {}}


@pytest.mark.parametrize("is_continued", [True, False])
def test_an_event_from_outside_a_step_is_a_tree_below_its_caller(is_continued: bool):
    item = publication({"n": 1}, mode="broadcast")
    pending = item.publication
    assert pending is not None
    caller = TraceContext("ab" * 16, "cd" * 8, 1)
    trace = caller if is_continued else caller.with_span(publish_domain_event_id(pending.event_id))
    spans = traced(replace(item, publication=replace(pending, trace=trace, finished_at=time.monotonic() - 2)))

    assert tree(spans, bytes.fromhex("cd" * 8) if is_continued else b"") == {
        "publish_domain_event": {"route_event": {"publish_durable": {}, "publish_fast": {}}, "record_metrics": {}}
    }
    assert seconds(named(spans, "publish_domain_event")) == pytest.approx(2, abs=0.05)


def test_a_worker_s_tracing_counts_subscribers_by_their_patterns():
    offered: list[CommitSpans] = []
    tracer = Tracing(offered.append, nothing_lost, 0).tracer(lambda name: {"a.one": 2}.get(name, 0))
    step = done(publishes_events=[event("a.one", "fast")])
    tracer.committed(
        StepsCommitted((commit_item(step),), (), (), 0, {}, 0.0, 0.0),
        taken_up=0.0,
        counted=0.0,
        handed_over=0.0,
        bus_accepted=True,
    )
    assert (
        attributes(named([Span.FromString(one) for one in offered[0].encode()], "publish_fast"))["subscriber_count"]
        == 2
    )


def test_spans_that_cannot_be_made_cost_the_commit_nothing_and_are_counted():
    def refuse(_batch: CommitSpans) -> None:
        raise MemoryError

    lost: list[int] = []
    tracer = CommitTracer(refuse, lost=lost.append, slot=3, subscribers=len)
    items = (commit_item(done()), commit_item(finish(leased())), publication())
    tracer.committed(
        StepsCommitted(items, (commit_item(done()),), (), 0, {}, 0.0, 0.0),
        taken_up=0.0,
        counted=0.0,
        handed_over=0.0,
        bus_accepted=True,
    )
    assert lost == [2]


def test_a_vendor_s_tracestate_stays_with_every_span():
    task = sampled_task()
    task = replace(task, trace=replace(task.trace, tracestate="vendor=1"))
    assert {span.trace_state for span in traced(done(task=task))} == {"vendor=1"}
