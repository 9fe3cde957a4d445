"""The thread in which the supervisor waits for the database, so that its main thread never does."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.outages import Backoff
from tasker_actors.postgres.session import PASSING_ERRORS
from tasker_actors.supervision.inbox import Inbox

_PAUSE_MS = 100
_LONGEST_PAUSE_MS = 2_000


@dataclass(frozen=True, slots=True)
class JobDone:
    """Registrar → main thread: a job is over; `result` is what it returned."""

    kind: str
    result: object


@dataclass(frozen=True, slots=True)
class JobFailed:
    """Registrar → main thread: a job cannot be done at all."""

    kind: str
    error: Exception


class Registrar:
    """Runs jobs on the database one after the other, each until it succeeds: an outage only delays them."""

    def __init__(self, inbox: Inbox, availability: Availability) -> None:
        self._inbox = inbox
        self._availability = availability
        self._jobs: queue.SimpleQueue[tuple[object, str, Callable[[], object]] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, subject: object, kind: str, job: Callable[[], object]) -> None:
        """Queue a job; its end comes to the inbox with what it is about, as JobDone or JobFailed."""
        self._jobs.put((subject, kind, job))

    def stop(self, deadline: float) -> None:
        """Let queued jobs end until `deadline` in monotonic seconds."""
        self._jobs.put(None)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._stopping.set()

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            subject, kind, job = entry
            try:
                result = self._until_done(kind, job)
            except Exception as error:  # noqa: BLE001 - reported to the main thread, which decides
                self._inbox.put((subject, JobFailed(kind, error)))
            else:
                self._inbox.put((subject, JobDone(kind, result)))

    def _until_done(self, kind: str, job: Callable[[], object]) -> object:
        backoff = Backoff(_PAUSE_MS, _LONGEST_PAUSE_MS)
        while True:
            try:
                result = job()
            except PASSING_ERRORS as error:
                if self._stopping.is_set():
                    raise
                self._availability.failed(kind, str(error))
                self._stopping.wait(backoff.pause_s())
                backoff.failed()
            else:
                self._availability.worked(kind)
                return result
