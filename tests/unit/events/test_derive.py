"""The events of an attempt: which, with which payload, as which bytes, and what becomes of the others."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from jsonschema import ValidationError

from tasker_actors.events.codec import encode_payload
from tasker_actors.events.declaration import DeliveryMode, EventCondition
from tasker_actors.events.derive import (
    CodeEvent,
    Derived,
    OutgoingEvent,
    RefusedEvent,
    StepFacts,
    build_event,
    derive,
    lost_step_message,
)
from tasker_actors.events.outgoing import bind_declarations
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.events.schema import EventSchemaError, SchemaValidator, SchemaViolationError
from tasker_actors.identifiers import is_uuid
from tasker_actors.workflow.outcome import StepFailure, StepSuccess
from tasker_actors.workflow.template import EventDeclaration

MOMENT = datetime(2025, 12, 1, 10, 30, tzinfo=UTC)
FIRED_AT = "2025-12-01T10:30:00.000000Z"
RESULT = {"flight": "UA1545", "delay": 12.5}


def facts(**changes: Any) -> StepFacts:
    values: dict[str, Any] = {
        "task_uuid": "0192f3a0-0000-7000-8000-000000000001",
        "step_uuid": "0192f3a0-0000-7000-8000-000000000002",
        "step_name": "assess_delay",
        "namespace": "flights",
        "correlation_id": "0192f3a0-0000-7000-8000-000000000003",
        "parent_correlation_id": None,
        "handler_name": "flights.assess_delay",
        "attempt": 2,
        "max_attempts": 3,
        "duration_ms": 12.4,
        "input_data": {"secret": "never in an event"},
    }
    return StepFacts(**{**values, **changes})


def run(outcome: Any, *declared: dict[str, Any], **options: Any) -> Derived:
    publishers = options.pop("publishers", {})
    settings = {"will_retry": False, "moment": MOMENT, "code_events": (), **options}
    declarations = bind_declarations([EventDeclaration(**each) for each in declared], publishers)
    return derive(settings.pop("facts", facts()), outcome, declarations=declarations, **settings)


def messages(derived: Derived) -> list[dict[str, Any]]:
    return [orjson.loads(event.message) for event in derived.events]


def only_refusal(derived: Derived) -> tuple[RefusedEvent, dict[str, Any]]:
    assert derived.events == ()
    (refused,) = derived.refused
    return refused, orjson.loads(refused.dead_letter)


def test_the_message_of_a_success_is_the_one_of_the_specification():
    derived = run(StepSuccess(RESULT), {"name": "flight.delayed"})
    (message,) = messages(derived)
    event_id = message.pop("event_id")
    assert is_uuid(event_id)
    assert event_id[14] == "7"
    assert message == {
        "event_name": "flight.delayed",
        "event_version": "1.0",
        "payload": RESULT,
        "execution": {"status": "complete", "attempt": 2, "duration_ms": 12.4, "error": None},
        "metadata": {
            "task_uuid": "0192f3a0-0000-7000-8000-000000000001",
            "step_uuid": "0192f3a0-0000-7000-8000-000000000002",
            "step_name": "assess_delay",
            "namespace": "flights",
            "correlation_id": "0192f3a0-0000-7000-8000-000000000003",
            "parent_correlation_id": None,
            "fired_at": FIRED_AT,
            "fired_by": "flights.assess_delay",
            "custom": {},
        },
    }
    assert b"never in an event" not in derived.events[0].message


def test_an_outgoing_event_says_where_it_goes():
    (event,) = run(StepSuccess(RESULT), {"name": "flight.delayed", "delivery_mode": "broadcast"}).events
    assert (event.event_name, event.namespace, event.delivery_mode) == ("flight.delayed", "flights", "broadcast")
    assert event.publisher_name == "default"
    assert event.event.to_dict() == orjson.loads(event.message)
    assert event.event.event_id == event.event_id


def test_the_payload_of_a_failure_joins_its_metadata_with_what_is_known():
    outcome = StepFailure("no gate", "gate_error", "G1", True, None, {"gate": None, "attempt": 99, "hint": "wait"})
    (message,) = messages(run(outcome, {"name": "flight.stuck", "condition": "failure"}, will_retry=True))
    assert message["payload"] == {
        "gate": None,
        "hint": "wait",
        "error_type": "gate_error",
        "error_code": "G1",
        "error_message": "no gate",
        "retryable": True,
        "attempt": 2,
        "max_attempts": 3,
        "failed_at": FIRED_AT,
    }
    assert message["execution"] == {
        "status": "waiting_for_retry",
        "attempt": 2,
        "duration_ms": 12.4,
        "error": {"type": "gate_error", "code": "G1", "message": "no gate"},
    }


def test_a_failure_without_a_code_has_none_in_its_payload_and_null_in_execution():
    (message,) = messages(run(StepFailure("no gate", "gate_error"), {"name": "a.b", "condition": "failure"}))
    assert "error_code" not in message["payload"]
    assert message["execution"]["status"] == "error"
    assert message["execution"]["error"]["code"] is None


def test_metadata_of_the_handler_does_not_fill_a_code_that_wins_only_when_it_is_there():
    outcome = StepFailure("no gate", "gate_error", metadata={"error_code": "mine", "error_type": "mine"})
    (message,) = messages(run(outcome, {"name": "a.b", "condition": "failure"}))
    assert message["payload"]["error_code"] == "mine"
    assert message["payload"]["error_type"] == "gate_error"


def test_the_text_of_an_exception_never_costs_its_event():
    outcome = StepFailure("a\0b\ud800" + "x" * 3_000_000, "type\0", "code\ud800")
    (message,) = messages(run(outcome, {"name": "a.b", "condition": "failure"}))
    for text in (message["payload"]["error_message"], message["execution"]["error"]["message"]):
        assert text.startswith("a\\x00b\\ud800xxx")
        assert text.endswith("(3000004 characters)")
        assert len(text) < 5000
    assert message["execution"]["error"]["type"] == message["payload"]["error_type"] == "type\\x00"
    assert message["payload"]["error_code"] == "code\\ud800"


def test_names_with_characters_that_cannot_be_stored_do_not_break_the_message():
    derived = run(StepSuccess({}), {"name": "a.b"}, facts=facts(step_name="s\0", handler_name="h\ud800"))
    assert messages(derived)[0]["metadata"]["step_name"] == "s\\x00"
    assert messages(derived)[0]["metadata"]["fired_by"] == "h\\ud800"


@pytest.mark.parametrize("result", [None, [], 0, "text", {"a": [None, {"b": "é"}]}])
def test_any_json_value_is_a_payload(result):
    assert messages(run(StepSuccess(result), {"name": "a.b"}))[0]["payload"] == result


@pytest.mark.parametrize(
    ("outcome", "will_retry", "published"),
    [
        (StepSuccess(1), False, {"success", "always"}),
        (StepFailure("m", "t"), True, {"failure", "retryable_failure", "always"}),
        (StepFailure("m", "t"), False, {"failure", "permanent_failure", "always"}),
    ],
)
def test_conditions_decide_for_declared_events_and_for_those_from_code(outcome, will_retry, published):
    declared = [{"name": f"declared.{condition}", "condition": condition} for condition in EventCondition]
    from_code = [CodeEvent(f"code.{condition}", {}, DeliveryMode.FAST, condition) for condition in EventCondition]
    derived = run(outcome, *declared, will_retry=will_retry, code_events=from_code)
    names = [event.event_name for event in derived.events]
    expected = [condition for condition in EventCondition if condition in published]
    assert names == [f"declared.{each}" for each in expected] + [f"code.{each}" for each in expected]


def test_nothing_declared_and_nothing_from_code_is_nothing():
    assert run(StepSuccess(object())) == Derived()


def test_every_event_has_its_own_id_and_its_own_publisher():
    class First(BasePublisher):
        def transform_payload(self, context):
            return "first"

    class Second(BasePublisher):
        def transform_payload(self, context):
            return "second"

    declared = [
        {"name": "a.first", "publisher": "First"},
        {"name": "a.second", "publisher": "Second"},
        {"name": "a.default"},
    ]
    derived = run(StepSuccess(1), *declared, publishers={"First": First(), "Second": Second()})
    assert [each["payload"] for each in messages(derived)] == ["first", "second", 1]
    assert [event.publisher_name for event in derived.events] == ["First", "Second", "default"]
    assert len({event.event_id for event in derived.events}) == 3


def test_an_event_from_code_carries_its_own_payload_by_the_default_publisher():
    event = CodeEvent("gate.changed", {"gate": 7}, DeliveryMode.FAST, EventCondition.ALWAYS)
    derived = run(StepFailure("m", "t"), code_events=[event], will_retry=True)
    (message,) = messages(derived)
    assert message["payload"] == {"gate": 7}
    assert message["execution"]["status"] == "waiting_for_retry"
    assert derived.events[0].delivery_mode is DeliveryMode.FAST
    assert derived.events[0].publisher_name == "default"


def test_a_result_that_was_encoded_already_is_taken_as_it_is():
    derived = run(StepSuccess(object()), {"name": "a.b"}, encoded_result=encode_payload(RESULT))
    assert messages(derived)[0]["payload"] == RESULT
    derived = run(StepSuccess(RESULT), {"name": "a.b"}, encoded_result=encode_payload(RESULT), max_payload_bytes=10)
    assert only_refusal(derived)[0].code == "too_large"
    failed = run(StepFailure("m", "t"), {"name": "a.b", "condition": "failure"}, encoded_result=b"0")
    assert messages(failed)[0]["payload"]["error_type"] == "t"


def test_a_bad_event_is_refused_and_the_others_go_out_in_order():
    from_code = [CodeEvent("code.bad", {1, 2}), CodeEvent("code.good", 1), CodeEvent("Bad Name", 1)]
    declared = [{"name": "a.good"}, {"name": "a.bad", "schema": {"type": "array"}}, {"name": "a.better"}]
    derived = run(StepSuccess(RESULT), *declared, code_events=from_code)
    assert [event.event_name for event in derived.events] == ["a.good", "a.better", "code.good"]
    assert [(event.event_name, event.code) for event in derived.refused] == [
        ("a.bad", "schema_violation"),
        ("code.bad", "not_json"),
        ("Bad Name", "invalid_event_name"),
    ]


def test_a_dead_letter_has_the_message_the_payload_the_reason_and_the_time():
    refused, letter = only_refusal(run(StepSuccess(RESULT), {"name": "a.b", "schema": {"required": ["gate"]}}))
    assert (refused.code, refused.path) == ("schema_violation", "/gate")
    assert "gate" in refused.reason
    assert letter["reason"] == {"code": refused.code, "message": refused.reason, "path": refused.path}
    assert letter["payload"] == RESULT
    assert letter["payload_repr"] == repr(RESULT)
    assert letter["failed_at"] == FIRED_AT
    (message,) = messages(run(StepSuccess(RESULT), {"name": "a.b"}))
    del message["payload"]
    assert letter["event"] == {**message, "event_id": refused.event_id}
    assert set(letter) == {"event", "payload", "payload_repr", "reason", "failed_at"}
    assert (refused.namespace, refused.delivery_mode, refused.publisher_name) == ("flights", "durable", "default")
    assert refused.payload is RESULT


@pytest.mark.parametrize(
    ("payload", "code", "path"),
    [
        ({"a": float("nan")}, "nan_or_infinity", "/a"),
        ({"a": "\0"}, "nul_character", "/a"),
        ({"a": "\ud800"}, "lone_surrogate", "/a"),
        ([2**64], "integer_out_of_range", "/0"),
        ({1}, "not_json", ""),
        ("x" * 2000, "too_large", ""),
    ],
)
def test_a_payload_that_cannot_be_stored_is_in_the_dead_letter_as_a_repr_only(payload, code, path):
    derived = run(StepSuccess(payload), {"name": "a.b"}, max_payload_bytes=1000)
    refused, letter = only_refusal(derived)
    assert (refused.code, refused.path) == (code, path)
    assert "payload" not in letter
    assert 0 < len(letter["payload_repr"].encode()) <= 4096
    assert b"\\u0000" not in refused.dead_letter
    (from_code,) = run(StepSuccess(1), code_events=[CodeEvent("a.b", payload)], max_payload_bytes=1000).refused
    assert (from_code.code, from_code.path) == (code, path)


@pytest.mark.parametrize(
    "name", ["", "single", "Upper.case", "a..b", "a.b\n", "a.b\0", "\ud800.b", "a." + "b" * 300, None, 5]
)
def test_an_invalid_name_from_code_is_refused_with_a_name_that_can_be_stored(name):
    refused, letter = only_refusal(run(StepSuccess(1), code_events=[CodeEvent(name, {"a": 1})]))
    assert refused.code == "invalid_event_name"
    assert letter["event"]["event_name"] == refused.event_name
    assert len(refused.event_name) <= 255
    assert "\0" not in refused.event_name
    assert letter["payload"] == {"a": 1}


def test_a_schema_sees_the_payload_as_json_and_formats_are_annotations():
    @dataclass
    class Delay:
        legs: tuple[str, ...]
        mail: str

    schema = {
        "type": "object",
        "properties": {"legs": {"type": "array"}, "mail": {"type": "string", "format": "email"}},
    }
    derived = run(StepSuccess(Delay(("EWR", "IAH"), "no mail")), {"name": "a.b", "schema": schema})
    assert messages(derived)[0]["payload"]["legs"] == ["EWR", "IAH"]


def test_a_violation_names_its_path_and_stays_short_and_storable():
    schema = {"properties": {"legs": {"items": {"properties": {"a/b": {"type": "number"}}}}}}
    payload = {"legs": [{}, {"a/b": "x" * 100_000}]}
    refused, _ = only_refusal(run(StepSuccess(payload), {"name": "a.b", "schema": schema}))
    assert refused.path == "/legs/1/a~1b"
    assert len(refused.reason) < 600


@pytest.mark.timeout(20)
def test_only_some_of_many_violations_are_looked_at():
    validator = SchemaValidator({"items": {"type": "number"}})
    endless = itertools.repeat(ValidationError("one of too many"))
    validator._validator = SimpleNamespace(iter_errors=lambda payload: endless)
    with pytest.raises(SchemaViolationError, match="one of too many"):
        validator.check(["bad"])


def test_a_schema_that_breaks_on_a_payload_is_a_violation():
    payload: list[Any] = []
    for _ in range(250):
        payload = [payload]
    schema = {"$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}
    refused, _ = only_refusal(run(StepSuccess(payload), {"name": "a.b", "schema": schema}))
    assert (refused.code, refused.path) == ("schema_violation", "")
    assert "cannot be applied" in refused.reason


def test_a_schema_is_read_in_the_dialect_that_it_names():
    draft7 = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}
    assert only_refusal(run(StepSuccess([1]), {"name": "a.b", "schema": draft7}))[0].path == "/0"
    newest = {"prefixItems": [{"type": "string"}]}
    assert only_refusal(run(StepSuccess([1]), {"name": "a.b", "schema": newest}))[0].path == "/0"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "https://example.com/remote.json"},
        {"properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"$schema": "urn:unknown"},
        {"pattern": "("},
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_when_it_is_bound(schema):
    with pytest.raises(EventSchemaError, match="schema"):
        SchemaValidator(schema)


def test_the_last_attempt_that_was_lost_publishes_its_durable_and_broadcast_events():
    declared = [
        {"name": f"{condition}.{mode}", "condition": condition, "delivery_mode": mode}
        for condition in EventCondition
        for mode in DeliveryMode
    ]
    declarations = bind_declarations([EventDeclaration(**each) for each in declared], {})
    derived = lost_step_message(facts(attempt=3), failed_at=MOMENT, declarations=declarations)
    expected = {
        f"{condition}.{mode}"
        for condition in ("failure", "permanent_failure", "always")
        for mode in ("durable", "broadcast")
    }
    assert {event.event_name for event in derived.events} == expected
    for message in messages(derived):
        assert message["payload"]["error_type"] == "worker_lost"
        assert message["payload"]["attempt"] == 3
        assert message["execution"]["status"] == "error"
        assert message["execution"]["error"]["type"] == "worker_lost"


def outside(**changes: Any) -> OutgoingEvent | RefusedEvent:
    values: dict[str, Any] = {
        "event_name": "gate.changed",
        "namespace": "flights",
        "payload": {"gate": 7},
        "delivery_mode": DeliveryMode.BROADCAST,
        "correlation_id": "0192f3a0-0000-7000-8000-000000000003",
        "parent_correlation_id": "0192f3a0-0000-7000-8000-000000000004",
        "fired_at": FIRED_AT,
    }
    return build_event(**{**values, **changes})


def test_an_event_outside_a_step_has_nulls_where_a_step_would_be():
    event = outside(fired_by="POST /v1/events", event_id="0192f3a0-0000-7000-8000-00000000000a")
    assert isinstance(event, OutgoingEvent)
    assert event.event_id == "0192f3a0-0000-7000-8000-00000000000a"
    assert outside().event_id != outside().event_id
    message = orjson.loads(event.message)
    assert message["payload"] == {"gate": 7}
    assert message["execution"] is None
    assert message["metadata"] == {
        "task_uuid": None,
        "step_uuid": None,
        "step_name": None,
        "namespace": "flights",
        "correlation_id": "0192f3a0-0000-7000-8000-000000000003",
        "parent_correlation_id": "0192f3a0-0000-7000-8000-000000000004",
        "fired_at": FIRED_AT,
        "fired_by": "POST /v1/events",
        "custom": {},
    }
    assert event.event.execution is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"event_name": "Bad"}, "invalid_event_name"),
        ({"namespace": "Bad-Name\0"}, "invalid_namespace"),
        ({"payload": float("inf")}, "nan_or_infinity"),
        ({"payload": "x" * 100, "max_payload_bytes": 50}, "too_large"),
    ],
)
def test_an_event_outside_a_step_is_refused_by_the_same_rules(change, code):
    refused = outside(**change)
    assert isinstance(refused, RefusedEvent)
    assert refused.code == code
    assert orjson.loads(refused.dead_letter)["reason"]["code"] == code


def test_a_moment_without_a_time_zone_is_a_programming_error():
    with pytest.raises(ValueError, match="time zone"):
        run(StepSuccess(1), {"name": "a.b"}, moment=MOMENT.replace(tzinfo=None))
