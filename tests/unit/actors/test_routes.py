"""Ways between systems, here all in one process: what is relayed, and what must not go in circles."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tasker_actors.actors import (
    Actor,
    ActorError,
    ActorSystem,
    ActorUnavailableError,
    AskTimeoutError,
    LinkFullError,
    LinkLimits,
    MessageRegistry,
    ProcessLink,
)
from tasker_actors.actors.relay import RelayedAsks
from tasker_actors.errors import ProtocolError

DEFAULT_LIMITS = LinkLimits()
RELAYED_ASKS = 5  # see `Heard`


@dataclass(frozen=True, slots=True)
class Note:
    text: str


@dataclass(frozen=True, slots=True)
class Parcel:
    content: Any


class Deep(Actor):
    """Answers with as many lists in each other as it is asked for."""

    def receive(self, message):
        return nested(int(message.text))


def deepest(system):
    """Find how deep a parcel's content may be for the sender."""
    depth = 1
    while True:
        try:
            system._routes._registry.encode(Parcel(nested(depth + 1)))
        except ProtocolError:
            return depth
        depth += 1


class Echo(Actor):
    def receive(self, message):
        return message


@pytest.fixture
def connect():
    """Link two systems, each under the name that the other knows it by."""
    links = []

    def connect(first, name_of_first, second, name_of_second, *, default=False, limits=DEFAULT_LIMITS):
        ends = [ProcessLink(sock, limits=limits) for sock in socket.socketpair()]
        first.add_link(name_of_second, ends[0])
        second.add_link(name_of_first, ends[1], default=default)
        links.extend(ends)
        return ends

    yield connect
    for link in links:
        link.close(time.monotonic() + 5)


@pytest.fixture
def make(heard):
    """Make systems that know `Note`, and stop their actors in the end."""
    systems = []

    def make(name):
        systems.append(heard.system(name, MessageRegistry([Note, Parcel])))
        return systems[-1]

    yield make
    for system in systems:
        assert system.stop_all([], time.monotonic() + 5) == ()


def test_a_packet_is_passed_on_once_and_not_over_a_default_link(make, connect):
    hub, near, far = make("hub"), make("near"), make("far")
    connect(hub, "hub", near, "near", default=True)
    connect(far, "far", hub, "hub", default=True)  # the hub's way out, which is no way for what it relays
    with pytest.raises(ActorUnavailableError, match="no link leads from hub to elsewhere"):
        near.address("elsewhere/echo").ask(Note("?"), 60)


def test_processes_that_disagree_about_their_names_do_not_play_ball(make, connect):
    first, second = make("first"), make("second")
    connect(first, "nobody", second, "nobody")
    with pytest.raises(ActorUnavailableError, match="no link leads from second to nobody"):
        first.address("nobody/echo").ask(Note("?"), 60)


def test_asks_in_both_directions_over_one_link(make, connect):
    first, second = make("first"), make("second")
    connect(first, "first", second, "second")
    for system in (first, second):
        system.start("echo", Echo)
    for _ in range(50):
        assert first.address("second/echo").ask(Note("there"), 5) == Note("there")
        assert second.address("first/echo").ask(Note("back"), 5) == Note("back")


def test_a_link_that_was_replaced_does_not_take_the_new_one_with_it(make, connect, until):
    first, second = make("first"), make("second")
    second.start("echo", Echo)
    old, _ = connect(first, "first", second, "second")
    connect(first, "first", second, "second")
    old.close(time.monotonic() + 5)
    assert first.address("second/echo").ask(Note("new"), 5) == Note("new")


def test_an_answer_whose_asker_is_gone_is_counted_by_the_relay(make, connect, until):
    hub, near, far = make("hub"), make("near"), make("far")
    to_near, _ = connect(hub, "hub", near, "near", default=True)
    connect(hub, "hub", far, "far", default=True)
    replies = []

    class Deferring(Actor):
        def receive(self, message):
            replies.append(self.defer_reply())

    far.start("deferring", Deferring)
    with pytest.raises(AskTimeoutError, match="far/deferring"):
        near.address("far/deferring").ask(Note("?"), 0.01)
    until(lambda: replies)
    to_near.close(time.monotonic() + 5)
    replies[0].answer("too late")
    until(lambda: hub.counts().late == 1)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_what_the_relay_cannot_write_again_is_refused_and_costs_no_link(make, connect):
    """JSON can be read deeper than it can be written: a message may just fit, and not with one more wrapping."""
    hub, near, far = make("hub"), make("near"), make("far")
    for leaf, name in ((near, "near"), (far, "far")):
        connect(hub, "hub", leaf, name, default=True)
    far.start("echo", Echo)
    far.start("deep", Deep)
    echo = near.address("far/echo")
    depth = deepest(near)
    with pytest.raises(ActorUnavailableError, match="cannot be written as JSON"):
        echo.ask(Parcel(nested(depth)), 5)
    with pytest.raises(ActorUnavailableError, match="could not be passed on"):
        near.address("far/deep").ask(Note(str(depth + 1)), 5)
    assert echo.ask(Note("alive"), 5) == Note("alive")


