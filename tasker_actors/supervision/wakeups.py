"""Wake-ups between supervisors: one LISTEN connection each, and notifications sent after commits, coalesced."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.notifications import WORK, Listener, notify
from tasker_actors.postgres.outages import Backoff
from tasker_actors.postgres.schedules import SCHEDULES_CHANNEL
from tasker_actors.postgres.session import PASSING_ERRORS, Pool
from tasker_actors.telemetry.logging import get_logger

CANCEL = "tasker_cancel"

logger = get_logger("tasker_actors.wakeups")

_CHANNELS = (WORK, CANCEL, SCHEDULES_CHANNEL)
_LISTENING = "listening for work"

_LEASES_PER_NOTIFICATION = 150
"""Each takes 46 bytes at most: a worker and a token of 19 digits, in quotes, brackets and commas."""


def parts(leases: Mapping[int, Sequence[int]]) -> Iterator[dict[str, list[int]]]:
    """Yield leases by worker in parts that fit into one notification each, which PostgreSQL limits to 8,000 bytes."""
    part: dict[str, list[int]] = defaultdict(list)
    for count, (worker, token) in enumerate((worker, token) for worker, tokens in leases.items() for token in tokens):
        if count and count % _LEASES_PER_NOTIFICATION == 0:
            yield part
            part = defaultdict(list)
        part[str(worker)].append(token)
    yield part


class Wakeups:
    """Hears of work and of cancelled tasks from other supervisors, and tells them of ours (DESIGN 3 rule 11).

    It also hears of every change of a schedule, which the database itself announces.

    What is lost here costs time only: behind every wake-up stands the workers' slow poll, behind a cancellation the
    commit that finds the lease gone.

    The listening connection is the one that is always open, so its end is the first sign of a server that has died:
    then `revive` is called, in the listening thread, before it tries to connect again.
    """

    def __init__(
        self,
        listener: Listener,
        pool: Pool,
        *,
        supervisor_id: str,
        on_work: Callable[[], None],
        on_cancel: Callable[[Mapping[int, Sequence[int]]], None],
        on_schedules: Callable[[], None],
        interval_ms: int,
        backoff: Backoff,
        availability: Availability,
        revive: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._pool = pool
        self._supervisor_id = supervisor_id
        self._on_work = on_work
        self._on_cancel = on_cancel
        self._on_schedules = on_schedules
        self._interval = interval_ms / 1000
        self._backoff = backoff
        self._availability = availability
        self._revive = revive
        self._stopping = threading.Event()
        self._pending = threading.Event()
        self.others_exist = False

    def start(self) -> None:
        """Start listening and sending, each in its thread."""
        threading.Thread(target=self._listen, name="wakeup-listener", daemon=True).start()
        threading.Thread(target=self._send, name="wakeup-sender", daemon=True).start()

    def work_released(self) -> None:
        """Tell other supervisors, soon and together with what else happens until then, that there is work."""
        if self.others_exist:
            self._pending.set()

    def leases_cancelled(self, leases: Mapping[int, Sequence[int]]) -> None:
        """Tell other supervisors which leases (by worker) were cancelled; blocks for one round trip, or a few."""
        for part in parts(leases):
            payload = {"from": self._supervisor_id, "leases": part}
            self._try(partial(notify, self._pool, CANCEL, orjson.dumps(payload).decode()))

    def stop(self) -> None:
        """Stop both threads."""
        self._stopping.set()
        self._pending.set()
        self._listener.close()

    def _send(self) -> None:
        while not self._stopping.is_set():
            self._pending.wait()
            self._pending.clear()
            if not self._stopping.is_set():
                self._try(partial(notify, self._pool, WORK, self._supervisor_id))
                self._stopping.wait(self._interval)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                for channel, payload in self._listener.notifications(_CHANNELS, self._listening):
                    self._heard(channel, payload)
            except DatabaseUnavailableError as error:
                if self._stopping.is_set():
                    return
                self._availability.failed(_LISTENING, str(error))
                self._revive()
                self._stopping.wait(self._backoff.pause_s())
                self._backoff.failed()

    def _listening(self) -> None:
        """Look for what was announced while nobody listened."""
        self._backoff.worked()
        self._availability.worked(_LISTENING)
        self._on_work()
        self._on_schedules()

    def _heard(self, channel: str, payload: str) -> None:
        if channel == WORK:
            if payload != self._supervisor_id:
                self._on_work()
            return
        if channel == SCHEDULES_CHANNEL:
            self._on_schedules()
            return
        try:
            message: dict[str, Any] = orjson.loads(payload)
            if message["from"] != self._supervisor_id:
                self._on_cancel({int(worker): tokens for worker, tokens in message["leases"].items()})
        except (orjson.JSONDecodeError, KeyError, ValueError, TypeError, AttributeError):
            logger.warning("A notification that is not ours was ignored", channel=channel)

    def _try(self, send: Callable[[], None]) -> None:
        try:
            send()
        except PASSING_ERRORS as error:
            level = logger.warning if self._availability.reason is None else logger.debug  # an outage is told once
            level("A wake-up could not be sent; the others poll", error=str(error))
