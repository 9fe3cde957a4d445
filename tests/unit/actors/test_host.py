"""What happens to an actor, its mailbox and its askers when it fails."""

from __future__ import annotations

import contextvars
import sys
import threading
import time

import pykka
import pytest
from pykka._envelope import Envelope as PykkaEnvelope

from tasker_actors.actors import (
    Actor,
    ActorError,
    ActorStartError,
    ActorSystem,
    ActorUnavailableError,
    Envelope,
    RestartPolicy,
)
from tasker_actors.errors import TaskerError
from tasker_actors.telemetry.trace_context import current_correlation_id, current_trace, new_trace

QUICK = RestartPolicy(backoff_base_ms=0, backoff_max_ms=0)


class Recorder(Actor):
    """Keeps what it handled in a list that outlives its instances; text that begins with ! is an order."""

    def __init__(self, log: list[object]) -> None:
        self.log = log

    def on_start(self) -> None:
        self.log.append("start")

    def on_stop(self) -> None:
        self.log.append("stop")

    def on_failure(self, error: BaseException) -> None:
        self.log.append(f"failed: {error}")

    def receive(self, message: object) -> object:
        match message:
            case "!raise":
                raise ValueError("broken")
            case "!exit":
                sys.exit(3)
            case threading.Event():
                assert message.wait(5)
            case _:
                self.log.append(message)
        return message


def ask_in_thread(address, message):
    """Start a thread that asks; returns it and the list that gets the error of its ask."""
    errors = []

    def ask():
        try:
            address.ask(message, 5)
        except TaskerError as error:
            errors.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    return asker, errors


def test_start_returns_after_on_start_ran_in_the_actors_thread(system):
    threads = []

    class Starter(Recorder):
        def on_start(self):
            threads.append(threading.current_thread().name)

    system.start("starter", lambda: Starter([]))
    assert threads == ["starter"]


@pytest.mark.parametrize("error", [ValueError("no table"), SystemExit(2), KeyboardInterrupt()])
def test_start_raises_what_on_start_raised_and_leaves_no_actor(system, heard, error):
    class Failing(Recorder):
        def on_start(self):
            raise error

    with pytest.raises(ActorStartError, match=type(error).__name__) as caught:
        system.start("failing", lambda: Failing([]))
    assert caught.value.__cause__ is error
    assert system.actors() == ()
    assert heard.escalations == []
    with pytest.raises(ActorUnavailableError):
        system.address("failing").ask("hello", 5)


def test_start_raises_what_the_factory_raised(system):
    with pytest.raises(ActorStartError, match="ZeroDivisionError"):
        system.start("failing", lambda: 1 / 0)


def test_start_gives_up_on_an_on_start_that_does_not_return(system, until):
    release = threading.Event()

    class Slow(Recorder):
        def on_start(self):
            assert release.wait(5)

    with pytest.raises(ActorStartError, match=r"within 0\.05 s"):
        system.start("slow", lambda: Slow([]), timeout=0.05)
    release.set()
    until(lambda: "slow" not in {thread.name for thread in threading.enumerate()})


def test_restart_keeps_the_mailbox_in_order(system, heard):
    log: list[object] = []
    recorder = system.start("recorder", lambda: Recorder(log), QUICK)
    gate = threading.Event()
    recorder.tell(gate)
    for message in (1, 2, "!raise", 3, "!exit", 4, 5):
        recorder.tell(message)
    gate.set()
    assert recorder.ask(6, 5) == 6
    assert log == ["start", 1, 2, "failed: broken", "start", 3, "failed: 3", "start", 4, 5, 6]
    assert heard.restarts == [("recorder", "ValueError"), ("recorder", "SystemExit")]


def test_a_restarted_actor_is_another_instance_behind_the_same_address(system):
    class Counting(Recorder):
        handled = 0

        def receive(self, message):
            self.handled += 1
            super().receive(message)
            return self.handled

    counting = system.start("counting", lambda: Counting([]), QUICK)
    assert [counting.ask("a", 5), counting.ask("b", 5)] == [1, 2]
    counting.tell("!raise")
    assert counting.ask("c", 5) == 1


def test_an_exception_under_ask_goes_to_the_asker_and_the_instance_lives(system, heard):
    log: list[object] = []
    recorder = system.start("recorder", lambda: Recorder(log), QUICK)
    with pytest.raises(ActorError, match="worker-1/recorder failed: ValueError: broken") as caught:
        recorder.ask("!raise", 5)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.error_type == "ValueError"
    assert recorder.ask(1, 5) == 1
    assert log == ["start", 1]
    assert heard.restarts == []


def test_exit_under_ask_goes_to_the_asker_and_restarts(system, heard):
    log: list[object] = []
    recorder = system.start("recorder", lambda: Recorder(log), QUICK)
    with pytest.raises(ActorError, match="SystemExit"):
        recorder.ask("!exit", 5)
    assert recorder.ask(1, 5) == 1
    assert log == ["start", "failed: 3", "start", 1]


