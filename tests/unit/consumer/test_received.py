"""What a message of the queue becomes, whoever wrote it."""

from __future__ import annotations

import json

import pytest

from tasker_actors.consumer.received import NotAnEventError, correlation_id, read_event, read_headers

EVENT = {
    "event_id": "0192f3a0-0000-7000-8000-000000000009",
    "event_name": "flight.delayed",
    "event_version": "1.0",
    "payload": {"minutes": 40},
    "execution": None,
    "metadata": {"namespace": "flights", "correlation_id": "of the event"},
}


def test_an_event_is_read_whole():
    assert read_event(json.dumps(EVENT)).to_dict() == EVENT


def test_further_keys_of_a_later_version_do_no_harm():
    assert read_event(json.dumps({**EVENT, "new_in_2": 1})).to_dict() == EVENT


def test_a_number_that_jsonb_writes_in_full_is_still_a_number():
    text = json.dumps(EVENT).replace("40", "1" + "0" * 308)
    assert read_event(text).payload["minutes"] == pytest.approx(1e308)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "it is null"),
        ("null", "it is null"),
        ("true", "it is a boolean"),
        ("7", "it is a number"),
        ('"text"', "it is text"),
        ("[1]", "it is an array"),
        ("{}", "it has no event_id, event_name, event_version, payload, execution, metadata"),
        (json.dumps({**EVENT, "event_id": 7}), "its event_id is a number"),
        (json.dumps({**EVENT, "event_name": None}), "its event_name is null"),
        (json.dumps({**EVENT, "execution": []}), "its execution is an array"),
        (json.dumps({**EVENT, "metadata": "no"}), "its metadata is text"),
        ("[" * 2000 + "]" * 2000, "depth limit"),
        (json.dumps(EVENT).replace("40", "[" * 1020 + "]" * 1020), "recursion depth"),
        (json.dumps({**EVENT, "more": 1}).replace("40", "[" * 300 + "]" * 300), "Recursion limit"),
    ],
)
def test_what_is_no_event_is_told(text, said):
    with pytest.raises(NotAnEventError) as caught:
        read_event(text)
    assert said in str(caught.value)


def test_a_payload_as_deep_as_a_publisher_may_nest_it_is_read():
    text = json.dumps(EVENT).replace("40", "[" * 253 + "]" * 253)
    assert "minutes" in read_event(text).payload


@pytest.mark.parametrize("text", [None, "null", "[1]", '"x"', "{", "7", '{"a":' * 1020 + "1" + "}" * 1020])
def test_headers_that_are_no_object_count_as_none(text):
    assert read_headers(text) == {}


def test_headers_cannot_be_changed():
    headers = read_headers('{"traceparent": "x", "deep": {"a": [1]}}')
    assert headers == {"traceparent": "x", "deep": {"a": (1,)}}
    with pytest.raises(TypeError):
        headers["traceparent"] = "y"


def test_the_correlation_id_of_the_headers_comes_first():
    event = read_event(json.dumps(EVENT))
    assert correlation_id({"correlation_id": "of the headers"}, event) == "of the headers"
    assert correlation_id({"correlation_id": 7}, event) == "of the event"
    assert correlation_id({}, None) is None
