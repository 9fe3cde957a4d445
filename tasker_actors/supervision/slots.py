"""What the supervisor knows of each slot, and when a dead worker is started again. Pure but for the process handle."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tasker_actors.actors import ProcessLink
from tasker_actors.supervision.process import WorkerProcess


class SlotState(StrEnum):
    """Life of the current incarnation."""

    REGISTERING = "registering"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    SETTLING = "settling"
    WAITING = "waiting"
    EMPTY = "empty"


@dataclass(slots=True)
class Slot:
    """One numbered place for a worker. Written by the supervisor's main thread only."""

    number: int
    state: SlotState = SlotState.EMPTY
    incarnation: int = 0
    worker_id: int = 0
    worker: WorkerProcess | None = None
    link: ProcessLink | None = None
    restarts: int = 0
    last_reason: str | None = None
    pending_reason: str | None = None
    started_at: datetime | None = None
    start_after: float = 0.0
    last_heartbeat: float = 0.0
    in_flight: int = 0
    waits_for_database: bool = False
    kill_after: float | None = None
    is_link_closed: bool = False
    exited_at: float | None = None
    is_leaving: bool = False
    returned: tuple[str, ...] | None = None
    """What the worker said that it gave back unfinished; None until it has said that it is done."""
    exit_code: int = 0
    was_draining: bool = False
    gave_up: bool = False

    def begin(self, worker: WorkerProcess, link: ProcessLink, now: datetime) -> None:
        """Take note of the process of a new incarnation, and forget what was said of the one before."""
        self.worker = worker
        self.link = link
        self.state = SlotState.STARTING
        self.kill_after = None
        self.is_link_closed = False
        self.exited_at = None
        self.pending_reason = None
        self.returned = None
        self.started_at = now
        self.last_heartbeat = time.monotonic()
        self.in_flight = 0
        self.waits_for_database = False

    @property
    def pid(self) -> int | None:
        """The process of the current incarnation."""
        return None if self.worker is None else self.worker.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the current incarnation's process runs."""
        return self.state in (SlotState.STARTING, SlotState.RUNNING, SlotState.DRAINING)


@dataclass(slots=True)
class RestartBudget:
    """Counts crashes of all slots within a window; beyond the limit the supervisor gives up (DESIGN G11).

    A worker that is replaced on purpose is no crash.
    """

    limit: int
    window_s: float
    backoff_s: float
    backoff_max_s: float
    crashes: deque[float] = field(default_factory=deque)

    def crashed(self, now: float) -> float | None:
        """Note a crash at `now`; returns the seconds to wait before the restart, or None to give up."""
        while self.crashes and self.crashes[0] <= now - self.window_s:
            self.crashes.popleft()
        self.crashes.append(now)
        if len(self.crashes) > self.limit:
            return None
        return min(self.backoff_s * 2.0 ** (len(self.crashes) - 1), self.backoff_max_s)