def test_the_relay_forgets_expired_asks_before_it_refuses_new_ones():
    relayed = RelayedAsks(max_asks=2)
    asker, answerer = (ProcessLink(sock) for sock in socket.socketpair())
    assert relayed.add("w", 1, asker, answerer, 0)
    assert relayed.add("w", 2, asker, answerer, 60_000)
    assert relayed.add("w", 3, asker, answerer, 60_000)
    assert not relayed.add("w", 4, asker, answerer, 60_000)
    relayed.settle("w", 2)
    assert relayed.add("w", 4, asker, answerer, 60_000)
    for link in (asker, answerer):
        link.close(time.monotonic())


class Long(Actor):
    def receive(self, message):
        return Note("x" * 5000)


SMALL = LinkLimits(max_frame_bytes=2000, max_queued_packets=3, send_timeout_ms=20)


def test_what_is_too_large_for_a_link_is_refused_to_its_sender_and_counted(make, connect, heard):
    hub, far = make("hub"), make("far")
    connect(hub, "hub", far, "far", limits=SMALL)
    far.start("echo", Echo)
    far.start("long", Long)
    echo = hub.address("far/echo")

    with pytest.raises(ProtocolError, match="message of 50"):
        echo.tell(Note("x" * 5000))
    with pytest.raises(ProtocolError, match="message of 50"):
        echo.ask(Note("x" * 5000), 60)
    assert heard.drops == {"too_large": 2}

    with pytest.raises(ActorError, match="message of"):  # the answer
        hub.address("far/long").ask(Note("?"), 60)
    assert heard.drops == {"too_large": 3}
    assert echo.ask(Note("as before"), 60) == Note("as before")


@pytest.fixture
def deaf():
    """The other end of a link whose process reads nothing."""
    sock, other = socket.socketpair()
    for end in (sock, other):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, 1)
    yield sock
    other.close()


def test_what_a_full_link_does_not_take_and_what_it_loses_when_it_breaks_is_counted(make, connect, heard, deaf, until):
    hub, near = make("hub"), make("near")
    link = ProcessLink(deaf, limits=SMALL)
    hub.add_link("far", link)
    connect(hub, "hub", near, "near", default=True)
    note = Note("x" * 1000)

    def fill():
        for _ in range(1000):
            hub.address("far/anybody").tell(note)

    with pytest.raises(LinkFullError):
        fill()
    assert heard.drops == {"too_many": 1}
    near.address("far/anybody").tell(note)  # the hub relays, and may not wait
    until(lambda: heard.drops == {"too_many": 2})
    assert [message for _, message, _ in heard.undeliverable] == ["Note"]
    assert link.queued == 3

    link.close(time.monotonic())

    until(lambda: heard.drops["closed"] >= 3)
    lost = heard.drops["closed"]
    hub.address("far/anybody").tell(note)
    near.address("nobody/anybody").tell(note)
    until(lambda: heard.drops["closed"] == lost + 2)


def test_an_ask_too_many_for_the_relay_is_refused_and_counted(make, connect, heard, until):
    hub, near, far = make("hub"), make("near"), make("far")
    for leaf, name in ((near, "near"), (far, "far")):
        connect(hub, "hub", leaf, name, default=True)

    replies = []

    class Patient(Actor):
        def receive(self, message):
            replies.append(self.defer_reply())

    far.start("patient", Patient)
    patient = near.address("far/patient")
    with ThreadPoolExecutor(RELAYED_ASKS) as pool:
        asks = [pool.submit(patient.ask, Note("?"), 60) for _ in range(RELAYED_ASKS)]
        until(lambda: len(replies) == RELAYED_ASKS)

        with pytest.raises(ActorUnavailableError, match="hub relays too many asks"):
            patient.ask(Note("one more"), 60)

        for reply in replies:
            reply.answer(Note("at last"))
        assert [ask.result(60) for ask in asks] == [Note("at last")] * RELAYED_ASKS
    assert heard.drops == {"too_many": 1}


def test_a_counter_that_fails_costs_no_message(make, connect, caplog):
    def broken(messages, reason):
        raise RuntimeError("no room")

    system = ActorSystem("hub", registry=MessageRegistry([Note]), on_link_drop=broken, on_undeliverable=lambda *_: None)

    system.address("nobody/anybody").tell(Note("lost"))

    assert system.counts().undeliverable == 1
    assert "Count of dropped messages failed" in caplog.text
