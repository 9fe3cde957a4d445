"""What the codec accepts, jsonb accepts; what it does not is a PayloadError and nothing else."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from dataclasses import make_dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.events.codec import PayloadError, encode_payload, payload_repr
from tasker_actors.events.event import DomainEvent
from tasker_actors.events.frozen import freeze, thaw
from tasker_actors.events.text import storable_text

CODES = {"not_json", "nan_or_infinity", "nul_character", "lone_surrogate", "integer_out_of_range"}

any_text = st.text(st.characters(exclude_categories=()), max_size=8)  # with NUL and lone surrogates
good_text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
good_numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
good_leaves = st.none() | st.booleans() | good_numbers | good_text
Wrapper = make_dataclass("Wrapper", ["inner"])
Level = enum.StrEnum("Level", ["HIGH", "LOW"])


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


plain_json = nested(good_leaves, good_text)

odd_leaves = st.one_of(
    good_leaves,
    any_text,
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.binary(max_size=4),
    st.just(object()),
    st.sampled_from([Level.HIGH, UUID(int=1), datetime(2025, 1, 1, tzinfo=UTC), {1, 2}, b"", Ellipsis, 1j, int]),
    st.sampled_from([b'{"a":1}', b"NaN", b"", b'"\\ud800"', b'"\\u0000"', b"[1", b"1 2"]).map(orjson.Fragment),
)
odd_values = st.recursive(
    odd_leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(any_text | st.integers() | st.just(Level.LOW), inner, max_size=4),
        st.dictionaries(good_text, inner, max_size=4).map(MappingProxyType),
        st.dictionaries(good_text, inner, max_size=4).map(OrderedDict),
        inner.map(Wrapper),
    ),
    max_leaves=12,
)


def assert_jsonb_takes(value: Any) -> None:
    """Hold parsed JSON against what PostgreSQL refuses in jsonb: NUL, lone surrogates, what is no number."""
    match value:
        case dict():
            for key, item in value.items():
                assert_jsonb_takes(key)
                assert_jsonb_takes(item)
        case list():
            for item in value:
                assert_jsonb_takes(item)
        case str():
            assert "\0" not in value
            value.encode()
        case float():
            assert math.isfinite(value)
        case _:
            assert value is None or isinstance(value, int)


def attempt(value: Any) -> tuple[PayloadError | None, bytes]:
    try:
        return None, encode_payload(value)
    except PayloadError as error:
        return error, b""


def items_of(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return list(node.items())
    return [(str(index), item) for index, item in enumerate(node)] if isinstance(node, list) else []


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@given(plain_json)
def test_plain_json_comes_back_as_it_went(value):
    assert json.loads(encode_payload(value)) == value


@given(odd_values)
def test_what_is_accepted_can_be_stored_and_anything_else_is_a_payload_error(value):
    error, data = attempt(value)
    if error is None:
        assert_jsonb_takes(json.loads(data, parse_constant=no_constant))
    else:
        assert error.code in CODES
        for text in (error.code, error.message, error.path):
            assert_jsonb_takes(text)


@given(nested(good_leaves | st.sampled_from([math.nan, math.inf, -math.inf]), good_text))
def test_nan_and_infinity_never_become_null(value):
    def has_fault(part: Any) -> bool:
        if isinstance(part, dict):
            return any(has_fault(item) for item in part.values())
        if isinstance(part, list):
            return any(has_fault(item) for item in part)
        return isinstance(part, float) and not math.isfinite(part)

    error, _ = attempt(value)
    assert (error is not None) == has_fault(value)
    assert error is None or error.code == "nan_or_infinity"


@given(nested(good_leaves, any_text))
def test_the_path_of_a_fault_in_plain_values_leads_to_it(value):
    error, _ = attempt(value)
    if error is None:
        assert_jsonb_takes(value)
        return
    reached = [("", value)]
    for part in error.path.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        reached = [(key, item) for _, node in reached for key, item in items_of(node) if storable_text(key) == name]
    assert any(storable_text(key) != key for key, _ in reached)


@given(odd_values, st.integers(20, 200))
def test_a_repr_of_anything_is_storable_and_within_its_limit(value, limit):
    text = payload_repr(value, limit)
    assert_jsonb_takes(text)
    assert len(text.encode()) <= limit


@given(plain_json)
def test_thawing_undoes_freezing(value):
    assert thaw(freeze(value)) == value


@given(plain_json)
def test_an_event_gives_its_message_back(payload):
    message = {
        "event_id": "an id",
        "event_name": "a.name",
        "event_version": "1.0",
        "payload": payload,
        "execution": None,
        "metadata": {},
    }
    event = DomainEvent.from_message(message)
    assert event.to_dict() == message
    assert event.payload == freeze(payload)