def test_exit_in_one_actor_leaves_the_others_alone(system):
    other = system.start("other", lambda: Recorder([]))
    system.start("exiting", lambda: Recorder([]), QUICK).tell("!exit")
    assert system.address("exiting").ask(1, 5) == 1
    assert other.ask(2, 5) == 2


def test_exit_in_a_pykka_actor_that_is_not_ours_leaves_ours_alone(system):
    class Foreign(pykka.ThreadingActor):
        use_daemon_thread = True

        def on_receive(self, message):
            sys.exit(1)

    ours = system.start("ours", lambda: Recorder([]))
    foreign = Foreign.start()
    foreign.tell("exit")
    assert foreign.actor_stopped.wait(5)
    assert ours.ask(1, 5) == 1


def test_escalates_once_beyond_the_allowed_restarts_and_refuses_what_waits(system, heard, until):
    gate = threading.Event()
    log: list[object] = []
    policy = RestartPolicy(max_restarts=2, backoff_base_ms=0, backoff_max_ms=0)
    recorder = system.start("recorder", lambda: Recorder(log), policy)
    recorder.tell(gate)
    for message in ("!raise", "!raise", "!raise", 1, 2):
        recorder.tell(message)
    asker, errors = ask_in_thread(recorder, 3)
    until(lambda: system.actors()[0].mailbox_depth == 6)
    gate.set()
    asker.join(5)
    until(lambda: heard.escalations)
    assert [type(error) for error in errors] == [ActorUnavailableError]
    assert heard.escalations == [
        ("recorder", "restarted 2 times in 30 s and failed again: ValueError: broken"),
    ]
    until(lambda: len(heard.undeliverable) == 2)
    assert heard.undeliverable[0] == ("worker-1/recorder", "int", "the actor has stopped")
    assert not system.actors()[0].is_running
    assert log.count("start") == 3
    assert "stop" not in log


def test_a_start_that_fails_during_a_restart_counts_as_a_failure(system, heard, until):
    instances = []

    class FailsLater(Recorder):
        def on_start(self):
            instances.append(self)
            if len(instances) > 1:
                raise OSError("no connection")

    policy = RestartPolicy(max_restarts=3, backoff_base_ms=0, backoff_max_ms=0)
    system.start("actor", lambda: FailsLater([]), policy).tell("!raise")
    until(lambda: heard.escalations)
    assert heard.restarts == [("actor", "ValueError"), ("actor", "OSError"), ("actor", "OSError")]
    assert "no connection" in heard.escalations[0][1]


def test_a_callback_that_raises_does_not_end_the_actor():
    system = ActorSystem("worker-1", on_restart=lambda *args: 1 / 0)
    recorder = system.start("recorder", lambda: Recorder([]), QUICK)
    recorder.tell("!raise")
    assert recorder.ask(1, 5) == 1
    assert system.stop("recorder", time.monotonic() + 5)


def test_a_stop_ends_the_pause_before_a_restart(system):
    log: list[object] = []
    patient = RestartPolicy(backoff_base_ms=60_000, backoff_max_ms=60_000)
    system.start("recorder", lambda: Recorder(log), patient).tell("!raise")
    assert system.stop("recorder", time.monotonic() + 5)
    assert log == ["start", "failed: broken", "start", "stop"]


def test_an_actor_that_fails_while_it_stops_still_stops(system):
    class BadStop(Recorder):
        def on_stop(self):
            sys.exit(9)

    system.start("bad", lambda: BadStop([]))
    other = system.start("other", lambda: Recorder([]))
    assert system.stop("bad", time.monotonic() + 5)
    assert other.ask(1, 5) == 1


def test_an_actor_may_stop_itself_after_its_mailbox(system, until):
    log: list[object] = []

    class Leaving(Recorder):
        def receive(self, message):
            if message == "leave":
                self.stop()
            return super().receive(message)

    gate = threading.Event()
    leaving = system.start("leaving", lambda: Leaving(log))
    for message in (gate, "leave", 1):
        leaving.tell(message)
    gate.set()
    until(lambda: not system.actors()[0].is_running)
    assert log == ["start", "leave", 1, "stop"]


@pytest.mark.parametrize("way", ["its thread dies in pykka's loop", "pykka's loop ends"])
def test_an_actor_that_ends_past_us_is_escalated(system, heard, until, way):
    recorder = system.start("recorder", lambda: Recorder([]))
    host = system._hosts["recorder"]
    if way == "pykka's loop ends":
        host.actor_stopped.set()
        host.actor_inbox.put(PykkaEnvelope(Envelope("last", None, None, None, 0)))
    else:
        host.actor_inbox.put(None)  # what pykka cannot even open
    until(lambda: heard.escalations)
    assert [actor for actor, _ in heard.escalations] == ["recorder"]
    with pytest.raises(ActorUnavailableError):
        recorder.ask(1, 5)


def test_runs_in_an_empty_context(system):
    leaking = contextvars.ContextVar("leaking", default="default")
    leaking.set("the starter's")

    class Looking(Actor):
        def receive(self, message):
            return leaking.get()

    assert system.start("looking", Looking).ask("look", 5) == "default"


