"""Whatever a process sends over its link costs that link at most: no other link, no actor, and nothing is executed."""

from __future__ import annotations

import logging
import pickle
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.waiting import until

from tasker_actors.actors import Actor, ActorSystem, Envelope, LinkLimits, MessageRegistry, ProcessLink
from tasker_actors.actors.frames import pack
from tasker_actors.actors.packet import write_answer, write_ask, write_failure, write_refusal, write_tell
from tasker_actors.telemetry.trace_context import new_trace

LIMITS = LinkLimits(max_frame_bytes=4096)


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    numbers: tuple[int, ...] = ()


class Echo(Actor):
    def receive(self, message: Any) -> Any:
        assert type(message) is Note, "an actor got what no registered message is"
        return message


REGISTRY = MessageRegistry([Note])
words = st.sampled_from(
    ["hub/echo", "hub/nobody", "peer-1/echo", "nowhere/echo", "hub", "/", "bad-0", "hub/echo/x", ""]
)
numbers = st.integers(-(2**63), 2**64 - 1)
leaves = st.none() | st.booleans() | numbers | st.floats(allow_nan=False) | words | st.text(max_size=5)
deep = st.sampled_from([b"[" * 1000 + b"]" * 1000, b'{"a":' * 900 + b"1" + b"}" * 900]).map(orjson.Fragment)
json_values = st.recursive(
    leaves | deep, lambda inner: st.lists(inner, max_size=9) | st.dictionaries(words, inner, max_size=3), max_leaves=12
)
NAME, BODY = REGISTRY.encode(Note("text", (1, 2)))


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """A packet of any kind, of which any field may be anything."""
    envelope = Envelope(None, draw(st.none() | st.builds(new_trace)), None, None, draw(st.integers(0, 2**53)))
    to = draw(words)
    good = draw(
        st.sampled_from(
            [
                write_tell(to, envelope, NAME, BODY),
                write_ask(to, envelope, NAME, BODY, draw(words), draw(st.integers(-1, 5000))),
                write_answer(to, 1, NAME, BODY),
                write_failure(to, 1, "a", "b", "c"),
                write_refusal(to, 1, "no"),
            ]
        )
    )
    fields = orjson.loads(good)
    for place in draw(st.sets(st.integers(0, len(fields) - 1), max_size=2)):
        fields[place] = draw(json_values)
    return orjson.dumps(fields)


whole_streams = st.lists(packets(), min_size=1, max_size=4).map(pack)


@st.composite
def damaged_streams(draw: st.DrawFn) -> bytes:
    """Frames of packets, cut, flipped or followed by garbage; or garbage from the start."""
    stream = bytearray(draw(whole_streams | st.just(b"")))
    for _ in range(draw(st.integers(0, 2))):
        if stream:
            stream[draw(st.integers(0, len(stream) - 1))] ^= 1 << draw(st.integers(0, 7))
    if draw(st.booleans()):
        stream = stream[: draw(st.integers(0, len(stream)))]
    return bytes(stream) + draw(
        st.binary(max_size=12) | st.sampled_from([b"\xff" * 8, b"\0" * 8, b"", b"\0\0\0\x02[]"])
    )


def framed(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


class Opened:
    """What unpickling would do, were anybody to unpickle."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('unpickled')",)


@dataclass
class Hub:
    """A process with an actor, a healthy peer, and links for peers that are not."""

    system: ActorSystem
    peer: ActorSystem

    def suffer(self, stream: bytes) -> str:
        """Take a stream over a new link, to its end, and be as before; returns why the link was closed."""
        ours, theirs = socket.socketpair()
        reasons: list[str] = []
        link = ProcessLink(ours, limits=LIMITS, on_close=reasons.append)
        self.system.add_link("bad-0", link)
        with theirs:
            theirs.settimeout(10)
            try:
                theirs.sendall(stream)
                theirs.shutdown(socket.SHUT_WR)
                while theirs.recv(65_536):
                    pass  # refusals and answers, until the hub closes
            except OSError:
                pass  # it had closed before all was sent
            until(lambda: bool(reasons), 10)
        link.close(time.monotonic() + 5)
        assert "could not be handled" not in reasons[0], "it was taken for a fault of ours"
        assert self.peer.address("hub/echo").ask(Note("alive"), 10) == Note("alive")
        assert all(actor.is_running and not actor.restarts for actor in self.system.actors())
        return reasons[0]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    system, peer = ActorSystem("hub", registry=REGISTRY), ActorSystem("peer-1", registry=REGISTRY)
    ends = [ProcessLink(sock) for sock in socket.socketpair()]
    for one in (system, peer):
        one.start("echo", Echo)
    system.add_link("peer-1", ends[0])
    peer.add_link("hub", ends[1])
    logging.getLogger("tasker_actors.actors").setLevel(logging.CRITICAL)  # thousands of undeliverable messages
    yield Hub(system, peer)
    logging.getLogger("tasker_actors.actors").setLevel(logging.NOTSET)
    for end in ends:
        end.close(time.monotonic() + 5)
    assert system.stop_all([], time.monotonic() + 5) == ()
    assert peer.stop_all([], time.monotonic() + 5) == ()


@settings(deadline=None, max_examples=examples(150))
@given(whole_streams | damaged_streams())
def test_a_garbled_stream_costs_its_link_only(hub: Hub, stream: bytes) -> None:
    hub.suffer(stream)


@pytest.mark.parametrize(
    "stream",
    [
        framed(b"\xff\xfe"),
        framed(b"[1,2"),
        framed(b"[" * 2000 + b"]" * 2000),
        framed(b"[%b]" % (b"[" * 900 + b"]" * 900)),
        framed(b"[[0," + b"9" * 4000 + b"]]"),
        framed(pickle.dumps(Opened())),
        (2**32 - 1).to_bytes(4, "big") + b"[]",
        (4097).to_bytes(4, "big") + b"[]",
    ],
    ids=["bytes", "cut", "deep", "deep packet", "long number", "pickle", "huge", "above the limit"],
)
def test_hostile_frames_cost_their_link_only(hub: Hub, stream: bytes) -> None:
    assert "broke the protocol" in hub.suffer(stream)
