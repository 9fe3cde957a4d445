"""The event that subscribers see: its layout, and that nobody can change it."""

from __future__ import annotations

import copy
import json
import threading
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from tasker_actors.events.event import FIELDS, DomainEvent
from tasker_actors.events.frozen import FrozenDict, freeze, thaw
from tasker_actors.events.timestamp import timestamp

MESSAGE = {
    "event_id": "0192f3a0-0000-7000-8000-000000000009",
    "event_name": "flight.delayed",
    "event_version": "1.0",
    "payload": {"flight": "UA1545", "legs": [{"origin": "EWR"}, {"origin": "IAH"}]},
    "execution": {"status": "complete", "attempt": 1, "duration_ms": 12.4, "error": None},
    "metadata": {"namespace": "flights", "custom": {"a": [1]}},
}


@pytest.fixture
def event():
    return DomainEvent.from_message(MESSAGE)


def test_an_event_is_read_by_attribute_and_as_a_mapping(event):
    for key in FIELDS:
        assert getattr(event, key) == event[key]
    assert event.payload["flight"] == "UA1545"
    assert event["metadata"]["namespace"] == "flights"
    assert event.get("nothing") is None
    assert list(event) == list(FIELDS)
    assert len(event) == 6
    assert event.to_dict() == MESSAGE
    with pytest.raises(KeyError):
        event["nothing"]


def test_an_event_refuses_every_change(event):
    with pytest.raises(AttributeError, match="read-only"):
        event.payload = {}
    with pytest.raises(AttributeError, match="read-only"):
        event.event_name = "other.name"
    with pytest.raises(AttributeError, match="read-only"):
        del event.event_id
    with pytest.raises(TypeError):
        event["payload"] = {}
    assert isinstance(event.payload["legs"], tuple)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.__setitem__("a", 1),
        lambda found: found.__delitem__("flight"),
        lambda found: found.clear(),
        lambda found: found.pop("flight"),
        lambda found: found.popitem(),
        lambda found: found.setdefault("a", 1),
        lambda found: found.update(a=1),
        lambda found: found.__ior__({"a": 1}),
    ],
)
def test_a_payload_refuses_every_change_at_every_depth(event, change):
    for found in (event.payload, event.payload["legs"][0], event.metadata["custom"], event.execution):
        with pytest.raises(TypeError, match="read-only"):
            change(found)
    assert event.to_dict() == MESSAGE


def test_a_payload_works_where_a_dict_does(event):
    assert json.loads(json.dumps(event.payload)) == MESSAGE["payload"]
    assert orjson.loads(orjson.dumps(event.payload)) == MESSAGE["payload"]
    assert isinstance(event.payload, dict)
    assert {**event.payload, "a": 1}["a"] == 1
    assert event.payload | {"a": 1} == {**event.payload, "a": 1}


def test_copies_can_be_changed_and_change_nothing(event):
    for found in (event.to_dict()["payload"], copy.deepcopy(event.payload), thaw(event.payload)):
        found["legs"][0]["origin"] = "JFK"
        found["legs"].append({})
    shallow = copy.copy(event.payload)
    shallow["flight"] = "other"
    assert type(event.payload.copy()) is dict
    assert event.to_dict() == MESSAGE


def test_a_later_change_of_the_message_does_not_reach_the_event():
    message = copy.deepcopy(MESSAGE)
    event = DomainEvent.from_message(message)
    message["payload"]["flight"] = "changed"
    assert event.payload["flight"] == "UA1545"


def test_events_are_equal_by_id_and_content_and_hash_by_id(event):
    same = DomainEvent.from_message(dict(reversed(MESSAGE.items())))
    other_content = DomainEvent.from_message({**MESSAGE, "payload": None})
    other_id = DomainEvent.from_message({**MESSAGE, "event_id": "another"})
    assert event == same
    assert event == DomainEvent(event.event_id, event.event_name, orjson.dumps(MESSAGE, option=orjson.OPT_INDENT_2))
    assert event != other_content
    assert event != other_id
    assert event != MESSAGE
    assert hash(event) == hash(same) == hash(other_content)
    assert len({event, same}) == 1