def test_the_envelope_is_there_only_inside_receive(system):
    seen = []

    class Looking(Actor):
        def receive(self, message):
            seen.append((self.envelope, current_trace(), current_correlation_id()))
            return self

    trace = new_trace()
    looking = system.start("looking", Looking).ask("look", 5, trace=trace, correlation_id="c-1")
    envelope, *current = seen[0]
    assert (envelope.message, envelope.trace, envelope.correlation_id, envelope.sender) == ("look", trace, "c-1", None)
    assert current == [trace, "c-1"]
    with pytest.raises(RuntimeError, match="inside `receive`"):
        _ = looking.envelope


def test_the_context_of_one_message_does_not_reach_what_comes_after_it(system):
    seen = []

    class Looking(Actor):
        def on_start(self):
            seen.append(current_correlation_id())

        def on_stop(self):
            seen.append(current_correlation_id())

        def receive(self, message):
            if message == "!raise":
                raise ValueError(message)
            return current_correlation_id()

    looking = system.start("looking", Looking, QUICK)
    looking.tell("!raise", correlation_id="c-1")
    assert looking.ask("look", 5) is None
    assert looking.ask("look", 5, correlation_id="c-2") == "c-2"
    assert system.stop("looking", time.monotonic() + 5)
    assert seen == [None, None, None]


def test_take_waiting_drains_tells_in_order_and_leaves_the_rest(system, until):
    batches: list[list[object]] = []

    class Batching(Recorder):
        def receive(self, message):
            super().receive(message)
            batches.append([message, *(envelope.message for envelope in self.take_waiting(3, int, str))])

    batching = system.start("batching", lambda: Batching([]))
    gate = threading.Event()
    batching.tell(gate)
    until(lambda: system.actors()[0].mailbox_depth == 0)
    for message in (1, 2, "a", 3, 4.5, 5):
        batching.tell(message)
    gate.set()
    until(lambda: sum(map(len, batches)) == 7)
    assert batches == [[gate, 1, 2, "a"], [3], [4.5, 5]]


def test_take_waiting_stops_in_front_of_an_ask_which_is_answered_by_receive(system, until):
    batches: list[list[object]] = []

    class Batching(Recorder):
        def receive(self, message):
            super().receive(message)
            batches.append([message, *(envelope.message for envelope in self.take_waiting(100))])
            return "answered"

    batching = system.start("batching", lambda: Batching([]))
    gate = threading.Event()
    batching.tell(gate)
    until(lambda: system.actors()[0].mailbox_depth == 0)
    batching.tell(1)
    answers = []
    asker = threading.Thread(target=lambda: answers.append(batching.ask("ask", 5)))
    asker.start()
    until(lambda: system.actors()[0].mailbox_depth == 2)
    batching.tell(2)
    gate.set()
    asker.join(5)
    assert answers == ["answered"]
    assert system.stop("batching", time.monotonic() + 5)
    assert batches == [[gate, 1], ["ask", 2]]


def test_take_waiting_does_not_swallow_a_stop(system, until):
    log: list[object] = []

    class Batching(Recorder):
        def receive(self, message):
            super().receive(message)
            self.log.extend(envelope.message for envelope in self.take_waiting(100))

    batching = system.start("batching", lambda: Batching(log))
    gate = threading.Event()
    batching.tell(gate)
    until(lambda: system.actors()[0].mailbox_depth == 0)
    batching.tell(1)
    system._hosts["batching"].stop()
    gate.set()
    assert system.stop("batching", time.monotonic() + 5)
    assert log == ["start", 1, "stop"]


def test_a_deferred_reply_is_given_later_from_any_thread(system):
    replies = []

    class Deferring(Actor):
        def receive(self, message):
            replies.append(self.defer_reply())
            threading.Thread(target=replies[0].answer, args=("later",)).start()
            return "ignored"

    assert system.start("deferring", Deferring).ask("ask", 5) == "later"


@pytest.mark.parametrize("end", ["!raise", "stop"])
def test_a_deferred_reply_is_refused_when_its_actor_fails_or_stops(system, end, until):
    class Deferring(Recorder):
        def receive(self, message):
            if message == "defer":
                self.defer_reply()
            return super().receive(message)

    log: list[object] = []
    deferring = system.start("deferring", lambda: Deferring(log), QUICK)
    asker, errors = ask_in_thread(deferring, "defer")
    until(lambda: "defer" in log)
    if end == "stop":
        system.stop("deferring", time.monotonic() + 5)
    else:
        deferring.tell(end)
    asker.join(5)
    assert [type(error) for error in errors] == [ActorUnavailableError]


def test_only_an_ask_can_be_deferred(system, until):
    errors = []

    class Deferring(Actor):
        def receive(self, message):
            with pytest.raises(RuntimeError, match="handles no ask") as caught:
                self.defer_reply()
            errors.append(caught.value)

    system.start("deferring", Deferring).tell("tell")
    until(lambda: errors)
