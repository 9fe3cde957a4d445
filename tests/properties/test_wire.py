"""Messages and frames between processes: what was written is read, and garbage is only ever a ProtocolError."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.actors import Envelope, MessageRegistry
from tasker_actors.actors.frames import FrameReader, pack, pack_one
from tasker_actors.actors.packet import Delivery, read_packet, write_ask, write_tell
from tasker_actors.errors import ProtocolError
from tasker_actors.telemetry.trace_context import TraceContext


class Mode(StrEnum):
    DURABLE = "durable"
    FAST = "fast"


@dataclass(frozen=True, slots=True)
class Inner:
    number: int
    ratio: float
    mode: Mode


@dataclass(frozen=True, slots=True)
class Other:
    text: str


@dataclass(frozen=True, slots=True)
class Outer:
    text: str
    data: bytes
    flag: bool
    maybe: int | None
    many: tuple[Inner, ...]
    record: tuple[str, int, bool]
    table: dict[str, Inner]
    free: Mapping[str, Any]
    either: Inner | Other | float | None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
integers = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
inners = st.builds(Inner, number=integers, ratio=floats, mode=st.sampled_from(Mode))
outers = st.builds(
    Outer,
    text=texts,
    data=st.binary(max_size=50),
    flag=st.booleans(),
    maybe=st.none() | integers,
    many=st.lists(inners, max_size=3).map(tuple),
    record=st.tuples(texts, integers, st.booleans()),
    table=st.dictionaries(texts, inners, max_size=3),
    free=st.dictionaries(texts, json_values, max_size=3),
    either=inners | st.builds(Other, texts) | floats | st.none(),
)
REGISTRY = MessageRegistry([Outer, Inner, Other])


@given(outers)
def test_a_message_comes_back_as_it_was(message):
    name, body = orjson.loads(orjson.dumps(REGISTRY.encode(message)))
    again = REGISTRY.decode(name, body)
    assert again == message
    assert type(again.either) is type(message.either)


@given(st.sampled_from(["Outer", "Inner", "Other", "Missing"]), json_values)
def test_any_other_json_is_a_protocol_error(name, body):
    try:
        message = REGISTRY.decode(name, body)
    except ProtocolError:
        return
    assert REGISTRY.encode(message)[0] == name


@given(outers, st.data())
def test_a_damaged_message_is_a_protocol_error_or_a_message(message, data):
    name, body = orjson.loads(orjson.dumps(REGISTRY.encode(message)))
    body[data.draw(st.sampled_from(sorted(body)))] = data.draw(json_values)
    try:
        assert type(REGISTRY.decode(name, body)) is Outer
    except ProtocolError:
        return


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.lists(st.integers(1, 200), min_size=1))
def test_frames_survive_any_cut_of_the_stream(payloads, cuts):
    packets = [orjson.dumps(payload.hex()) for payload in payloads]
    stream = pack(packets)
    reader = FrameReader(1 << 20)
    frames = []
    while stream:
        for cut in cuts:
            frames += reader.feed(stream[:cut])
            stream = stream[cut:]
    assert [text for frame in frames for text in orjson.loads(frame)] == [payload.hex() for payload in payloads]
    assert not reader.is_inside_frame


@given(st.binary(max_size=200))
def test_one_packet_alone_is_framed_like_a_batch_of_one(payload):
    packet = orjson.dumps(payload.hex())
    assert pack_one(packet) == pack([packet])


@given(st.binary(max_size=400), st.integers(2, 64))
def test_a_frame_reader_takes_garbage_or_refuses_it(data, limit):
    reader = FrameReader(limit)
    try:
        assert all(len(frame) <= limit for frame in reader.feed(data))
    except ProtocolError:
        return


@given(json_values)
def test_garbage_is_no_packet(value):
    try:
        read_packet(value)
    except ProtocolError:
        return
    assert value[0] in {0, 1, 2, 3, 4}


identifiers = st.text("0123456789abcdef-", min_size=1, max_size=36)
traces = st.builds(
    TraceContext,
    trace_id=st.text("0123456789abcdef", min_size=32, max_size=32).filter(lambda text: text.strip("0")),
    span_id=st.text("0123456789abcdef", min_size=16, max_size=16).filter(lambda text: text.strip("0")),
    flags=st.integers(0, 255),
    tracestate=st.none() | st.just("vendor=value"),
)


@given(traces | st.none(), identifiers | st.none(), st.none() | st.just("worker-1/sender"), st.integers(0, 2**53))
def test_an_envelope_keeps_what_travels_beside_its_message(trace, correlation_id, sender, message_id):
    message = Other("text")
    envelope = Envelope(message, trace, correlation_id, sender, message_id)
    body = REGISTRY.encode(message)
    tell = read_packet(orjson.loads(write_tell("worker-2/actor", envelope, *body)))
    ask = read_packet(orjson.loads(write_ask("worker-2/actor", envelope, *body, "worker-1", 1000)))
    for delivery in (tell, ask):
        assert isinstance(delivery, Delivery)
        assert (delivery.to, delivery.sender, delivery.message_id) == ("worker-2/actor", sender, message_id)
        assert (delivery.trace, delivery.correlation_id) == (trace, correlation_id)
        assert REGISTRY.decode(delivery.type_name, delivery.body) == message
    assert (tell.origin, ask.origin, ask.timeout_ms) == (None, "worker-1", 1000)
