"""Looks at the running system all along: every figure of every scrape, and the memory of every process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
from chaos.guardian import Guardian, Life

_INTERVAL_S = 0.5
_REQUEST_S = 10.0
_MIB = 2**20
MOST_MB_AT_REST = 150
"""G8: what a process may have after any amount of work, and after any fault."""

_COUNTERS = ("_total", "_count", "_sum", "_bucket")


def counters(text: str) -> dict[str, float]:
    """Read the counters of a scrape: series as it is written to value."""
    found = {}
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        if series.partition("{")[0].endswith(_COUNTERS) and not line.startswith("#"):
            found[series] = float(value)
    return found


def falls(before: Mapping[str, float], after: Mapping[str, float]) -> Iterator[str]:
    """Name the counters that went down or vanished from one scrape to the next of the same supervisor."""
    for series, value in before.items():
        if series not in after:
            yield f"{series} was {value:g} and is gone"
        elif after[series] < value:
            yield f"{series} fell from {value:g} to {after[series]:g}"


@dataclass(slots=True)
class Seen:
    """What was seen of one supervisor: its newest counters and `GET /metrics/events`, how often, and what fell."""

    counters: dict[str, float] = field(default_factory=dict)
    events: dict[str, Any] = field(default_factory=dict)
    scrapes: int = 0
    complaints: list[str] = field(default_factory=list)

    def take(self, text: str, events: dict[str, Any]) -> None:
        """Compare a scrape with the one before and keep it."""
        latest = counters(text)
        self.complaints.extend(falls(self.counters, latest))
        self.counters, self.events = latest, events
        self.scrapes += 1


@dataclass(slots=True)
class Memory:
    """Resident memory of one process in MiB."""

    role: str
    first: float
    last: float = 0.0
    peak: float = 0.0

    def take(self, megabytes: float) -> None:
        """Note the latest figure."""
        self.last = megabytes
        self.peak = max(self.peak, megabytes)


class Watcher:
    """Scrapes whatever supervisor is ready, and weighs it and its workers; in a thread of its own."""

    def __init__(self, guardian: Guardian) -> None:
        self._guardian = guardian
        self._ending = threading.Event()
        self.seen: dict[int, Seen] = {}
        self.memory: dict[psutil.Process, Memory] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ending.set()
        self._thread.join()

    def look(self, life: Life) -> None:
        """Scrape once; a supervisor that does not answer now is left alone."""
        try:
            text = httpx.get(f"{life.supervisor.url}/metrics", timeout=_REQUEST_S).raise_for_status().text
            events = httpx.get(f"{life.supervisor.url}/metrics/events", timeout=_REQUEST_S).raise_for_status().json()
        except httpx.HTTPError:
            return
        self.seen.setdefault(life.number, Seen()).take(text, events)

    def living(self) -> list[tuple[int, Memory]]:
        """The memory of the processes that are there now, by pid."""
        return [(process.pid, each) for process, each in list(self.memory.items()) if process.is_running()]

    def peak(self, role: str) -> float:
        """The most memory that any process of a role had."""
        return max((each.peak for each in self.memory.values() if each.role == role), default=0.0)

    def _run(self) -> None:
        while not self._ending.wait(_INTERVAL_S):
            for life in self._guardian.lives[-1:]:
                self._weigh(life)
                if self._guardian.ready is life:
                    self.look(life)

    def _weigh(self, life: Life) -> None:
        try:
            supervisor = psutil.Process(life.pid)
            children = supervisor.children()
        except psutil.NoSuchProcess:
            return
        for process, role in ((supervisor, "supervisor"), *((child, "worker") for child in children)):
            try:
                if role == "worker" and "tasker_actors.supervision.worker" not in process.cmdline():
                    continue
                megabytes = process.memory_info().rss / _MIB
            except psutil.NoSuchProcess:
                continue
            if role == "worker":
                life.workers.add(process)
            self.memory.setdefault(process, Memory(role, megabytes)).take(megabytes)


def memory_complaints(memory: Iterable[tuple[int, Memory]]) -> Iterator[str]:
    """Name the processes that have more memory, when all is quiet, than one of their kind needs."""
    for pid, each in memory:
        if each.last > MOST_MB_AT_REST:
            yield (
                f"memory: the {each.role} {pid} has {each.last:.0f} MB with nothing to do, "
                f"and {MOST_MB_AT_REST} MB are enough; it had {each.peak:.0f} MB at most"
            )


def complaints(seen: Iterable[tuple[int, Seen]]) -> Iterator[str]:
    """Name what went down within one supervisor's life."""
    for number, each in seen:
        for complaint in each.complaints:
            yield f"counters: supervisor {number}: {complaint}"
