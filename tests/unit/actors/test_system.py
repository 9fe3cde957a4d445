"""Starting, finding, telling, asking and stopping the actors of one process."""

from __future__ import annotations

import threading
import time

import pykka
import pytest

from tasker_actors.actors import (
    Actor,
    ActorStartError,
    ActorUnavailableError,
    AskTimeoutError,
    LocalAddress,
)
from tasker_actors.telemetry.trace_context import correlated, new_trace


class Echo(Actor):
    def receive(self, message):
        if isinstance(message, threading.Event):
            assert message.wait(5)
        return message


class Forwarder(Actor):
    """Tells what it gets to another actor."""

    def __init__(self, target):
        self.target = target

    def receive(self, message):
        self.target.tell(message)


class Keeper(Actor):
    """Keeps the envelopes that it gets."""

    def __init__(self, kept):
        self.kept = kept

    def receive(self, message):
        self.kept.append(self.envelope)


def test_an_actor_is_found_by_its_short_and_its_full_name(system):
    echo = system.start("echo", Echo)
    assert echo.path == "worker-1/echo"
    assert system.address("echo") is echo
    assert system.address("worker-1/echo") is echo


def test_an_address_may_be_older_than_its_actor(system, heard):
    address = system.address("late")
    address.tell("too early")
    assert heard.undeliverable == [("worker-1/late", "str", "no actor has that name")]
    system.start("late", Echo)
    assert address.ask(1, 5) == 1


@pytest.mark.parametrize("name", ["", "Echo", "1echo", "echo actor", "a/b/c", "é", "x" * 65, "echo\n"])
def test_a_bad_name_is_refused(system, name):
    with pytest.raises(ValueError, match="is no name"):
        system.start(name, Echo)
    with pytest.raises(ValueError, match="is no name"):
        system.address(f"worker-2/{name}")


def test_two_actors_cannot_have_one_name(system):
    system.start("echo", Echo)
    with pytest.raises(ActorStartError, match="worker-1/echo runs already"):
        system.start("echo", Echo)


def test_a_stopped_actor_can_be_started_again_behind_its_address(system):
    echo = system.start("echo", Echo)
    assert system.stop("echo", time.monotonic() + 5)
    assert system.start("echo", Echo) is echo
    assert echo.ask(1, 5) == 1


def test_a_message_to_a_stopped_actor_is_reported_and_an_ask_fails_at_once(system, heard):
    echo = system.start("echo", Echo)
    assert system.stop("echo", time.monotonic() + 5)
    echo.tell(1)
    assert heard.undeliverable == [("worker-1/echo", "int", "the actor has stopped")]
    began = time.monotonic()
    with pytest.raises(ActorUnavailableError, match="worker-1/echo"):
        echo.ask(1, 60)
    assert time.monotonic() - began < 5
    assert system.counts().undeliverable == 1


def test_a_report_that_raises_does_not_reach_the_sender(heard):
    system = heard.system("worker-1")
    system._tally._report = lambda *args: 1 / 0
    system.address("nobody").tell(1)
    assert system.counts().undeliverable == 1


def test_an_ask_times_out_and_its_late_answer_is_counted(system, until):
    echo = system.start("echo", Echo)
    gate = threading.Event()
    with pytest.raises(AskTimeoutError, match=r"worker-1/echo did not answer within 0.01 s"):
        echo.ask(gate, 0.01)
    gate.set()
    until(lambda: system.counts().late == 1)
    assert echo.ask("next", 5) == "next"


@pytest.mark.parametrize("timeout", [float("inf"), 1e300])
def test_an_ask_may_wait_for_ever(system, timeout):
    assert system.start("echo", Echo).ask(1, timeout) == 1


def test_an_ask_with_no_time_left_times_out(system):
    echo = system.start("echo", Echo)
    gate = threading.Event()
    with pytest.raises(AskTimeoutError):
        echo.ask(gate, -1.0)
    gate.set()


def test_an_actor_that_asks_itself_hears_so_at_once(system):
    class Narcissus(Actor):
        def receive(self, message):
            with pytest.raises(ActorUnavailableError, match="asked itself"):
                self.address.ask("me", 60)
            return "heard"

    assert system.start("narcissus", Narcissus).ask("go", 5) == "heard"


def test_messages_of_one_sender_arrive_in_order(system, until):
    kept = []
    keeper = system.start("keeper", lambda: Keeper(kept))
    for number in range(1000):
        keeper.tell(number)
    until(lambda: len(kept) == 1000)
    assert [envelope.message for envelope in kept] == list(range(1000))
    assert len({envelope.message_id for envelope in kept}) == 1000


def test_the_next_incarnation_of_a_process_counts_its_messages_from_elsewhere(heard, until):
    """Else a late answer for the first could fit an ask of the second."""
    kept = []
    for _ in range(2):
        system = heard.system("worker-1")
        system.start("keeper", lambda: Keeper(kept)).tell("first message")
        assert system.stop("keeper", time.monotonic() + 5)
    assert abs(kept[0].message_id - kept[1].message_id) > 1000


def test_trace_and_correlation_travel_from_actor_to_actor(system, until):
    kept = []
    keeper = system.start("keeper", lambda: Keeper(kept))
    second = system.start("second", lambda: Forwarder(keeper))
    first = system.start("first", lambda: Forwarder(second))
    trace = new_trace(sampled=True)
    first.tell("on", trace, "c-1")
    until(lambda: kept)
    assert (kept[0].trace, kept[0].correlation_id, kept[0].sender) == (trace, "c-1", "worker-1/second")


