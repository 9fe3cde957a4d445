"""What may be a payload, what may not, and what a refusal says."""

from __future__ import annotations

import enum
import json
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import BaseModel

from tasker_actors.events.codec import MAX_PAYLOAD_BYTES, PayloadError, encode_payload, json_text, payload_repr
from tasker_actors.events.json_faults import MAX_DEPTH
from tasker_actors.events.text import described, shortened, storable_text

NAN = float("nan")


class Leg(BaseModel):
    origin: str
    delay: float | None = None


@dataclass
class Gate:
    number: int
    note: Any = None
    _internal: str = "not written"


@dataclass(slots=True)
class SlottedGate:
    number: float


class Size(enum.Enum):
    LARGE = "large"
    UNKNOWN = NAN


class Celsius(float):
    pass


Point = namedtuple("Point", "x y")


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def refusal(value: Any, **options: Any) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        encode_payload(value, **options)
    return caught.value


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, "é", None, True]},
        [],
        {},
        None,
        "text",
        0,
        -(2**63),
        2**64 - 1,
        {"deep": {"er": [{}]}},
        ["\\u0000"],
    ],
)
def test_plain_json_is_written_as_it_is(value):
    assert json.loads(encode_payload(value)) == value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Leg(origin="EWR"), {"origin": "EWR", "delay": None}),
        ([Leg(origin="EWR", delay=1.5)], [{"origin": "EWR", "delay": 1.5}]),
        (Gate(7), {"number": 7, "note": None}),
        (SlottedGate(7.5), {"number": 7.5}),
        ({"size": Size.LARGE}, {"size": "large"}),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2013, 2, 8, 5, 15, tzinfo=UTC), "2013-02-08T05:15:00+00:00"),
        (Point(1, None), [1, None]),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ([Celsius(3.5), None], [3.5, None]),
        ({"cached": orjson.Fragment(b'{"x": null}')}, {"cached": {"x": None}}),
    ],
)
def test_values_with_one_obvious_json_form_are_written_in_it(value, written):
    assert json.loads(encode_payload(value)) == written


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        ({"a": [1, NAN]}, "nan_or_infinity", "/a/1"),
        (NAN, "nan_or_infinity", ""),
        ([float("-inf")], "nan_or_infinity", "/0"),
        ({"a": None, "b": Celsius(NAN)}, "nan_or_infinity", "/b"),
        (Size.UNKNOWN, "nan_or_infinity", ""),
        (Gate(1, note=NAN), "nan_or_infinity", "/note"),
        (SlottedGate(NAN), "nan_or_infinity", "/number"),
        ({"legs": [Leg(origin="EWR", delay=NAN)]}, "nan_or_infinity", "/legs/0/delay"),
        (MappingProxyType({"a": NAN}), "nan_or_infinity", "/a"),
        (Point(1, NAN), "nan_or_infinity", "/1"),
        ({"a": "x\0y"}, "nul_character", "/a"),
        ({"a": "\\u0000", "b": "\0"}, "nul_character", "/b"),
        ([orjson.Fragment(b'"\\u0000"')], "nul_character", "/0"),
        ({"a": ["ok", "\ud800"]}, "lone_surrogate", "/a/1"),
        ({"a/b~c": "\udfff"}, "lone_surrogate", "/a~1b~0c"),
        ([2**64], "integer_out_of_range", "/0"),
        (-(2**63) - 1, "integer_out_of_range", ""),
        ({"a": {1: 2}}, "not_json", "/a"),
        ({"a": {1, 2}}, "not_json", "/a"),
        ({"price": Decimal("1.10")}, "not_json", "/price"),
        ([b"bytes"], "not_json", "/0"),
        ([object()], "not_json", "/0"),
        ([Leg], "not_json", "/0"),
        ([orjson.Fragment(b"{bad")], "not_json", "/0"),
        ([orjson.Fragment(b"NaN")], "not_json", "/0"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_code_and_path(value, code, path):
    error = refusal(value)
    assert (error.code, error.path) == (code, path)
    assert error.message
    assert not path or path in str(error)


def test_a_path_and_a_message_are_storable_whatever_the_keys_are():
    error = refusal({"a\0": {"\ud800" * 2000: 1}})
    assert error.code == "nul_character"
    error = refusal({"\ud800" * 2000: 1})
    assert error.code == "lone_surrogate"
    for text in (error.path, error.message):
        orjson.dumps(text)
        assert len(text) < 600


def test_a_nul_in_a_key_is_refused():
    assert refusal({"a\0b": 1}).code == "nul_character"


def test_the_limit_counts_bytes_of_json_and_is_exact():
    assert len(encode_payload("x" * (MAX_PAYLOAD_BYTES - 2))) == MAX_PAYLOAD_BYTES
    error = refusal("x" * (MAX_PAYLOAD_BYTES - 1))
    assert (error.code, error.path) == ("too_large", "")
    assert str(MAX_PAYLOAD_BYTES) in error.message
    assert encode_payload("é", max_bytes=4) == '"é"'.encode()
    assert refusal("é", max_bytes=3).code == "too_large"


@pytest.mark.parametrize("leaf", [1, None])
def test_nesting_has_one_limit_on_the_fast_and_the_slow_way(leaf):
    value = nested(MAX_DEPTH)
    innermost = value
    while innermost:
        innermost = innermost[0]
    innermost.append(leaf)
    assert encode_payload(value)
    assert refusal([value]).code == "not_json"
    assert "nested deeper than 254" in refusal([value]).message


def test_a_value_that_contains_itself_is_refused():
    value: dict[str, Any] = {"n": None}
    value["self"] = value
    assert refusal(value).code == "not_json"


def test_whatever_a_serializer_raises_becomes_a_payload_error():
    class UnreadableError(Exception):
        def __str__(self):
            raise RuntimeError("not even its message")

    class Rude(BaseModel):
        a: int = 1

        def model_dump(self, **_options):
            raise UnreadableError

    error = refusal({"x": Rude()})
    assert error.code == "not_json"
    assert "UnreadableError" in error.message


def test_our_own_values_are_written_without_a_check():
    assert json_text({"a": MappingProxyType({"b": None})}) == b'{"a":{"b":null}}'


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"a": 1}, id="small"),
        pytest.param("\ud800\0", id="unstorable"),
        pytest.param([b"\0" * 10_000], id="bytes"),
        pytest.param(["x" * 1_000_000], id="long text"),
        pytest.param("é" * 5000, id="two bytes a character"),
        pytest.param({"n": [10**6000]}, id="long integer"),
        pytest.param(list(range(1_000_000)), id="long list"),
        pytest.param(object(), id="object"),
    ],
)
def test_a_repr_is_storable_and_short(value):
    text = payload_repr(value)
    assert 0 < len(text.encode()) <= 4096
    assert "\0" not in text
    assert len(payload_repr(value, limit=50).encode()) <= 50


def test_a_repr_shows_the_size_of_an_integer_that_python_refuses_to_write():
    assert payload_repr({"b": 1, "a": [10**6000, -1]}) == "{'b': 1, 'a': [<int of 19932 bits>, -1]}"


def test_the_repr_of_a_value_that_shares_itself_many_times_ends():
    value: list[Any] = ["leaf"]
    for _ in range(40):
        value = [value] * 40
    assert payload_repr(value).endswith("...")


def test_the_repr_of_an_object_whose_repr_raises_shows_its_type():
    def fail(self):
        raise ValueError

    assert "Odd" in payload_repr(type("Odd", (), {"__repr__": fail})())
    assert "list" in payload_repr(type("list", (), {"__repr__": fail})())  # reprlib takes it for a list by its name


def test_text_becomes_storable_by_escapes_that_can_be_seen():
    assert storable_text("plain é") == "plain é"
    assert storable_text("a\0b\ud800c") == "a\\x00b\\ud800c"
    assert shortened("abcdef", 3) == "abc… (6 characters)"
    assert shortened("abc", 3) == "abc"
    assert described(ValueError("a\0b")) == "ValueError: a\\x00b"
