"""Bodies: strict JSON that can be stored as it is, and every fault with its place."""

from __future__ import annotations

import json
import re
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from tasker_actors.web.errors import ApiError
from tasker_actors.web.json_body import parse_json, read_body
from tasker_actors.workflow.request_model import BodyModel, Text, Uuid

ONE = "0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"
MAX_DEPTH = 100


def refused(raw: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_json(raw, MAX_DEPTH)
    assert (caught.value.status, caught.value.code) == (400, "bad_json")
    json.dumps(caught.value.details, ensure_ascii=False).encode()
    return caught.value


def fault(raw: bytes) -> tuple[str, str]:
    """Path and reason of what is wrong with a body."""
    (found,) = refused(raw).details["faults"]
    return found["path"], found["message"]


@pytest.mark.parametrize(
    "raw",
    [b"", b" ", b"{", b"{'a': 1}", b'{"a": 1,}', b"nope", b'{"a": 1} x', b"\xff", b'"\x01"', b"\xef\xbb\xbf{}", b"01"],
)
def test_what_is_no_json_is_refused(raw) -> None:
    assert "no valid JSON" in refused(raw).message


@pytest.mark.parametrize(
    ("raw", "path", "reason"),
    [
        (b'{"a": {"b": ["x\\u0000"]}}', "/a/b/0", "NUL"),
        (b'{"a": 1, "x\\u0000y": 1}', "/x\\x00y", "NUL"),
        (b'{"a": ["\\ud800"]}', "/a/0", "lone surrogate"),
        (b'{"\\udfff": 1}', "/\\udfff", "lone surrogate"),
        (b'{"a": NaN}', "/a", "NaN"),
        (b'{"a": [1, -Infinity]}', "/a/1", "NaN"),
        (b'{"a": 1e400}', "/a", "NaN"),
        (b'{"a": 18446744073709551616}', "/a", "64 bits"),
        (b'{"a": -9223372036854775809}', "/a", "64 bits"),
        (b'{"a/b": {"~": "\\u0000"}}', "/a~1b/~0", "NUL"),
        (b'"\\u0000"', "", "NUL"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(raw, path, reason) -> None:
    found = fault(raw)
    assert found[0] == path
    assert reason in found[1]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": "\\\\u0000"}',
        b'{"a": 18446744073709551615, "b": -9223372036854775808}',
        b'{"a": 0.12345678901234567890}',
        b'{"a": "1234567890123456789012345"}',
        b'{"a": "\\ud83d\\ude00"}',
        b'{"": {"": ""}}',
        b"null",
        b"true",
        b'{"a": 1e308}',
    ],
)
def test_what_only_looks_suspicious_is_taken(raw) -> None:
    assert parse_json(raw, MAX_DEPTH) == json.loads(raw)


def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * (levels - 1) + b"[]" + b"}" * (levels - 1)

    assert parse_json(nested(MAX_DEPTH), MAX_DEPTH) is not None
    path, reason = fault(nested(MAX_DEPTH + 1))
    assert path == "/a" * MAX_DEPTH
    assert "100 levels" in reason


@pytest.mark.parametrize("levels", [900, 1_500, 100_000])
@pytest.mark.parametrize("inside", [b"", b'"\\u0000"', b"NaN", b"18446744073709551616"])
def test_hostile_nesting_costs_nothing_but_itself(levels, inside) -> None:
    refused(b"[" * levels + inside + b"]" * levels)


def test_a_number_with_thousands_of_digits_is_refused() -> None:
    refused(b"1" * 100_000)


def test_a_path_of_long_keys_is_shortened() -> None:
    path, _ = fault(json.dumps({"k" * 10_000: "\0"}).encode())
    assert len(path) < 600


def taken_or_refusal(raw: bytes) -> object:
    try:
        return parse_json(raw, MAX_DEPTH)
    except ApiError as error:
        return error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_value_is_either_taken_unchanged_or_refused(value) -> None:
    raw = json.dumps(value).encode()
    taken = taken_or_refusal(raw)
    if isinstance(taken, ApiError):
        assert re.search(rb"\\u0000|\\ud[89a-f]|NaN|Infinity|\d{19}", raw)
    else:
        assert json.dumps(taken) == json.dumps(value)


@given(st.binary(max_size=200))
def test_no_bytes_are_an_error_of_ours(raw) -> None:
    taken = taken_or_refusal(raw)
    assert not isinstance(taken, ApiError) or taken.status == 400


class Inner(BodyModel):
    """A part."""

    size: int = 0


class Order(BodyModel):
    """A body."""

    name: Text
    count: int = 1
    id: Uuid | None = None
    parts: Annotated[list[Inner], Field(default_factory=list)]


def faults(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(ApiError) as caught:
        read_body(raw, Order, MAX_DEPTH)
    assert (caught.value.status, caught.value.code) == (422, "invalid")
    return [(each["path"], each["message"]) for each in caught.value.details["faults"]]


def test_every_fault_is_named_with_its_place() -> None:
    found = faults(b'{"name": "", "count": "1", "id": "x", "parts": [{"size": 1}, {"size": null}]}')
    assert [path for path, _ in found] == ["/name", "/count", "/id", "/parts/1/size"]


def test_an_unknown_key_is_named_where_it_is_with_the_nearest_known() -> None:
    assert faults(b'{"name": "x", "parts": [{"sise": 1}]}') == [
        ("/parts/0/sise", "there is no key 'sise' (did you mean 'size'?)")
    ]
    ((path, message),) = faults(b'{"name": "x", "\\u001b[31m{0}": 1}')
    assert path == "/\x1b[31m{0}"
    assert message == "there is no key '\\x1b[31m{0}'"


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"', b"7"])
def test_a_body_that_is_no_object_is_refused(raw) -> None:
    assert [path for path, _ in faults(raw)] == [""]


def test_faults_are_bounded() -> None:
    many = b'{"name": "x", "parts": [' + b",".join([b'{"size": "x"}'] * 500) + b"]}"
    assert len(faults(many)) == 100


def test_a_uuid_is_read_into_lower_case() -> None:
    assert read_body(b'{"name": "x", "id": "%s"}' % ONE.upper().encode(), Order, MAX_DEPTH).id == ONE
