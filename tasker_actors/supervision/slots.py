"""What the supervisor knows of each slot and of each of its incarnations. Values but for the handles of a process."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tasker_actors.actors import ProcessLink
from tasker_actors.stats.reader import BlockReader
from tasker_actors.supervision.process import WorkerProcess
from tasker_actors.supervision.progress import ProgressWatch


class IncarnationState(StrEnum):
    """Life of one worker, from its row to the settlement of what it held."""

    REGISTERING = "registering"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    SETTLING = "settling"


_WITH_PROCESS = (IncarnationState.STARTING, IncarnationState.RUNNING, IncarnationState.DRAINING)


@dataclass(slots=True, eq=False)
class Incarnation:
    """One worker process in a slot: all that is known of it. Written by the supervisor's main thread only."""

    slot: int
    number: int
    state: IncarnationState = IncarnationState.REGISTERING
    worker_id: int = 0
    worker: WorkerProcess | None = None
    link: ProcessLink | None = None
    reader: BlockReader | None = None
    started_at: datetime | None = None
    signs_of_life: ProgressWatch = field(default_factory=ProgressWatch)
    handlers_seen_at: float = 0.0
    """When a handler was last seen running, in monotonic seconds."""
    heartbeats: int = 0
    stalled: str | None = None
    stalled_ms: int = 0
    in_flight: int = 0
    waits_for_database: bool = False
    finished: int = 0
    """Attempts that it has finished."""
    ready_at: float = 0.0
    """When it began to claim work, in monotonic seconds; 0 before."""
    replaces: Incarnation | None = None
    """Until it is ready: the one that it is to take the place of, and that goes on working."""
    replaces_for: str | None = None
    kill_after: float | None = None
    is_link_closed: bool = False
    exited_at: float | None = None
    exit_code: int = 0
    leaving_for: str | None = None
    """Why it is to end, if that was decided; else its end says why (`reason`)."""
    reason: str | None = None
    """Why it ended."""
    returned: tuple[str, ...] | None = None
    """What the worker said that it gave back unfinished; None until it has said that it is done."""

    def begin(self, worker: WorkerProcess, link: ProcessLink, reader: BlockReader, now: datetime) -> None:
        """Take note of the process."""
        self.worker = worker
        self.link = link
        self.reader = reader
        self.state = IncarnationState.STARTING
        self.started_at = now
        self.watch_anew()

    def watch_anew(self) -> None:
        """Let the limits of a worker that hangs begin now."""
        self.signs_of_life = ProgressWatch()
        self.stalled = None
        self.stalled_ms = 0

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        return None if self.worker is None else self.worker.process.pid

    @property
    def has_process(self) -> bool:
        """Whether its process runs, or is not known to have ended."""
        return self.state in _WITH_PROCESS

    @property
    def is_ready(self) -> bool:
        """Whether it has become ready at some time."""
        return self.ready_at > 0

    @property
    def is_running(self) -> bool:
        """Whether it claims work."""
        return self.state is IncarnationState.RUNNING


@dataclass(slots=True, eq=False)
class Slot:
    """One numbered place for a worker. Written by the supervisor's main thread only; others may read it.

    It holds no incarnation, or one, or a second one that replaces it; and those that are being settled.
    """

    number: int
    incarnations: tuple[Incarnation, ...] = field(default=())
    newest: int = 0
    restarts: int = 0
    last_reason: str | None = None
    start_after: float | None = None
    """When the next incarnation is due, after the last one crashed; None while there is one or none is wanted."""
    is_leaving: bool = False

    def add_incarnation(self, replaces: Incarnation | None = None, replaces_for: str | None = None) -> Incarnation:
        """Begin the next incarnation, beside one that it replaces once it is ready."""
        self.newest += 1
        self.start_after = None
        incarnation = Incarnation(self.number, self.newest, replaces=replaces, replaces_for=replaces_for)
        self.incarnations = (*self.incarnations, incarnation)
        return incarnation

    def remove(self, incarnation: Incarnation) -> None:
        """Forget an incarnation that is settled."""
        self.incarnations = tuple(one for one in self.incarnations if one is not incarnation)

    @property
    def running(self) -> Incarnation | None:
        """The newest incarnation that claims work."""
        return next((one for one in reversed(self.incarnations) if one.is_running), None)

    @property
    def is_empty(self) -> bool:
        """Whether it has no worker, and none is wanted."""
        return not self.incarnations and self.start_after is None
