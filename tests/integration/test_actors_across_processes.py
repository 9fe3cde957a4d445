"""Actors of several real processes, linked by socket pairs; this file run as a program is each worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
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
    RestartPolicy,
)
from tasker_actors.telemetry.trace_context import new_trace

ALLOWED_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Say:
    """Is answered with its text; the actor keeps the number."""

    text: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Do:
    """Orders the actor to behave in a certain way."""

    what: str


@dataclass(frozen=True, slots=True)
class PassOn:
    """Orders the actor to tell, or ask, another one."""

    to: str
    text: str
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Asks what the actor and its process have seen."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Answers `Report`."""

    pid: int
    numbers: tuple[int, ...]
    trace: str | None
    correlation_id: str | None
    sender: str | None
    undeliverable: int
    restarts: int


def registry() -> MessageRegistry:
    return MessageRegistry([Say, Do, PassOn, Report, Seen])


class Clerk(Actor):
    """Serves every message of this file; the numbers outlive its instances."""

    def __init__(self, system: ActorSystem, numbers: list[int]) -> None:
        self._system = system
        self._numbers = numbers
        self._heard: Any = None

    def receive(self, message: Any) -> Any:
        match message:
            case Say(text, number):
                self._heard = self.envelope
                self._numbers.append(number)
                return Say(text, number)
            case PassOn(to, text, timeout):
                address = self._system.address(to)
                return address.tell(Say(text)) if timeout is None else address.ask(Say(text), timeout)
            case Report():
                return self._report()
            case Do("raise"):
                raise ValueError("broken \ud800")
            case Do("exit"):
                sys.exit(3)
            case Do("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            case Do("hang"):
                threading.Event().wait()
            case Do("answer badly"):
                return {1, 2, 3}
            case Do("answer hugely"):
                return "x" * (17 * 1024 * 1024)
        raise TypeError(message)

    def _report(self) -> Seen:
        heard = self._heard
        return Seen(
            pid=os.getpid(),
            numbers=tuple(self._numbers),
            trace=heard and heard.trace and heard.trace.traceparent,
            correlation_id=heard and heard.correlation_id,
            sender=heard and heard.sender,
            undeliverable=self._system.counts().undeliverable,
            restarts=self._system.actors()[0].restarts,
        )


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    link: ProcessLink
    clerk: Any
    reasons: list[str]


@dataclass
class Supervisor:
    """The test's own process, with workers linked to it."""

    system: ActorSystem
    undeliverable: list[tuple[str, str, str]] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)

    def start_worker(
        self, name: str, *, role: str = "clerk", limits: LinkLimits | None = None, beside: bool = False
    ) -> Worker:
        ours, theirs = socket.socketpair()
        command = [sys.executable, str(Path(__file__).resolve()), role, name, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        reasons: list[str] = []
        link = ProcessLink(ours, limits=limits or LinkLimits(), on_close=reasons.append)
        if beside:
            self.system.open_link(name, link)
        else:
            self.system.add_link(name, link)
        over = link if beside else None
        worker = Worker(process, link, self.system.address(f"{name}/clerk", over=over), reasons)
        self.workers.append(worker)
        if role == "clerk":
            wait_for(lambda: answers(worker.clerk))
        return worker

    def stop(self) -> None:
        for worker in self.workers:
            worker.link.close(time.monotonic() + 5)
        for worker in self.workers:
            try:
                worker.process.wait(5)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait(5)
        assert self.system.stop_all([], time.monotonic() + 5) == ()


def answers(clerk: Any) -> bool:
    """Whether the worker is up: until its actor is started it refuses."""
    try:
        clerk.ask(Report(), ALLOWED_SECONDS)
    except ActorUnavailableError:
        return False
    return True


def tell_until_full(clerk: Any) -> int:
    """Tell until a tell is refused; returns how many were taken."""
    sent = 0
    while True:
        try:
            clerk.tell(Say("x" * 1000, sent))
        except LinkFullError:
            return sent
        sent += 1


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + ALLOWED_SECONDS
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("the condition did not become true in time")
        pause.wait(0.002)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    undeliverable: list[tuple[str, str, str]] = []
    system = ActorSystem(
        "supervisor", registry=registry(), on_undeliverable=lambda *report: undeliverable.append(report)
    )
    supervisor = Supervisor(system, undeliverable)
    yield supervisor
    supervisor.stop()


def test_tells_of_one_sender_arrive_in_order(supervisor):
    clerk = supervisor.start_worker("worker-1").clerk
    for number in range(5000):
        clerk.tell(Say("counted", number))
    assert clerk.ask(Report(), ALLOWED_SECONDS).numbers == tuple(range(5000))


def test_eight_threads_ask_at_once_and_each_gets_its_own_answer(supervisor):
    clerk = supervisor.start_worker("worker-1").clerk
    wrong = []

    def ask(thread: int) -> None:
        for number in range(200):
            if clerk.ask(Say(f"thread {thread}", number), ALLOWED_SECONDS) != Say(f"thread {thread}", number):
                wrong.append((thread, number))

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ALLOWED_SECONDS)
    assert wrong == []
    assert len(clerk.ask(Report(), ALLOWED_SECONDS).numbers) == 1600


