"""Which part of an attempt goes into the commit, and what it is counted under (SPEC 2, 2.4)."""

from __future__ import annotations

import orjson
import pytest
from support.leases import AGAIN, DONE, event, finish, leased

from tasker_actors.delivery.routing import (
    error_document,
    event_documents,
    label_set,
    queue_headers,
    result_document,
    return_document,
)
from tasker_actors.events.outgoing import Derived
from tasker_actors.telemetry.trace_context import TraceContext, parse_traceparent
from tasker_actors.workflow.outcome import StepFailure, StepSuccess

TRACE = TraceContext("1" * 32, "2" * 16, 1)


def plain(document):
    return orjson.loads(orjson.dumps(document))


def derived(*declared, outcome=DONE):
    return finish(leased(publishes_events=list(declared)), outcome).derived


@pytest.mark.parametrize(("mode", "is_stored"), [("durable", True), ("broadcast", True), ("fast", False)])
def test_durable_and_broadcast_events_go_into_the_commit_and_fast_ones_do_not(mode: str, is_stored: bool):
    documents = event_documents(derived(event("a.one", mode)), TRACE, "c")

    assert ([one["label"][1] for one in documents["events"]] == ["a.one"]) if is_stored else documents == {}


def test_refused_events_of_every_mode_become_dead_letters():
    schema = {"type": "object", "required": ["missing"]}
    declared = [event(f"a.{mode}", mode, schema=schema) for mode in ("durable", "broadcast", "fast")]

    documents = event_documents(derived(*declared), TRACE, "c")

    assert [one["label"][2] for one in documents["dead_letters"]] == ["durable", "broadcast", "fast"]
    assert "events" not in documents


def test_an_attempt_without_events_adds_nothing():
    assert event_documents(Derived(), TRACE, "c") == {}


def test_an_event_is_counted_by_namespace_name_mode_and_publisher():
    (one,) = derived(event("a.one", "broadcast")).events

    assert label_set(one) == ("shop", "a.one", "broadcast", "default")


def test_headers_name_the_event_and_a_span_below_the_attempts():
    (one,) = derived(event("a.one")).events
    headers = queue_headers(one, TRACE, "the correlation")

    trace = parse_traceparent(headers.pop("traceparent"))
    assert headers == {
        "correlation_id": "the correlation",
        "event_id": one.event_id,
        "event_name": "a.one",
        "content_type": "application/json",
    }
    assert trace is not None
    assert (trace.trace_id, trace.flags, trace.span_id == TRACE.span_id) == (TRACE.trace_id, 1, False)


def test_a_tracestate_travels_with_the_trace():
    (one,) = derived(event("a.one")).events

    assert queue_headers(one, TraceContext("1" * 32, "2" * 16, 1, "a=b"), "c")["tracestate"] == "a=b"


def test_a_success_is_stored_with_its_result_and_its_size():
    step = leased(row={"attempt": 2})

    assert plain(result_document(finish(step, StepSuccess({"n": "ü"})))) == {
        "token": step.token,
        "task": step.task.task_uuid,
        "position": 1,
        "attempt": 2,
        "outcome": "complete",
        "duration_ms": 1.5,
        "result": {"n": "ü"},
        "bytes": len('{"n":"ü"}'.encode()),
    }


def test_a_result_of_null_is_a_result():
    document = plain(result_document(finish(leased(), StepSuccess(None))))

    assert (document["result"], document["bytes"], "error" in document) == (None, 4, False)


def test_a_failure_is_stored_with_its_error_and_delay():
    failure = StepFailure("why", "odd_error", "E7", retry_after_ms=250)
    document = plain(result_document(finish(leased(), failure)))

    assert (document["outcome"], document["delay_ms"]) == ("waiting_for_retry", 250)
    assert document["error"] == {"error_type": "odd_error", "error_code": "E7", "message": "why", "retryable": True}
    assert error_document(finish(leased(), failure)) == document["error"]
    assert "result" not in document


def test_events_are_nested_in_their_result():
    document = plain(result_document(finish(leased(publishes_events=[event("a.one")]), AGAIN)))

    assert [one["message"]["event_name"] for one in document["events"]] == ["a.one"]


def test_a_returned_step_names_its_lease_and_nothing_else():
    step = leased()

    assert return_document(step) == {
        "token": step.token,
        "task": step.task.task_uuid,
        "position": 1,
        "attempt": 1,
        "outcome": "returned",
    }
