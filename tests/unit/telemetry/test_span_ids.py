"""Ids of spans follow from ids that exist anyway."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.identifiers import new_uuid7
from tasker_actors.telemetry import span_ids
from tasker_actors.telemetry.trace_context import TraceContext, parse_traceparent

CALLER = TraceContext("ab" * 16, "cd" * 8, 3, "vendor=1")


def test_the_spans_of_an_event_have_different_ids_that_can_be_sent():
    event_id = new_uuid7()
    ids = [
        span_ids.publish_durable_id(event_id),
        span_ids.publish_domain_event_id(event_id),
        span_ids.route_event_id(event_id),
        span_ids.publish_fast_id(event_id),
        span_ids.record_metrics_id(event_id),
    ]
    assert all(one != another for one, another in combinations(ids, 2))
    assert all(parse_traceparent(CALLER.with_span(one).traceparent) is not None for one in ids)
    assert ids[0] == event_id.replace("-", "")[16:]


@given(st.integers(min_value=1, max_value=2**64 - 1).map(lambda number: f"{number:016x}"))
def test_the_spans_of_an_attempt_are_told_apart(attempt: str):
    ids = {attempt, span_ids.handler_call_id(attempt), span_ids.result_submission_id(attempt)}
    assert len(ids) == 3
    assert all(len(one) == 16 for one in ids)


def test_a_task_s_span_is_named_by_its_id_and_is_below_its_caller():
    task_uuid = new_uuid7()
    trace, parent = span_ids.task_span(task_uuid, CALLER)
    assert trace == TraceContext("ab" * 16, span_ids.task_span_id(task_uuid), 3, "vendor=1")
    assert parent == CALLER.span_id


def test_a_task_without_a_caller_is_the_root_of_its_trace():
    task_uuid = new_uuid7()
    own = CALLER.with_span(span_ids.task_span_id(task_uuid))
    assert span_ids.task_span(task_uuid, own) == (own, None)