def test_trace_correlation_and_sender_survive_the_way(supervisor):
    clerk = supervisor.start_worker("worker-1").clerk
    trace = new_trace(sampled=True)
    clerk.tell(Say("traced"), trace, "c-1")
    seen = clerk.ask(Report(), ALLOWED_SECONDS)
    assert (seen.trace, seen.correlation_id, seen.sender) == (trace.traceparent, "c-1", None)
    assert seen.pid == supervisor.workers[0].process.pid


def test_an_actor_of_a_worker_tells_one_of_the_supervisor_with_its_context(supervisor):
    kept = []

    class Keeper(Actor):
        def receive(self, message: Any) -> None:
            kept.append(self.envelope)

    supervisor.system.start("keeper", Keeper)
    trace = new_trace()
    supervisor.start_worker("worker-1").clerk.tell(PassOn("supervisor/keeper", "back"), trace, "c-2")
    wait_for(lambda: kept)
    envelope = kept[0]
    assert (envelope.message, envelope.trace, envelope.correlation_id) == (Say("back"), trace, "c-2")
    assert envelope.sender == "worker-1/clerk"


def test_workers_reach_each_other_through_the_supervisor(supervisor):
    first = supervisor.start_worker("worker-1").clerk
    second = supervisor.start_worker("worker-2").clerk
    trace = new_trace()
    answer = first.ask(PassOn("worker-2/clerk", "relayed", 10.0), ALLOWED_SECONDS, trace, "c-3")
    assert answer == Say("relayed")
    seen = second.ask(Report(), ALLOWED_SECONDS)
    assert (seen.trace, seen.correlation_id, seen.sender) == (trace.traceparent, "c-3", "worker-1/clerk")
    for _ in range(100):
        first.tell(PassOn("worker-2/clerk", "told"))
    first.ask(Report(), ALLOWED_SECONDS)
    wait_for(lambda: len(second.ask(Report(), ALLOWED_SECONDS).numbers) == 101)
    assert supervisor.system.counts().relayed == 102


def test_an_error_comes_back_by_name_and_the_actor_lives(supervisor):
    clerk = supervisor.start_worker("worker-1").clerk
    with pytest.raises(ActorError, match="actor worker-1/clerk failed: ValueError: broken") as caught:
        clerk.ask(Do("raise"), ALLOWED_SECONDS)
    assert caught.value.error_type == "ValueError"
    assert clerk.ask(Report(), ALLOWED_SECONDS).restarts == 0


@pytest.mark.parametrize("ask", [True, False])
def test_exit_in_a_worker_restarts_its_actor_and_keeps_the_mailbox_in_order(supervisor, ask):
    clerk = supervisor.start_worker("worker-1").clerk
    clerk.tell(Say("before", 1))
    if ask:
        with pytest.raises(ActorError, match="SystemExit"):
            clerk.ask(Do("exit"), ALLOWED_SECONDS)
    else:
        clerk.tell(Do("exit"))
    for number in range(2, 100):
        clerk.tell(Say("after", number))
    seen = clerk.ask(Report(), ALLOWED_SECONDS)
    assert seen.numbers == tuple(range(1, 100))
    assert seen.restarts == 1


