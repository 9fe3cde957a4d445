"""How fast messages go between two actors in two processes, beside a bare socket pair on the same machine.

Run: `python tests/benchmarks/messaging.py [--rounds N]`. Each figure is the median of the rounds. A message is 500
bytes of text in a registered dataclass; a tell counts when the actor on the other side has handled it. The local
figures are what one tell costs its sender, here and with pykka alone, while the actor is busy.

One asker alone is bound by wake-ups, four a round trip: reader and actor there, reader and asker here. Run it under
`taskset -c 0` to see the difference that the kernel's placing of these four threads makes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pykka

from tasker_actors.actors import Actor, ActorSystem, ActorUnavailableError, MessageRegistry, ProcessLink

MESSAGE_BYTES = 500
TELLS = 60_000
ASKS = 6_000
ASKERS = 8
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """One message of the size under test."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class HowMany:
    """Asks how many loads the actor has handled since it was asked last."""


class Counter(Actor):
    """Counts loads, and answers each that is an ask with its number."""

    def __init__(self) -> None:
        self._handled = 0

    def receive(self, message: Any) -> int:
        """Count a load, or tell the count and start over."""
        match message:
            case Load():
                self._handled += 1
                return message.number
            case HowMany():
                handled, self._handled = self._handled, 0
                return handled
        raise TypeError(message)


class Sleeper(Actor):
    """Is busy until an event is set."""

    def receive(self, message: Any) -> None:
        """Wait for an event, ignore all else."""
        if isinstance(message, threading.Event):
            message.wait()


class PykkaSleeper(pykka.ThreadingActor):
    """The same with nothing but pykka."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> None:
        """Wait for an event, ignore all else."""
        if isinstance(message, threading.Event):
            message.wait()


def registry() -> MessageRegistry:
    """Return the types that both processes know."""
    return MessageRegistry([Load, HowMany])


def run(rounds: int = 5) -> dict[str, float]:
    """Measure everything `rounds` times, both sides of each ratio in the same round; returns medians."""
    with _counting_process() as remote, _bare_process() as bare:
        measures: dict[str, Callable[[], float]] = {
            "tell_per_second": lambda: _tells(remote),
            "ask_per_second_one_asker": lambda: _asks(remote, 1),
            "ask_per_second_eight_askers": lambda: _asks(remote, ASKERS),
            "local_tell_microseconds": _local_tell,
            "pykka_tell_microseconds": _pykka_tell,
            "bare_one_way_per_second": lambda: _bare_one_way(bare),
            "bare_round_trips_per_second": lambda: _bare_round_trips(bare),
        }
        samples: dict[str, list[float]] = {name: [] for name in measures}
        for _ in range(rounds):
            for name, measure in measures.items():
                samples[name].append(measure())
    result = {name: statistics.median(values) for name, values in samples.items()}
    result["tell_to_bare"] = result["tell_per_second"] / result["bare_one_way_per_second"]
    result["ask_to_bare"] = result["ask_per_second_one_asker"] / result["bare_round_trips_per_second"]
    return result


def _tells(remote: Any) -> float:
    text = "x" * MESSAGE_BYTES
    began = time.perf_counter()
    for number in range(TELLS):
        remote.tell(Load(number, text))
    handled = remote.ask(HowMany(), TIMEOUT_SECONDS)
    elapsed = time.perf_counter() - began
    if handled != TELLS:
        message = f"{handled} of {TELLS} messages arrived"
        raise RuntimeError(message)
    return TELLS / elapsed


def _asks(remote: Any, askers: int) -> float:
    text = "x" * MESSAGE_BYTES

    def ask() -> None:
        for number in range(ASKS // askers):
            remote.ask(Load(number, text), TIMEOUT_SECONDS)

    threads = [threading.Thread(target=ask) for _ in range(askers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - began
    remote.ask(HowMany(), TIMEOUT_SECONDS)
    return ASKS // askers * askers / elapsed


def _local_tell() -> float:
    system = ActorSystem("local")
    busy = threading.Event()
    address = system.start("sleeper", Sleeper)
    address.tell(busy)
    cost = _microseconds(lambda: address.tell("message"))
    busy.set()
    system.stop_all([], time.monotonic() + TIMEOUT_SECONDS)
    return cost


def _pykka_tell() -> float:
    busy = threading.Event()
    reference = PykkaSleeper.start()
    reference.tell(busy)
    cost = _microseconds(lambda: reference.tell("message"))
    busy.set()
    reference.stop(timeout=TIMEOUT_SECONDS)
    return cost


def _microseconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(TELLS):
        call()
    return (time.perf_counter() - began) / TELLS * 1e6


def _bare_one_way(sock: socket.socket) -> float:
    data = b"x" * MESSAGE_BYTES
    began = time.perf_counter()
    sock.sendall(TELLS.to_bytes(4, "big"))
    for _ in range(TELLS):
        sock.sendall(data)
    sock.recv(1)
    return TELLS / (time.perf_counter() - began)


def _bare_round_trips(sock: socket.socket) -> float:
    data = b"x" * MESSAGE_BYTES
    began = time.perf_counter()
    for _ in range(ASKS):
        sock.sendall((1).to_bytes(4, "big"))
        sock.sendall(data)
        sock.recv(1)
    return ASKS / (time.perf_counter() - began)


@contextlib.contextmanager
def _child(role: str) -> Iterator[socket.socket]:
    """Run this file as another process that serves the other end of a socket pair."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, str(Path(__file__).resolve()), "--serve", role, str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.wait(10)


@contextlib.contextmanager
def _counting_process() -> Iterator[Any]:
    system = ActorSystem("benchmark", registry=registry())
    with _child("actor") as sock:
        link = ProcessLink(sock)
        system.add_link("counting", link)
        try:
            remote = system.address("counting/counter")
            _await_actor(remote)
            yield remote
        finally:
            link.close(time.monotonic() + 5)


def _await_actor(remote: Any) -> None:
    """Ask until the other process has started its actor."""
    while True:
        try:
            remote.ask(HowMany(), TIMEOUT_SECONDS)
        except ActorUnavailableError:
            threading.Event().wait(0.01)
        else:
            return


@contextlib.contextmanager
def _bare_process() -> Iterator[socket.socket]:
    with _child("bare") as sock:
        yield sock


def _serve(role: str, fd: int) -> None:
    if role == "actor":
        closed = threading.Event()
        system = ActorSystem("counting", registry=registry())
        system.start("counter", Counter)
        system.add_link("benchmark", ProcessLink.from_fd(fd, on_close=lambda _: closed.set()), default=True)
        closed.wait()
    else:
        _serve_bare(socket.socket(fileno=fd))


def _serve_bare(sock: socket.socket) -> None:
    """Read a count and so many messages, answer one byte; again until the end."""
    while header := sock.recv(4):
        left = int.from_bytes(header, "big") * MESSAGE_BYTES
        while left:
            left -= len(sock.recv(min(left, 256 * 1024)))
        sock.sendall(b"!")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", nargs=2, metavar=("ROLE", "FD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options.serve[0], int(options.serve[1]))
    else:
        print(json.dumps(run(options.rounds), indent=2))
