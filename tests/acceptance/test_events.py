"""Domain events on all three paths, as clients and readers of the queues see them (SPEC 2, 3)."""

from __future__ import annotations

import re
import secrets

import pytest
from support.publishing_project import CONDITIONS, Difference, publishing, received, run
from support.waiting import until

from tasker_actors.identifiers import is_uuid, new_uuid7

PUBLISHED = {
    "complete": {"success", "always"},
    "waiting_for_retry": {"failure", "retryable_failure", "always"},
    "error": {"failure", "permanent_failure", "always"},
}


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    with publishing(tmp_path_factory.mktemp("events") / "project", embedded_server) as found:
        yield found


@pytest.mark.parametrize(
    ("outcomes", "states"),
    [
        (("success",), ("complete",)),
        (("retryable", "success"), ("waiting_for_retry", "complete")),
        (("retryable", "retryable"), ("waiting_for_retry", "error")),
        (("permanent",), ("error",)),
    ],
    ids="-".join,
)
def test_each_attempt_publishes_what_its_conditions_say(one, outcomes, states):
    status = "complete" if states[-1] == "complete" else "error"
    task_uuid = run(one, "conditions", *outcomes, status=status)

    found = [
        (row["message"]["execution"]["attempt"], row["message"]["execution"]["status"], row["message"]["event_name"])
        for row in one.messages("ev", task_uuid)
    ]
    assert found == [
        (number, state, f"on.{condition}")
        for number, state in enumerate(states, 1)
        for condition in CONDITIONS
        if condition in PUBLISHED[state]
    ]


def test_the_payload_of_a_failure_is_its_metadata_with_what_is_known_about_it(one):
    task_uuid = run(one, "conditions", "permanent", status="error")

    message = one.messages("ev", task_uuid)[0]["message"]
    failed_at = message["payload"].pop("failed_at")
    assert message["payload"] == {
        "hint": "h",
        "error_type": "permanent_error",
        "error_code": "P1",
        "error_message": "for good",
        "retryable": False,
        "attempt": 1,
        "max_attempts": 2,
    }
    assert failed_at.endswith("Z")
    assert message["execution"]["error"] == {"type": "permanent_error", "code": "P1", "message": "for good"}


def test_a_message_is_laid_out_as_promised_and_its_headers_continue_the_trace(one):
    correlation_id, parent, trace_id = new_uuid7(), new_uuid7(), secrets.token_hex(16)
    body = {
        "name": "modes",
        "namespace": "ev",
        "context": {"outcomes": ["success"], "value": [1, None]},
        "correlation_id": correlation_id,
        "parent_correlation_id": parent,
    }
    traceparent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    answer = one.http.post("/v1/tasks", json=body, headers={"traceparent": traceparent, "tracestate": "vendor=1"})
    task_uuid = answer.json()["task_uuid"]
    one.wait(task_uuid, "complete")

    row = next(row for row in one.messages("ev", task_uuid) if row["message"]["event_name"] == "seen.durable")
    message = row["message"]
    assert is_uuid(message.pop("event_id"))
    fired_at = message["metadata"].pop("fired_at")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fired_at)
    assert message["execution"].pop("duration_ms") >= 0
    assert message == {
        "event_name": "seen.durable",
        "event_version": "1.0",
        "payload": {"value": [1, None], "big": ""},
        "execution": {"status": "complete", "attempt": 1, "error": None},
        "metadata": {
            "task_uuid": task_uuid,
            "step_uuid": one.steps(task_uuid)["step"]["step_uuid"],
            "step_name": "step",
            "namespace": "ev",
            "correlation_id": correlation_id,
            "parent_correlation_id": parent,
            "fired_by": "outcome",
            "custom": {},
        },
    }
    headers = row["headers"]
    assert re.fullmatch(rf"00-{trace_id}-[0-9a-f]{{16}}-[0-9a-f]{{2}}", headers.pop("traceparent"))
    assert is_uuid(headers.pop("event_id"))
    assert headers == {
        "tracestate": "vendor=1",
        "correlation_id": correlation_id,
        "event_name": "seen.durable",
        "content_type": "application/json",
    }
    assert answer.headers["x-correlation-id"] == correlation_id
    assert trace_id in answer.headers["traceparent"]


def test_each_mode_takes_its_path_and_a_broadcast_event_is_one_event(one):
    difference = Difference(one)

    task_uuid = run(one, "modes")

    durable = {row["message"]["event_name"]: row["message"] for row in one.messages("ev", task_uuid)}
    assert set(durable) == {"seen.durable", "seen.both"}
    for subscriber in ("function", "class", "async"):
        until(lambda name=subscriber: len(received(one, name, task_uuid)) == 2)
        fast = {event["event_name"]: event for event in received(one, subscriber, task_uuid)}
        assert set(fast) == {"seen.fast", "seen.both"}
        assert fast["seen.both"] == durable["seen.both"]
    difference.wait(
        "router",
        total_routed=3,
        durable_routed=1,
        fast_routed=1,
        broadcast_routed=1,
        fast_delivery_errors=0,
        routing_errors=0,
    )
    difference.wait("in_process_bus", total_events_dispatched=2, rust_handler_dispatches=2, rust_handler_errors=0)


def test_what_code_publishes_goes_with_the_attempt_if_its_condition_does_not_hold(one):
    published = [
        {"args": ["code.default", {"n": 1}]},
        {"args": ["code.durable", {"n": 2}], "options": {"delivery": "durable"}},
        {"args": ["code.on_failure", {"n": 3}], "options": {"delivery": "durable", "when": "retryable_failure"}},
        {"args": ["seen.code", {"n": 4}], "options": {"delivery": "broadcast", "when": "always"}},
    ]

    task_uuid = run(one, "code", "retryable", "success", context={"publish": published})

    messages = [row["message"] for row in one.messages("ev", task_uuid)]
    found = [(message["event_name"], message["execution"]["attempt"]) for message in messages]
    assert found == [("code.on_failure", 1), ("seen.code", 1), ("code.durable", 2), ("seen.code", 2)]
    until(lambda: [event["execution"]["attempt"] for event in received(one, "class", task_uuid)] == [1, 2])