def test_a_killed_worker_fails_pending_asks_at_once(supervisor):
    worker = supervisor.start_worker("worker-1")
    began = time.monotonic()
    with pytest.raises(ActorUnavailableError, match="worker-1/clerk"):
        worker.clerk.ask(Do("kill"), 600)
    with pytest.raises(ActorUnavailableError, match="no link leads to worker-1"):
        worker.clerk.ask(Report(), 600)
    assert time.monotonic() - began < ALLOWED_SECONDS
    assert worker.process.wait(5) == -signal.SIGKILL
    wait_for(lambda: worker.reasons)
    assert len(worker.reasons) == 1
    assert not worker.link.is_open


def test_a_message_to_a_killed_worker_is_counted_and_reported(supervisor):
    worker = supervisor.start_worker("worker-1")
    worker.process.kill()
    wait_for(lambda: worker.reasons)
    worker.clerk.tell(Say("lost"))
    assert supervisor.undeliverable == [("worker-1/clerk", "Say", "no link leads to worker-1")]
    assert supervisor.system.counts().undeliverable == 1


def test_the_next_incarnation_is_reached_by_the_same_address(supervisor):
    first = supervisor.start_worker("worker-1")
    first.process.kill()
    wait_for(lambda: first.reasons)
    second = supervisor.start_worker("worker-1")
    assert first.clerk.ask(Report(), ALLOWED_SECONDS).pid == second.process.pid


def test_a_second_incarnation_is_reached_over_its_own_link_and_by_name_once_it_is_led_to(supervisor):
    """What takes its predecessor's place hears nothing that was meant for it before, and all of it afterwards."""
    first = supervisor.start_worker("worker-1")
    asker = supervisor.start_worker("worker-2").clerk
    second = supervisor.start_worker("worker-1", beside=True)
    by_name = supervisor.system.address("worker-1/clerk")

    assert by_name.ask(Report(), ALLOWED_SECONDS).pid == first.process.pid
    assert second.clerk.ask(Report(), ALLOWED_SECONDS).pid == second.process.pid

    supervisor.system.route("worker-1", second.link)
    assert by_name.ask(Report(), ALLOWED_SECONDS).pid == second.process.pid
    first_alone = supervisor.system.address("worker-1/clerk", over=first.link)
    assert first_alone.ask(Report(), ALLOWED_SECONDS).pid == first.process.pid
    # Whoever asks gets its answer, also where its name stands for another by now.
    answer = first_alone.ask(PassOn("worker-2/clerk", "relayed", 10.0), ALLOWED_SECONDS)
    assert answer == Say("relayed")
    assert asker.ask(Report(), ALLOWED_SECONDS).sender == "worker-1/clerk"

    first.process.kill()
    wait_for(lambda: first.reasons)
    assert by_name.ask(Report(), ALLOWED_SECONDS).pid == second.process.pid
    with pytest.raises(ActorUnavailableError, match="worker-1/clerk"):
        first_alone.ask(Report(), ALLOWED_SECONDS)
    supervisor.system.route("worker-1", first.link)
    assert by_name.ask(Report(), ALLOWED_SECONDS).pid == second.process.pid


def test_a_relayed_ask_fails_at_once_when_its_answerer_is_killed(supervisor):
    first = supervisor.start_worker("worker-1").clerk
    second = supervisor.start_worker("worker-2")
    second.clerk.tell(Do("hang"))
    failed = []

    def ask() -> None:
        with pytest.raises(ActorError, match="ActorUnavailableError: actor worker-2/clerk") as caught:
            first.ask(PassOn("worker-2/clerk", "never answered", 600.0), 600)
        failed.append(caught.value)

    asker = threading.Thread(target=ask)
    asker.start()
    wait_for(lambda: supervisor.system.counts().relayed == 1)
    second.process.kill()
    asker.join(ALLOWED_SECONDS)
    assert len(failed) == 1


@pytest.mark.parametrize("to", ["worker-9/clerk", "supervisor/nobody", "worker-1/nobody"])
def test_asking_an_unknown_actor_from_a_worker_fails_at_once(supervisor, to):
    clerk = supervisor.start_worker("worker-1").clerk
    began = time.monotonic()
    with pytest.raises(ActorError, match=f"ActorUnavailableError: actor {to}"):
        clerk.ask(PassOn(to, "anyone?", 600.0), 600)
    assert time.monotonic() - began < ALLOWED_SECONDS


