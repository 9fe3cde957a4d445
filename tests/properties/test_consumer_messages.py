"""Anybody may write into a queue: a message is an event that its handler can read to the end, or is named as none."""

from __future__ import annotations

import copy
import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.consumer.received import NotAnEventError, correlation_id, read_event, read_headers
from tasker_actors.events.event import FIELDS

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
leaves = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
deep = st.sampled_from([100, 254, 255, 900, 1023, 1100]).map(lambda depth: "[" * depth + "]" * depth)
GOOD: dict[str, Any] = {
    "event_id": "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5",
    "event_name": "a.done",
    "event_version": "1.0",
    "payload": {"ok": True},
    "execution": None,
    "metadata": {"correlation_id": "an id"},
}


@st.composite
def messages(draw: st.DrawFn) -> str:
    """An event with a few keys left out, added or changed; its payload may be nested as deeply as PostgreSQL takes."""
    message = copy.deepcopy(GOOD)
    for key in draw(st.lists(st.sampled_from(FIELDS), max_size=2, unique=True)):
        if draw(st.booleans()):
            del message[key]
        else:
            message[key] = draw(values)
    message |= draw(st.dictionaries(texts, values, max_size=1))
    text = json.dumps(message)
    return text.replace('{"ok": true}', draw(deep)) if draw(st.booleans()) else text


@given(
    messages() | values.map(json.dumps) | deep | texts | st.none(), values.map(json.dumps) | deep | texts | st.none()
)
def test_any_message_is_an_event_or_named_as_none(text: str | None, header_text: str | None) -> None:
    headers = read_headers(header_text)
    try:
        event = read_event(text)
    except NotAnEventError:
        event = None
    assert isinstance(correlation_id(headers, event), str | None)
    if event is not None:
        assert isinstance(event.event_id, str)
        assert isinstance(event.event_name, str)
        assert set(event.to_dict()) == set(FIELDS)
        assert (event, hash(event)) == (copy.copy(event), hash(event))
        orjson.dumps(event.event_name)
