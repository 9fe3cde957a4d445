"""Whatever a handler returns or says, its events are messages or dead letters that jsonb takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.events.declaration import DeliveryMode, EventCondition, applies
from tasker_actors.events.derive import CodeEvent, StepFacts, derive
from tasker_actors.events.frozen import thaw
from tasker_actors.events.outgoing import bind_declarations
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.workflow.outcome import StepFailure, StepSuccess
from tasker_actors.workflow.template import EventDeclaration

any_text = st.text(st.characters(exclude_categories=()), max_size=10)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats()
    | any_text
    | st.just({1})
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
outcomes = st.builds(StepSuccess, values) | st.builds(
    StepFailure,
    any_text,
    any_text,
    st.none() | any_text,
    st.booleans(),
    st.none(),
    st.dictionaries(any_text, values, max_size=3),
)
declarations = st.lists(
    st.builds(
        EventDeclaration,
        name=st.sampled_from(["a.b", "c.d.e"]),
        condition=st.sampled_from(EventCondition),
        delivery_mode=st.sampled_from(DeliveryMode),
        schema=st.none() | st.sampled_from([{"type": "object"}, {"maxProperties": 1}]),
        publisher=st.sampled_from([None, "odd"]),
    ),
    max_size=4,
)
code_events = st.lists(
    st.builds(
        CodeEvent,
        any_text | st.just("code.event"),
        values,
        st.sampled_from(DeliveryMode),
        st.sampled_from(EventCondition),
    ),
    max_size=3,
)


def odd_publisher(payload: Any, custom: Any) -> BasePublisher:
    hooks = {"transform_payload": lambda *_: payload, "additional_metadata": lambda *_: custom}
    return type("Odd", (BasePublisher,), hooks)()


@given(outcomes, st.booleans(), declarations, code_events, values, values, any_text)
def test_every_event_that_applies_is_a_message_or_a_dead_letter(
    outcome, will_retry, declared, from_code, payload, custom, name
):
    facts = StepFacts("t", "s", name, "flights", "c", None, name, 1, 3, 0.5, {})
    publishers = {"odd": odd_publisher(payload, custom)}
    derived = derive(
        facts,
        outcome,
        will_retry=will_retry,
        moment=datetime(2025, 12, 1, tzinfo=UTC),
        declarations=bind_declarations(declared, publishers),
        code_events=from_code,
        max_payload_bytes=200,
    )
    succeeded = isinstance(outcome, StepSuccess)
    conditions = [each.condition for each in declared] + [each.when for each in from_code]
    expected = sum(applies(each, succeeded=succeeded, will_retry=will_retry) for each in conditions)
    assert len(derived.events) + len(derived.refused) == expected
    for event in derived.events:
        assert_storable(event.message)
        assert event.event.to_dict() == json.loads(event.message)
        assert thaw(event.event.payload) == event.event.to_dict()["payload"]
    for refused in derived.refused:
        assert_storable(refused.dead_letter)
        letter = json.loads(refused.dead_letter)
        assert letter["event"]["event_id"] == refused.event_id
        assert letter["reason"] == {"code": refused.code, "message": refused.reason, "path": refused.path}


def assert_storable(data: bytes) -> None:
    text = json.dumps(json.loads(data, parse_constant=lambda name: 1 / 0), ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")