def test_a_message_may_be_told_another_context(system, until):
    kept = []
    keeper = system.start("keeper", lambda: Keeper(kept))
    other = new_trace()

    class Changing(Actor):
        def receive(self, message):
            keeper.tell(message, trace=other, correlation_id="c-2")

    system.start("changing", Changing).tell("on", new_trace(), "c-1")
    until(lambda: kept)
    assert (kept[0].trace, kept[0].correlation_id) == (other, "c-2")


def test_code_that_no_actor_runs_may_set_the_context(system, until):
    kept = []
    keeper = system.start("keeper", lambda: Keeper(kept))
    trace = new_trace()
    with correlated(trace, "c-3"):
        keeper.tell(1)
    keeper.tell(2)
    until(lambda: len(kept) == 2)
    assert [(envelope.trace, envelope.correlation_id) for envelope in kept] == [(trace, "c-3"), (None, None)]


def test_stop_all_stops_in_order_and_lets_each_finish_what_waits(system):
    stopped = []

    class Stage(Actor):
        def __init__(self, name, target):
            self.name, self.target = name, target

        def receive(self, message):
            if self.target is not None:
                self.target.tell(message)

        def on_stop(self):
            stopped.append(self.name)

    kept = []
    sink = system.start("sink", lambda: Keeper(kept))
    middle = system.start("middle", lambda: Stage("middle", sink))
    source = system.start("source", lambda: Stage("source", middle))
    for number in range(500):
        source.tell(number)
    assert system.stop_all(["source", "middle", "sink"], time.monotonic() + 5) == ()
    assert stopped == ["source", "middle"]
    assert [envelope.message for envelope in kept] == list(range(500))


def test_stop_all_stops_actors_that_were_not_named_newest_first(system):
    stopped = []

    class Leaving(Echo):
        def __init__(self, name):
            self.name = name

        def on_stop(self):
            stopped.append(self.name)

    for name in ("a", "b", "c"):
        system.start(name, lambda name=name: Leaving(name))
    assert system.stop_all(["b", "never-started"], time.monotonic() + 5) == ()
    assert stopped == ["b", "c", "a"]


def test_stop_all_has_one_deadline_for_all_and_names_those_that_still_run(system):
    gate = threading.Event()
    for name in ("hanging-1", "hanging-2"):
        system.start(name, Echo).tell(gate)
    system.start("free", Echo)
    began = time.monotonic()
    left = system.stop_all(["hanging-1", "hanging-2", "free"], began + 0.2)
    assert time.monotonic() - began < 2
    assert {"hanging-1", "hanging-2"} <= set(left)
    gate.set()
    assert system.stop_all([], time.monotonic() + 5) == ()


def test_actors_tells_depth_restarts_and_how_long_each_is_busy(system, until):
    gate = threading.Event()
    echo = system.start("echo", Echo)
    system.start("idle", Echo)
    for message in (gate, 1, 2):
        echo.tell(message)
    until(lambda: system.actors()[0].mailbox_depth == 2)
    busy, idle = system.actors()
    assert (busy.name, busy.is_running, busy.restarts, busy.last_reason) == ("echo", True, 0, None)
    until(lambda: (system.actors()[0].busy_seconds or 0) > 0)
    assert (idle.name, idle.mailbox_depth, idle.busy_seconds) == ("idle", 0, None)
    gate.set()
    until(lambda: system.actors()[0].handled == 3)
    assert (system.actors()[0].busy_seconds, system.actors()[1].handled) == (None, 0)


def test_eight_threads_ask_at_once_and_each_gets_its_own_answer(system):
    echo = system.start("echo", Echo)
    wrong = []

    def ask(thread):
        for number in range(200):
            if echo.ask((thread, number), 5) != (thread, number):
                wrong.append((thread, number))

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_a_tell_that_races_with_a_stop_is_handled_or_reported(heard, until):
    handled = []

    class Counting(Actor):
        def receive(self, message):
            handled.append(message)

    system = heard.system("worker-1")
    for _ in range(20):
        handled.clear()
        heard.undeliverable.clear()
        counting = system.start("counting", Counting)

        def send(counting=counting):
            for number in range(300):
                counting.tell(number)

        sender = threading.Thread(target=send)
        sender.start()
        until(lambda: len(handled) > 20)
        assert system.stop("counting", time.monotonic() + 5)
        sender.join(5)
        assert len(handled) + len(heard.undeliverable) == 300


def test_a_message_put_into_a_stopped_actors_mailbox_is_reported(system, heard):
    echo = system.start("echo", Echo)
    assert system.stop("echo", time.monotonic() + 5)
    # As when the actor stops between pykka's look at it and pykka's put.
    system._hosts["echo"].actor_ref.is_alive = lambda: True
    echo.tell(1)
    assert heard.undeliverable == [("worker-1/echo", "int", "the actor has stopped")]
    with pytest.raises(ActorUnavailableError):
        echo.ask(1, 60)


def test_systems_of_one_process_are_strangers_and_pykkas_registry_stays_empty(system, heard):
    other = heard.system("worker-2")
    system.start("echo", Echo)
    assert other.actors() == ()
    assert isinstance(other.address("echo"), LocalAddress)
    with pytest.raises(ActorUnavailableError, match="no link leads to worker-1"):
        other.address("worker-1/echo").ask(1, 5)
    assert pykka.ActorRegistry.get_all() == []


def test_an_actor_that_is_forgotten_handles_what_waits_and_leaves_no_trace(system, until):
    handled: list[object] = []

    class Keeping(Actor):
        def receive(self, message):
            handled.append(message)

    keeping = system.start("keeping", Keeping)
    keeping.tell(1)
    system.forget("keeping")
    until(lambda: handled == [1])
    assert [status.name for status in system.actors()] == []
    with pytest.raises(ActorUnavailableError):
        system.address("keeping").ask(2, 5)
    system.forget("keeping")
