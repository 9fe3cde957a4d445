"""What is asked of every peer, and of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from peers.place import Place

PROGRAMS = Path(__file__).parent / "programs"
PROCESSES = 2
"""Worker processes of each peer."""
POLL_SECONDS = 0.01
PATIENCE_SECONDS = 120.0
FIRST_JOBS = 10
"""That do not count where starts are measured: a process's first job takes longer than those that follow."""


class Peer(Protocol):
    """One way of running jobs: work is created in bulk or one by one, and run by two worker processes."""

    name: str
    includes: str
    """What one unit of work comes to, beside the call of the handler."""
    jobs: int
    """How many jobs make a round of a few seconds."""
    units: int
    """Of work in a job: the steps of a workflow."""
    creates: bool
    """Whether jobs are created before workers run them; one that has no such way creates them where they run."""

    def prepare(self, place: Place) -> None:
        """Make what is made once: tables, templates."""

    def create(self, sent: Sequence[float]) -> None:
        """Create this many jobs, each with the moment it was sent at, or 0: the fastest way there is for one client.

        Its connection is made in the first call, and stays.
        """

    def workers(self, journals: Path) -> AbstractContextManager[None]:
        """Run worker processes, which are ready or soon will be, until the end of the block."""

    def is_done(self) -> bool:
        """Tell whether nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What one round came to, in units a second."""

    created_per_s: float
    run_per_s: float


def drain(peer: Peer) -> Drained:
    """Create a round's jobs with no worker there, then measure from the first handler entered to the last job done."""
    began = time.monotonic()
    peer.create([0.0] * peer.jobs)
    created = time.monotonic() - began
    with _journals() as journals, peer.workers(journals):
        wait(peer.is_done)
        done = time.monotonic()
        first = min(moments(journals))
    units = peer.jobs * peer.units
    return Drained(units / created, units / (done - first))


def start_latencies(peer: Peer, count: int, pause_s: float) -> list[float]:
    """Milliseconds from before a job's creation until its handler is entered, one at a time on an idle system."""
    pause = threading.Event()
    with _journals() as journals, peer.workers(journals):
        for _ in range(FIRST_JOBS):  # the first one waits for the workers' boot
            peer.create([0.0])
            wait(lambda: peer.is_done() and bool(moments(journals)))
            pause.wait(pause_s)
        for number in range(count):
            pause.wait(pause_s)
            peer.create([time.monotonic()])
            wait(lambda number=number: len(latencies(journals)) > number)  # type: ignore[misc]  # a default argument
        return [seconds * 1000 for seconds in latencies(journals)]


def wait(condition: Callable[[], bool]) -> None:
    """Poll until it is so; a peer that does not come to an end is an error, not a figure."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a peer did not finish its work")
        pause.wait(POLL_SECONDS)


def moments(journals: Path) -> list[float]:
    """When each worker process entered its first handler."""
    return [float(file.read_text()) for file in journals.glob("*.first")]


def latencies(journals: Path) -> list[float]:
    """Seconds from creation to handler, of each job that said when it was created."""
    return [float(line) for file in journals.glob("*.latency") for line in file.read_text().splitlines()]


@contextmanager
def _journals() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tasker-peers-") as directory:
        yield Path(directory)


@contextmanager
def processes(command: Sequence[str], journals: Path, count: int = PROCESSES, **variables: str) -> Iterator[None]:
    """Run the same program so many times; TERM ends it, and what it printed is shown where it ended by itself."""
    environ = os.environ | {"PYTHONPATH": str(PROGRAMS), "BENCH_JOURNALS": str(journals), **variables}
    output = journals / "output"
    with output.open("w") as file:
        started = [subprocess.Popen(command, env=environ, stdout=file, stderr=file) for _ in range(count)]
    try:
        yield
        if any(each.poll() is not None for each in started):
            raise RuntimeError("a worker has ended:\n" + output.read_text())
    finally:
        for each in started:
            each.terminate()
        for each in started:
            try:
                each.wait(20)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()


def python(program: str, *arguments: str) -> list[str]:
    """Return the command for one of `programs`."""
    return [sys.executable, str(PROGRAMS / program), *arguments]


def script(name: str, *arguments: str) -> list[str]:
    """Return the command for a program that a peer's package brings."""
    return [str(Path(sys.executable).parent / name), *arguments]
