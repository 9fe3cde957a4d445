"""What happens to one worker: registered, started, watched, drained, killed, settled. Who comes next is the crew's."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Collection
from functools import partial

from tasker_actors.actors import LocalAddress
from tasker_actors.messages import Count, Drain, Heartbeat, WorkerAttached, WorkerDied, WorkerSettled
from tasker_actors.settings import Settings
from tasker_actors.supervision.boot import EXIT_ESCALATED
from tasker_actors.supervision.last_export import drained_ms
from tasker_actors.supervision.launcher import Launcher
from tasker_actors.supervision.liveness import hung_because
from tasker_actors.supervision.registrar import Registrar
from tasker_actors.supervision.settlement import Settled, Settlement
from tasker_actors.supervision.slots import Incarnation, IncarnationState, Slot
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.supervisor")

END_S = 5.0
"""After its drain deadline: time for a worker to give steps back and end before it is killed."""

_LAST_WORDS_S = 1.0
"""Between the end of a link and the end of its process, whichever comes first, when all is well."""

REGISTER = "registering a worker"
_NOTE = "noting a worker's process"
SETTLE = "settling a worker"


class Lifecycle:
    """Used by the supervisor's main thread only. What needs the database happens in the registrar's thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        launcher: Launcher,
        registrar: Registrar,
        settlement: Settlement,
        stats: LocalAddress,
    ) -> None:
        self._settings = settings
        self._launcher = launcher
        self._registrar = registrar
        self._settlement = settlement
        self._stats = stats
        self.returned: list[str] = []
        """The steps that went back to their queues unfinished."""

    def register(self, slot: Slot, incarnation: Incarnation) -> None:
        """Make the row of an incarnation; the job's end is REGISTER."""
        self._registrar.submit(incarnation, REGISTER, self._launcher.registration(slot, incarnation))

    def start(self, incarnation: Incarnation) -> None:
        """Start the process of a registered incarnation."""
        note = self._launcher.launch(incarnation)
        assert incarnation.reader is not None  # noqa: S101 - launching gave it one
        self._stats.tell(
            WorkerAttached(incarnation.slot, incarnation.number, incarnation.worker_id, incarnation.reader)
        )
        self._registrar.submit(incarnation, _NOTE, note)

    def ready(self, incarnation: Incarnation) -> None:
        """A worker claims work from now on, and takes the messages for its slot."""
        incarnation.state = IncarnationState.RUNNING
        incarnation.ready_at = time.monotonic()
        incarnation.watch_anew()
        self._launcher.take_over(incarnation)
        logger.info("Worker ready", slot=incarnation.slot, worker_id=incarnation.worker_id, worker_pid=incarnation.pid)

    def heartbeat(self, incarnation: Incarnation, beat: Heartbeat) -> None:
        """A worker says what it holds and has done, and how its flow goes on."""
        incarnation.in_flight = beat.in_flight
        incarnation.finished = beat.finished
        incarnation.heartbeats += 1
        incarnation.stalled, incarnation.stalled_ms = beat.stalled, beat.stalled_ms
        incarnation.waits_for_database = beat.waits_for_database

    def drain(self, incarnation: Incarnation) -> None:
        """Let a worker finish what it runs and end, within the drain deadline."""
        timeout_ms = self._settings.supervisor.drain_timeout_ms
        self.leaves(incarnation)
        self._launcher.tell(incarnation, Drain(timeout_ms))

    def drain_by(self, incarnation: Incarnation, handlers_until: float, kill_after: float) -> None:
        """Let a worker end by these moments, also one that is draining and had more time."""
        incarnation.state = IncarnationState.DRAINING
        incarnation.kill_after = min(kill_after, incarnation.kill_after or kill_after)
        timeout_ms = max(0, int((handlers_until - time.monotonic()) * 1000))
        self._launcher.tell(incarnation, Drain(timeout_ms))

    def leaves(self, incarnation: Incarnation) -> None:
        """A worker drains: it is killed if it takes longer than it may."""
        incarnation.state = IncarnationState.DRAINING
        drain_s = (self._settings.supervisor.drain_timeout_ms + drained_ms(self._settings)) / 1000
        incarnation.kill_after = time.monotonic() + drain_s + END_S

    def link_closed(self, incarnation: Incarnation) -> None:
        """The process of an incarnation closed its link; without it, it can do nothing but end."""
        if incarnation.has_process:
            incarnation.is_link_closed = True
            # One that has said that it is done has nothing to lose, and many that end at once take turns at the CPU.
            kill_after = time.monotonic() + (_LAST_WORDS_S if incarnation.returned is None else END_S)
            incarnation.kill_after = min(kill_after, incarnation.kill_after or kill_after)

    def watch(self, incarnation: Incarnation, now: float) -> None:
        """Reap a worker that has ended, kill one that should have."""
        if incarnation.worker is None:
            return
        if incarnation.worker.process.poll() is None:
            self._check_progress(incarnation, incarnation.worker.process, now)
            return
        # What it may have said last comes over its link, which is read to the end first.
        incarnation.exited_at = incarnation.exited_at or now
        if incarnation.is_link_closed or now >= incarnation.exited_at + _LAST_WORDS_S:
            self._ended(incarnation)

    def settle(self, incarnation: Incarnation, begun: Collection[int], reason: str) -> None:
        """Give back what a dead worker held; the job's end is SETTLE."""
        incarnation.state = IncarnationState.SETTLING
        self._registrar.submit(
            incarnation,
            SETTLE,
            partial(self._settlement.settle, incarnation.worker_id, running=begun, reason=reason),
        )

    def settled(self, incarnation: Incarnation, result: Settled) -> None:
        """Keep what a dead worker has counted."""
        if incarnation.reader is not None:
            self._stats.tell(WorkerSettled(incarnation.slot, incarnation.number, result.committed))
        for metric, labels in result.failures:
            self._stats.tell(Count(metric, labels))

    def close(self, deadline: float) -> None:
        """End the registrar's thread; what is settled by then is."""
        self._registrar.stop(deadline)

    def _check_progress(self, incarnation: Incarnation, process: subprocess.Popen[bytes], now: float) -> None:
        """Kill a worker that does not end, does not become ready, gives no sign of life or makes no progress."""
        hung = hung_because(incarnation, self._settings, now)
        if hung is not None:
            incarnation.leaving_for = "hang"
            incarnation.watch_anew()  # until its end is seen
            logger.error(
                "Worker hangs and is killed", slot=incarnation.slot, worker_id=incarnation.worker_id, because=hung
            )
        if hung is not None or (incarnation.kill_after is not None and now >= incarnation.kill_after):
            incarnation.kill_after = None
            process.kill()

    def _ended(self, incarnation: Incarnation) -> None:
        """Take note of a dead process: close its link, stop showing it, settle what it held."""
        assert incarnation.worker is not None  # noqa: S101 - only called for one with a process
        assert incarnation.reader is not None  # noqa: S101 - as above
        code = incarnation.exit_code = incarnation.worker.process.returncode
        begun = incarnation.reader.begun_tokens()
        self._launcher.forget(incarnation)
        self._stats.tell(WorkerDied(incarnation.slot, incarnation.number))
        was_draining = incarnation.state is IncarnationState.DRAINING
        incarnation.reason = incarnation.leaving_for or _reason(code)
        self.returned.extend(incarnation.returned or ())
        if was_draining and code != 0 and incarnation.returned is None:
            self.returned.extend(f"step with lease {token}" for token in sorted(begun))
            if incarnation.in_flight > len(begun):
                self.returned.append(f"{incarnation.in_flight - len(begun)} more that worker {incarnation.slot} held")
        level = logger.info if was_draining and code == 0 else logger.warning
        level(
            "Worker ended",
            slot=incarnation.slot,
            worker_id=incarnation.worker_id,
            exit_code=code,
            reason=incarnation.reason,
        )
        incarnation.worker = None
        # One that came to its end in order did not die of what it could not finish or commit in time.
        ended_in_order = code == 0 and incarnation.returned is not None
        self.settle(incarnation, frozenset() if ended_in_order else begun, incarnation.reason)


def _reason(code: int) -> str:
    if code < 0:
        return "signal"
    return "escalated" if code == EXIT_ESCALATED else "exit"
