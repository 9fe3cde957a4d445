"""What the codec writes PostgreSQL takes, gives back with the same values, and in no more bytes than were counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import Connection
from support.effort import examples
from support.servers import DatabaseServer

from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.events.json_size import stored_bytes

texts = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(['"1e300', "1e300", "\\", '\\"'])
leaves = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


@pytest.fixture(scope="module")
def connection(embedded_server: DatabaseServer) -> Iterator[Connection[Any]]:
    with embedded_server.database(migrated=False) as url, psycopg.connect(url, autocommit=True) as opened:
        yield opened


def spaces(value: Any) -> int:
    """Count the spaces after commas and colons, which jsonb writes and orjson does not."""
    match value:
        case dict():
            return 2 * len(value) + sum(map(spaces, value.values()))
        case list():
            return len(value) + sum(map(spaces, value))
    return 0


def as_doubles(text: bytes | str) -> Any:
    return json.loads(text, parse_int=float)


@settings(deadline=None, max_examples=examples(60))
@given(st.lists(values, min_size=1, max_size=20))
def test_what_is_stored_has_the_same_values_and_the_counted_size(connection: Connection[Any], candidates: list[Any]):
    taken: list[bytes] = []
    for value in candidates:
        try:
            taken.append(encode_payload(value))
        except PayloadError:
            continue
    written = connection.execute(
        "SELECT given::jsonb::text FROM unnest(%s::text[]) WITH ORDINALITY AS t(given, place) ORDER BY place",
        [[data.decode() for data in taken]],
    ).fetchall()
    for data, (text,) in zip(taken, written, strict=True):
        value = json.loads(data)
        assert as_doubles(text) == as_doubles(data)
        assert len(text.encode()) <= stored_bytes(data) + spaces(value)
        assert "e" in json.dumps(value) or stored_bytes(data) == len(data)