def test_a_copy_of_an_event_is_the_event(event):
    assert copy.copy(event) is event
    assert copy.deepcopy(event) is event
    assert copy.deepcopy({"events": [event]})["events"][0] is event


def test_what_is_no_message_is_refused_with_what_it_lacks():
    with pytest.raises(ValueError, match="execution, metadata"):
        DomainEvent.from_message({key: MESSAGE[key] for key in FIELDS[:4]})


def test_keys_that_are_not_of_the_message_are_left_out():
    assert "msg_id" not in DomainEvent.from_message({**MESSAGE, "msg_id": 1}).to_dict()


def test_a_message_is_parsed_only_when_somebody_looks():
    event = DomainEvent("an id", "a.name", b"this is no JSON")
    assert (event.event_id, event.event_name) == ("an id", "a.name")
    assert "payload" not in repr(event)
    with pytest.raises(orjson.JSONDecodeError):
        _ = event.payload


def test_a_look_at_the_payload_alone_parses_nothing_else():
    payload = orjson.dumps(MESSAGE["payload"])
    begin = b'{"event_id":"an id","event_name":"a.name","event_version":"1.0","payload":'
    event = DomainEvent("an id", "a.name", begin + payload + b', "this is no JSON', len(payload))
    assert event.payload == DomainEvent.from_message(MESSAGE).payload
    with pytest.raises(orjson.JSONDecodeError):
        _ = event.metadata


def sent():
    """An event as it is sent, whose payload can be parsed alone."""
    payload = orjson.dumps(MESSAGE["payload"])
    return DomainEvent(MESSAGE["event_id"], MESSAGE["event_name"], orjson.dumps(MESSAGE), len(payload))


def test_what_was_looked_at_first_stays_the_same_object():
    event = sent()
    first = event.payload
    assert event.metadata["namespace"] == "flights"
    assert event.payload is first
    assert event == DomainEvent.from_message(MESSAGE)
    assert dict(event) == dict(DomainEvent.from_message(MESSAGE))


@pytest.mark.parametrize("first", ["payload", "metadata"])
def test_a_key_that_is_not_there_is_not_looked_for_twice(first, monkeypatch):
    event = sent()
    assert event[first] == freeze(MESSAGE[first])
    assert event.get("nothing") is None
    monkeypatch.setattr(orjson, "loads", None)
    assert "nothing" not in event
    assert event.payload["flight"] == "UA1545"


def test_threads_that_look_at_once_see_the_same():
    whole = freeze(MESSAGE)
    for _ in range(50):
        event = sent()
        start = threading.Barrier(4)
        seen = []

        def look(first, event=event, start=start, seen=seen):
            start.wait()
            seen.append(event[first] == whole[first] and {**event} == whole)

        threads = [threading.Thread(target=look, args=[key]) for key in ("payload", "metadata") * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [True] * 4


def test_freezing_reaches_every_leaf_and_thawing_undoes_it():
    value = {"a": [{"b": [1, {"c": None}]}], "d": "text"}
    frozen = freeze(value)
    assert isinstance(frozen["a"][0]["b"][1], FrozenDict)
    assert thaw(frozen) == value


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2025, 12, 1, 10, 30, tzinfo=UTC), "2025-12-01T10:30:00.000000Z"),
        (datetime(2025, 12, 1, 10, 30, 0, 120, tzinfo=UTC), "2025-12-01T10:30:00.000120Z"),
        (datetime(2025, 12, 1, 10, 30, tzinfo=timezone(timedelta(hours=2))), "2025-12-01T08:30:00.000000Z"),
    ],
)
def test_a_time_has_exactly_six_digits_and_z(moment, text):
    assert timestamp(moment) == text


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        timestamp(datetime(2025, 12, 1))
