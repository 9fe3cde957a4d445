"""Looks at the running system all along: every figure of every scrape, and the memory of every process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
from chaos.guardian import Guardian, Life
from chaos.memory import Memory, typical
from support.monotone import counters, falls
from support.waiting import until

_INTERVAL_S = 0.5
_REQUEST_S = 10.0
_LAST_LOOK_S = 30.0
_MIB = 2**20


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

    def stop(self) -> Iterator[str]:
        """Look no more; complains if the looking had ended before."""
        if not self._thread.is_alive():
            yield "scrape: the thread that looks at the system had ended before the run"
        self._ending.set()
        self._thread.join()

    def look(self, life: Life) -> bool:
        """Scrape once; whether it has answered. One that does not answer now is left alone."""
        try:
            text = httpx.get(f"{life.supervisor.url}/metrics", timeout=_REQUEST_S).raise_for_status().text
            events = httpx.get(f"{life.supervisor.url}/metrics/events", timeout=_REQUEST_S).raise_for_status().json()
        except httpx.HTTPError:
            return False
        self.seen.setdefault(life.number, Seen()).take(text, events)
        return True

    def last_look(self, life: Life, *, wait_s: float = _LAST_LOOK_S) -> Iterator[str]:
        """Scrape the last supervisor when all is quiet, again until it answers; complains if it never does."""
        try:
            until(lambda: self._guardian.ready is life and self.look(life), wait_s)
        except AssertionError:
            yield f"scrape: supervisor {life.number}, the last one, gave no figures within {wait_s:g} s of quiet"

    def living(self) -> list[tuple[int, Memory]]:
        """The memory of the processes that are there now, by pid."""
        return [(process.pid, each) for process, each in list(self.memory.items()) if process.is_running()]

    def weight(self, role: str) -> dict[str, float]:
        """What the processes of a role weighed: a fresh one, the heaviest at the end, and the heaviest ever."""
        return {
            "fresh": typical(self.memory.values(), role) or 0.0,
            "at the end": max((each.last for _, each in self.living() if each.role == role), default=0.0),
            "at most": max((each.peak for each in self.memory.values() if each.role == role), default=0.0),
        }

    def _run(self) -> None:
        while not self._ending.wait(_INTERVAL_S):
            for life in self._guardian.lives[-1:]:
                self.weigh(life)
                if self._guardian.ready is life:
                    self.look(life)

    def weigh(self, life: Life) -> None:
        """Note the memory of a supervisor and its workers, and every process that is below it."""
        try:
            supervisor = psutil.Process(life.pid)
            below = supervisor.children(recursive=True)
        except psutil.NoSuchProcess:
            return
        life.processes.update(below)
        self._take(supervisor, "supervisor", is_loaded=self._guardian.ready is life)
        for process in below:
            try:
                is_worker = "tasker_actors.supervision.worker" in process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if is_worker:
                self._take(process, "worker", is_loaded=self._guardian.has_begun(process.pid))

    def _take(self, process: psutil.Process, role: str, *, is_loaded: bool) -> None:
        try:
            megabytes = process.memory_info().rss / _MIB
        except psutil.NoSuchProcess:
            return
        self.memory.setdefault(process, Memory(role)).take(megabytes, is_loaded=is_loaded)


def complaints(seen: Iterable[tuple[int, Seen]]) -> Iterator[str]:
    """Name what went down within one supervisor's life."""
    for number, each in seen:
        for complaint in each.complaints:
            yield f"counters: supervisor {number}: {complaint}"
