"""The workers of one supervisor: started, watched, settled and replaced, slot by slot."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from tasker_actors.actors import LocalAddress
from tasker_actors.messages import (
    CancelLeases,
    Count,
    DeclareLabelSets,
    Drain,
    DumpStacks,
    Heartbeat,
    WorkAvailable,
    WorkerAttached,
    WorkerDied,
    WorkerSettled,
)
from tasker_actors.settings import Settings
from tasker_actors.stats.declared import slot_label_sets
from tasker_actors.supervision.boot import EXIT_ESCALATED
from tasker_actors.supervision.last_export import drained_ms
from tasker_actors.supervision.launcher import Launcher
from tasker_actors.supervision.liveness import hung_because
from tasker_actors.supervision.registrar import Registrar
from tasker_actors.supervision.restart_budget import RestartBudget
from tasker_actors.supervision.settlement import Settled, Settlement
from tasker_actors.supervision.slots import Incarnation, IncarnationState, Slot
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.supervisor")

END_S = 5.0
"""After its drain deadline: time for a worker to give steps back and end before it is killed."""

_LAST_WORDS_S = 1.0
"""Between the end of a link and the end of its process, whichever comes first, when all is well."""

_REGISTER = "registering a worker"
_NOTE = "noting a worker's process"
_SETTLE = "settling a worker"


class Crew:
    """Used by the supervisor's main thread only, but for `wake` and `cancel`, which any thread may call.

    An incarnation's life: register its row, start the process, run, end, settle what it held; then its slot gets the
    next one. Everything that needs the database happens in the registrar's thread.
    """

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
        worker = settings.worker
        self._budget = RestartBudget(
            worker.restart_limit,
            worker.restart_window_ms / 1000,
            worker.restart_backoff_ms / 1000,
            worker.restart_backoff_max_ms / 1000,
        )
        self._crash_loop: str | None = None
        self._returned: list[str] = []
        self.slots: list[Slot] = []

    @property
    def is_empty(self) -> bool:
        """Whether no worker is left."""
        return all(slot.is_empty for slot in self.slots)

    @property
    def returned(self) -> Sequence[str]:
        """The steps that went back to their queues unfinished."""
        return self._returned

    @property
    def with_process(self) -> Sequence[Incarnation]:
        """Every incarnation whose process runs."""
        return [one for one in self._incarnations() if one.has_process]

    def add(self) -> None:
        """Start a worker in the first empty slot, or in a new one."""
        empty = next((slot for slot in self.slots if slot.is_empty), None)
        if empty is None:
            empty = Slot(len(self.slots))
            self.slots.append(empty)
            self._stats.tell(DeclareLabelSets(tuple(slot_label_sets(empty.number))))
        empty.is_leaving = False
        self._register(empty)

    def remove_last(self) -> None:
        """Drain the worker with the highest number; one always stays."""
        staying = [slot for slot in self.slots if not (slot.is_leaving or slot.is_empty)]
        if len(staying) > 1:
            self._leave(staying[-1], self._settings.supervisor.drain_timeout_ms)

    def replace(self, number: int, timeout_ms: int) -> None:
        """Drain a worker; its slot is started again when it has ended."""
        running = self.slots[number].running
        if running is not None:
            running.leaving_for = "hup"
            self._drain(running, timeout_ms)

    def drain_all(self, timeout_ms: int) -> None:
        """Drain every worker for good."""
        self._returned.clear()  # what workers that were replaced gave back has been run by others
        for slot in self.slots:
            self._leave(slot, timeout_ms)

    def kill_all(self) -> None:
        """Kill every worker at once; what they held is settled."""
        for incarnation in self.with_process:
            if incarnation.worker is not None:
                incarnation.worker.process.kill()

    def wake(self, *, excluding: Incarnation | None = None) -> None:
        """Tell running workers that there is work; from any thread."""
        for incarnation in self._incarnations():
            if incarnation.is_running and incarnation is not excluding:
                self._launcher.tell(incarnation, WorkAvailable())

    def cancel(self, leases: Mapping[int, Collection[int]]) -> None:
        """Tell workers which of their leases were cancelled, by worker id; unknown ones are somebody else's."""
        for incarnation in self.with_process:
            tokens = leases.get(incarnation.worker_id)
            if tokens:
                self._launcher.tell(incarnation, CancelLeases(tuple(tokens)))

    def dump_stacks(self) -> None:
        """Let every worker log its stacks."""
        for incarnation in self.with_process:
            self._launcher.tell(incarnation, DumpStacks())

    def ready(self, incarnation: Incarnation) -> None:
        """A worker claims work from now on."""
        if incarnation.state is IncarnationState.STARTING:
            incarnation.state = IncarnationState.RUNNING
            incarnation.watch_anew()
            self._launcher.take_over(incarnation)
            logger.info(
                "Worker ready", slot=incarnation.slot, worker_id=incarnation.worker_id, worker_pid=incarnation.pid
            )

    def heartbeat(self, incarnation: Incarnation, beat: Heartbeat) -> None:
        """A worker says what it holds, and how its flow goes on."""
        incarnation.in_flight = beat.in_flight
        incarnation.stalled, incarnation.stalled_ms = beat.stalled, beat.stalled_ms
        incarnation.waits_for_database = beat.waits_for_database

    def leaves(self, incarnation: Incarnation, reason: str) -> None:
        """A worker has begun to drain by itself."""
        incarnation.leaving_for = reason

    def link_closed(self, incarnation: Incarnation) -> None:
        """The process of an incarnation closed its link; without it, it can do nothing but end."""
        if incarnation.has_process:
            incarnation.is_link_closed = True
            # One that has said that it is done has nothing to lose, and many that end at once take turns at the CPU.
            patience = _LAST_WORDS_S if incarnation.returned is None else END_S
            incarnation.kill_after = time.monotonic() + patience

    def watch(self, now: float, *, may_start: bool) -> str | None:
        """Reap, kill and start what is due; returns why to give up when there were too many crashes."""
        for incarnation in self.with_process:
            if incarnation.worker is None:
                continue
            if incarnation.worker.process.poll() is not None:
                self._exited(incarnation, now)
            else:
                self._check_progress(incarnation, incarnation.worker.process, now)
        for slot in self.slots:
            if slot.start_after is not None and may_start and now >= slot.start_after:
                self._register(slot)
        return self._crash_loop

    def job_done(self, incarnation: Incarnation, kind: str, result: object) -> None:
        """Go on with an incarnation after its database job."""
        if kind == _REGISTER and isinstance(result, int):
            incarnation.worker_id = result
            if self.slots[incarnation.slot].is_leaving:
                self._settle(incarnation, frozenset(), "never started")
            else:
                self._start(incarnation)
        elif kind == _SETTLE and isinstance(result, Settled):
            if incarnation.reader is not None:
                self._stats.tell(WorkerSettled(incarnation.slot, incarnation.number, result.committed))
            for metric, labels in result.failures:
                self._stats.tell(Count(metric, labels))
            self._settled(incarnation, time.monotonic())

    def close(self, deadline: float) -> None:
        """End the registrar's thread."""
        self._registrar.stop(deadline)

    def _incarnations(self) -> Iterator[Incarnation]:
        for slot in list(self.slots):
            yield from slot.incarnations

    def _register(self, slot: Slot) -> None:
        incarnation = slot.add_incarnation()
        self._registrar.submit(incarnation, _REGISTER, self._launcher.registration(slot, incarnation))

    def _start(self, incarnation: Incarnation) -> None:
        note = self._launcher.launch(incarnation)
        assert incarnation.reader is not None  # noqa: S101 - launching gave it one
        self._stats.tell(
            WorkerAttached(incarnation.slot, incarnation.number, incarnation.worker_id, incarnation.reader)
        )
        self._registrar.submit(incarnation, _NOTE, note)

    def _leave(self, slot: Slot, timeout_ms: int) -> None:
        """Drain a slot's workers; none follows."""
        slot.is_leaving = True
        slot.start_after = None
        for incarnation in slot.incarnations:
            if incarnation.has_process and incarnation.state is not IncarnationState.DRAINING:
                self._drain(incarnation, timeout_ms)

    def _drain(self, incarnation: Incarnation, timeout_ms: int) -> None:
        incarnation.state = IncarnationState.DRAINING
        incarnation.kill_after = time.monotonic() + timeout_ms / 1000 + END_S + drained_ms(self._settings) / 1000
        self._launcher.tell(incarnation, Drain(timeout_ms))

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

    def _exited(self, incarnation: Incarnation, now: float) -> None:
        """Settle a worker whose process is gone once its link is read to the end: it may have said what it returned."""
        incarnation.exited_at = incarnation.exited_at or now
        if incarnation.is_link_closed or now >= incarnation.exited_at + _LAST_WORDS_S:
            self._ended(incarnation)

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
        self._returned.extend(incarnation.returned or ())
        if was_draining and code != 0 and incarnation.returned is None:
            self._returned.extend(f"step with lease {token}" for token in sorted(begun))
            if incarnation.in_flight > len(begun):
                self._returned.append(f"{incarnation.in_flight - len(begun)} more that worker {incarnation.slot} held")
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
        is_orderly = code == 0 and incarnation.returned is not None
        self._settle(incarnation, frozenset() if is_orderly else begun, incarnation.reason)

    def _settle(self, incarnation: Incarnation, begun: Collection[int], reason: str) -> None:
        incarnation.state = IncarnationState.SETTLING
        self._registrar.submit(
            incarnation,
            _SETTLE,
            partial(self._settlement.settle, incarnation.worker_id, running=begun, reason=reason),
        )

    def _settled(self, incarnation: Incarnation, now: float) -> None:
        self.wake(excluding=incarnation)
        slot = self.slots[incarnation.slot]
        slot.remove(incarnation)
        if slot.is_leaving:
            return
        slot.restarts += 1
        slot.last_reason = incarnation.reason or "exit"
        self._stats.tell(Count(metrics.WORKERS_RESTARTS, (str(slot.number), slot.last_reason)))
        if incarnation.leaving_for is not None and incarnation.exit_code == 0:
            slot.start_after = now
            return
        backoff = self._budget.crashed(now)
        if backoff is None:
            limits = self._settings.worker
            self._crash_loop = (
                f"workers crashed more than {limits.restart_limit} times within {limits.restart_window_ms} ms; "
                f"the last one in slot {slot.number}: {slot.last_reason}"
            )
        slot.start_after = now + (backoff or 0.0)


def _reason(code: int) -> str:
    if code < 0:
        return "signal"
    return "escalated" if code == EXIT_ESCALATED else "exit"
