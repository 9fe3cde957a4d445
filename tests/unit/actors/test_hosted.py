"""A user's own pykka actor under our supervision."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from types import ModuleType

import orjson
import pykka
import pytest
from support.waiting import until

from tasker_actors.actors import (
    Actor,
    ActorError,
    ActorSystem,
    ActorUnavailableError,
    MessageRegistry,
    RestartPolicy,
    actor_address,
    hosted,
)
from tasker_actors.actors.hosted import load_configured
from tasker_actors.errors import StartupError
from tasker_actors.telemetry.trace_context import current_correlation_id

QUICK = RestartPolicy(backoff_base_ms=0, backoff_max_ms=0)


class Users(pykka.ThreadingActor):
    """As a user writes it for pykka."""

    def __init__(self, log, greeting="hello"):
        super().__init__()
        self.log = log
        self.greeting = greeting

    def on_start(self):
        self.log.append("start")

    def on_stop(self):
        self.log.append("stop")

    def on_failure(self, exception_type, exception_value, traceback):
        self.log.append(exception_type.__name__)

    def on_receive(self, message):
        match message:
            case "raise":
                raise ValueError(message)
            case "exit":
                sys.exit(1)
            case "tell yourself":
                self.actor_ref.tell("told myself")
            case "stop":
                self.stop()
            case "reference":
                return self.actor_ref
            case "correlation":
                return current_correlation_id()
        self.log.append(message)
        return f"{self.greeting} {message}"

    def method(self, number):
        return number + 1


def test_is_asked_and_told_by_address(system):
    log: list[str] = []
    users = system.start("users", hosted(Users, log, greeting="good day"))
    assert users.ask("sir", 5) == "good day sir"
    assert users.ask("correlation", 5, correlation_id="c-1") == "c-1"
    assert system.stop("users", time.monotonic() + 5)
    assert log == ["start", "sir", "stop"]


def test_is_restarted_with_its_mailbox(system, heard):
    log: list[str] = []
    users = system.start("users", hosted(Users, log), QUICK)
    for message in ("a", "raise", "b", "exit", "c"):
        users.tell(message)
    assert users.ask("d", 5) == "hello d"
    assert log == ["start", "a", "ValueError", "start", "b", "SystemExit", "start", "c", "d"]
    assert [reason for _, reason in heard.restarts] == ["ValueError", "SystemExit"]
    with pytest.raises(ActorError, match="ValueError"):
        users.ask("raise", 5)


def test_its_own_reference_works_over_a_restart(system):
    log: list[str] = []
    users = system.start("users", hosted(Users, log), QUICK)
    users.tell("tell yourself")
    reference = users.ask("reference", 5)
    users.tell("raise")
    assert reference.ask("again", timeout=5) == "hello again"
    with pytest.raises(ValueError, match="raise"):
        reference.ask("raise", timeout=5)
    assert log == ["start", "tell yourself", "told myself", "ValueError", "start", "again"]


def test_a_proxy_calls_its_methods(system):
    users = system.start("users", hosted(Users, []))
    actor = system._hosts["users"]._behaviour._pykka
    assert actor.actor_ref.proxy().method(1).get(timeout=5) == 2
    assert users.ask("sir", 5) == "hello sir"


def test_may_stop_itself_and_answers_nobody_after_that(system, until):
    log: list[str] = []
    users = system.start("users", hosted(Users, log))
    reference = users.ask("reference", 5)
    users.tell("stop")
    until(lambda: not system.actors()[0].is_running)
    assert log == ["start", "stop", "stop"]
    with pytest.raises(pykka.ActorDeadError):
        reference.ask("anyone?", timeout=5)


class Held(pykka.ThreadingActor):
    """Handles messages when it may."""

    def __init__(self, log, gate):
        super().__init__()
        self.log = log
        self.gate = gate

    def on_receive(self, message):
        assert self.gate.wait(20)
        self.log.append(message)
        return message


def test_a_mailbox_takes_as_many_messages_as_it_may():
    refused: list[tuple[str, str, str]] = []
    system = ActorSystem("tests", on_undeliverable=lambda *what: refused.append(what))
    log: list[object] = []
    gate = threading.Event()
    held = system.start("held", hosted(Held, log, gate), mailbox_size=3)
    held.tell("handled")
    until(lambda: system.actors()[0].busy_seconds is not None)
    for number in range(5):
        held.tell(number)
    assert refused == [("tests/held", "int", "its mailbox is full")] * 2
    with pytest.raises(ActorUnavailableError, match="its mailbox is full"):
        held.ask("x", 20)

    gate.set()
    until(lambda: log == ["handled", 0, 1, 2])
    assert held.ask("again", 20) == "again"
    assert system.counts().undeliverable == 2
    system.stop_all((), time.monotonic() + 10)


def test_who_asks_a_full_actor_by_its_reference_is_told(system):
    log: list[object] = []
    gate = threading.Event()
    gate.set()
    references: list[pykka.ActorRef[Held]] = []

    class Shown(Held):
        def on_start(self):
            references.append(self.actor_ref)

    system.start("shown", hosted(Shown, log, gate), mailbox_size=1)
    (reference,) = references
    assert reference.ask("x", timeout=20) == "x"
    gate.clear()
    reference.tell("handled")
    until(lambda: system.actors()[0].busy_seconds is not None)
    reference.tell("waits")
    with pytest.raises(ActorUnavailableError, match="its mailbox is full"):
        reference.ask("x", timeout=20)
    gate.set()
    until(lambda: log == ["x", "handled", "waits"])


@dataclass(frozen=True)
class Ping:
    number: int


@dataclass
class Changeable:
    number: int


def configured(monkeypatch, **attributes):
    """Make a module with the class of an actor that has these attributes, and return what `[actors]` says of it."""
    module = ModuleType("users_actors")
    module.Pinged = type("Pinged", (Actor,), {"receive": lambda _self, message: message.number, **attributes})
    monkeypatch.setitem(sys.modules, "users_actors", module)
    return {"pinged": "users_actors:Pinged"}


def test_the_messages_of_a_configured_actor_travel_under_their_full_name(monkeypatch):
    registry = MessageRegistry()

    (actor,) = load_configured(configured(monkeypatch, messages=(Ping,)), registry)

    name, body = registry.encode(Ping(3))
    assert name == f"{__name__}:Ping"
    assert registry.decode(name, orjson.loads(orjson.dumps(body))) == Ping(3)
    assert actor.name == "pinged"


@pytest.mark.parametrize("messages", [(int,), (Changeable,), 3, ("Ping",)])
def test_messages_that_cannot_travel_are_refused_at_the_start(monkeypatch, messages):
    with pytest.raises(StartupError, match=r"actors\.pinged: `messages` of users_actors:Pinged must be frozen data"):
        load_configured(configured(monkeypatch, messages=messages), MessageRegistry())


def test_an_actor_finds_another_by_name_and_others_are_told_to_ask_in_one(system):
    class Asking(Actor):
        def receive(self, message):
            return actor_address(message).path

    asking = system.start("asking", Asking)
    assert asking.ask("worker-7/tally", 5) == "worker-7/tally"
    assert asking.ask("asking", 5) == asking.path
    with pytest.raises(ActorError, match="is no name"):
        asking.ask("No Name", 5)
    with pytest.raises(RuntimeError, match="for handlers and actors"):
        actor_address("worker-7/tally")