def test_a_tell_to_an_unknown_actor_is_counted_where_it_ends(supervisor):
    clerk = supervisor.start_worker("worker-1").clerk
    with pytest.raises(ActorUnavailableError, match="no actor has that name"):
        supervisor.system.address("worker-1/nobody").ask(Say("anyone?"), 600)
    before = clerk.ask(Report(), ALLOWED_SECONDS).undeliverable
    supervisor.system.address("worker-1/nobody").tell(Say("lost"))
    assert clerk.ask(Report(), ALLOWED_SECONDS).undeliverable == before + 1
    clerk.tell(PassOn("worker-9/clerk", "lost"))
    wait_for(lambda: supervisor.undeliverable)
    assert supervisor.undeliverable == [("worker-9/clerk", "Say", "no link leads from supervisor to worker-9")]


def test_an_ask_times_out_and_its_late_answer_is_dropped_and_counted(supervisor):
    worker = supervisor.start_worker("worker-1")
    worker.process.send_signal(signal.SIGSTOP)
    with pytest.raises(AskTimeoutError, match="worker-1/clerk"):
        worker.clerk.ask(Say("late", 1), 0.05)
    worker.process.send_signal(signal.SIGCONT)
    assert worker.clerk.ask(Say("in time", 2), ALLOWED_SECONDS) == Say("in time", 2)
    assert supervisor.system.counts().late == 1


def test_a_stopped_worker_blocks_tells_up_to_the_limit_and_loses_none_it_took(supervisor):
    limits = LinkLimits(max_queued_packets=50, send_timeout_ms=100)
    worker = supervisor.start_worker("worker-1", limits=limits)
    worker.process.send_signal(signal.SIGSTOP)
    sent = tell_until_full(worker.clerk)
    worker.process.send_signal(signal.SIGCONT)
    assert worker.clerk.ask(Report(), ALLOWED_SECONDS).numbers == tuple(range(sent))


@pytest.mark.parametrize("what", ["answer badly", "answer hugely"])
def test_an_answer_that_cannot_travel_is_an_error_for_the_asker(supervisor, what):
    clerk = supervisor.start_worker("worker-1").clerk
    with pytest.raises(ActorError, match="ProtocolError"):
        clerk.ask(Do(what), ALLOWED_SECONDS)
    assert clerk.ask(Say("alive"), ALLOWED_SECONDS) == Say("alive")


@pytest.mark.parametrize("role", ["garbage", "oversized", "unknown-type"])
def test_a_worker_that_breaks_the_protocol_costs_only_its_own_link(supervisor, role):
    supervisor.system.start("clerk", lambda: Clerk(supervisor.system, []))  # whom the unknown type is sent to
    healthy = supervisor.start_worker("worker-1").clerk
    broken = supervisor.start_worker("worker-2", role=role)
    wait_for(lambda: broken.reasons)
    assert broken.reasons[0].startswith("the other process broke the protocol: ")
    with pytest.raises(ActorUnavailableError):
        broken.clerk.ask(Say("anyone?"), 600)
    assert healthy.ask(Say("alive"), ALLOWED_SECONDS) == Say("alive")


def test_a_worker_sees_the_end_of_its_supervisor(supervisor):
    worker = supervisor.start_worker("worker-1")
    worker.link.close(time.monotonic() + 5)
    assert worker.process.wait(10) == 0


def run_clerk(name: str, fd: int) -> None:
    """Serve until the supervisor is gone."""
    closed = threading.Event()
    system = ActorSystem(name, registry=registry(), on_undeliverable=lambda *report: None)
    numbers: list[int] = []
    system.start("clerk", lambda: Clerk(system, numbers), RestartPolicy(backoff_base_ms=1))
    system.add_link("supervisor", ProcessLink.from_fd(fd, on_close=lambda reason: closed.set()), default=True)
    closed.wait()


def run_broken(role: str, fd: int) -> None:
    """Send something that is no message, and stay alive."""
    sock = socket.socket(fileno=fd)
    unknown = b'[[0,"supervisor/clerk",null,1,null,null,null,"os.system",{"command":"true"}]]'
    sock.sendall(
        {
            "garbage": b"\x00\x00\x00\x10" + os.urandom(16),
            "oversized": (1 << 30).to_bytes(4, "big") + b"[",
            "unknown-type": len(unknown).to_bytes(4, "big") + unknown,
        }[role]
    )
    assert sock.recv(1) == b""


if __name__ == "__main__":
    if sys.argv[1] == "clerk":
        run_clerk(sys.argv[2], int(sys.argv[3]))
    else:
        run_broken(sys.argv[1], int(sys.argv[3]))
