"""The workers of one supervisor: started, watched, settled and replaced, slot by slot."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from tasker_actors.actors import ActorSystem, LocalAddress
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
from tasker_actors.stats.reader import BlockReader
from tasker_actors.supervision.boot import EXIT_ESCALATED
from tasker_actors.supervision.inbox import Forwarder, Inbox
from tasker_actors.supervision.last_export import drained_ms
from tasker_actors.supervision.launcher import Launcher
from tasker_actors.supervision.registrar import Registrar
from tasker_actors.supervision.settlement import Settled, Settlement
from tasker_actors.supervision.slots import RestartBudget, Slot, SlotState
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

    A slot's life: register its row, start the process, run, end, settle what it held, register again. Everything that
    needs the database happens in the registrar's thread.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        launcher: Launcher,
        system: ActorSystem,
        inbox: Inbox,
        registrar: Registrar,
        settlement: Settlement,
        stats: LocalAddress,
    ) -> None:
        self._settings = settings
        self._launcher = launcher
        self._system = system
        self._inbox = inbox
        self._registrar = registrar
        self._settlement = settlement
        self._stats = stats
        self._readers: dict[int, BlockReader] = {}
        worker = settings.worker
        self._budget = RestartBudget(
            worker.restart_limit,
            worker.restart_window_ms / 1000,
            worker.restart_backoff_ms / 1000,
            worker.restart_backoff_max_ms / 1000,
        )
        self._returned: list[str] = []
        self.slots: list[Slot] = []

    @property
    def is_empty(self) -> bool:
        """Whether no worker is left."""
        return all(slot.state is SlotState.EMPTY for slot in self.slots)

    @property
    def returned(self) -> Sequence[str]:
        """The steps that went back to their queues unfinished."""
        return self._returned

    def slot(self, number: int) -> Slot:
        """Return a slot by its number."""
        return self.slots[number]

    def add(self) -> None:
        """Start a worker in the first empty slot, or in a new one."""
        empty = next((slot for slot in self.slots if slot.state is SlotState.EMPTY), None)
        if empty is None:
            empty = Slot(len(self.slots))
            self.slots.append(empty)
            self._stats.tell(DeclareLabelSets(tuple(slot_label_sets(empty.number))))
            self._system.start(f"slot-{empty.number}", partial(Forwarder, self._inbox, empty.number))
        empty.is_leaving = False
        self._register(empty)

    def remove_last(self) -> None:
        """Drain the worker with the highest number; one always stays."""
        alive = [slot for slot in self.slots if slot.is_alive and not slot.is_leaving]
        if len(alive) > 1:
            alive[-1].is_leaving = True
            self._drain(alive[-1], self._settings.supervisor.drain_timeout_ms)

    def replace(self, number: int, timeout_ms: int) -> None:
        """Drain a worker; its slot is started again when it has ended."""
        slot = self.slots[number]
        if slot.state is SlotState.RUNNING:
            slot.pending_reason = "hup"
            self._drain(slot, timeout_ms)

    def drain_all(self, timeout_ms: int) -> None:
        """Drain every worker for good."""
        self._returned.clear()  # what workers that were replaced gave back has been run by others
        for slot in self.slots:
            slot.is_leaving = True
            if slot.is_alive and slot.state is not SlotState.DRAINING:
                self._drain(slot, timeout_ms)
            elif slot.state is SlotState.WAITING:
                slot.state = SlotState.EMPTY

    def kill_all(self) -> None:
        """Kill every worker at once; what they held is settled."""
        for slot in self.slots:
            if slot.is_alive and slot.worker is not None:
                slot.worker.process.kill()

    def wake(self, *, excluding: int | None = None) -> None:
        """Tell running workers that there is work; from any thread."""
        for slot in self.slots:
            if slot.state is SlotState.RUNNING and slot.number != excluding:
                self._lifecycle(slot, WorkAvailable())

    def cancel(self, leases: Mapping[int, Collection[int]]) -> None:
        """Tell workers which of their leases were cancelled, by worker id; unknown ones are somebody else's."""
        for slot in self.slots:
            tokens = leases.get(slot.worker_id)
            if tokens and slot.is_alive:
                self._lifecycle(slot, CancelLeases(tuple(tokens)))

    def dump_stacks(self) -> None:
        """Let every worker log its stacks."""
        for slot in self.slots:
            if slot.is_alive:
                self._lifecycle(slot, DumpStacks())

    def ready(self, number: int) -> None:
        """A worker claims work from now on."""
        slot = self.slots[number]
        if slot.state is SlotState.STARTING:
            slot.state = SlotState.RUNNING
            slot.last_heartbeat = time.monotonic()
            logger.info("Worker ready", slot=number, worker_id=slot.worker_id, worker_pid=slot.pid)

    def heartbeat(self, number: int, beat: Heartbeat) -> None:
        """A worker's main thread is alive."""
        slot = self.slots[number]
        slot.last_heartbeat = time.monotonic()
        slot.in_flight = beat.in_flight

    def link_closed(self, number: int, incarnation: int) -> None:
        """The process of an incarnation closed its link; without it, it can do nothing but end."""
        slot = self.slots[number]
        if slot.incarnation == incarnation and slot.is_alive:
            slot.is_link_closed = True
            # One that has said that it is done has nothing to lose, and many that end at once take turns at the CPU.
            slot.kill_after = time.monotonic() + (_LAST_WORDS_S if slot.returned is None else END_S)

    def watch(self, now: float, *, may_start: bool) -> str | None:
        """Reap, kill and start what is due; returns why to give up when there were too many crashes."""
        for slot in self.slots:
            if slot.is_alive and slot.worker is not None:
                if slot.worker.process.poll() is not None:
                    self._exited(slot, now)
                else:
                    self._check_progress(slot, now)
            elif slot.state is SlotState.WAITING and may_start and now >= slot.start_after:
                self._register(slot)
        crashed = next((slot for slot in self.slots if slot.gave_up), None)
        if crashed is None:
            return None
        limits = self._settings.worker
        return (
            f"workers crashed more than {limits.restart_limit} times within {limits.restart_window_ms} ms; "
            f"the last one in slot {crashed.number}: {crashed.last_reason}"
        )

    def job_done(self, number: int, kind: str, result: object) -> None:
        """Go on with a slot after its database job."""
        slot = self.slots[number]
        if kind == _REGISTER and isinstance(result, int):
            slot.worker_id = result
            if slot.is_leaving:
                self._settle(slot, frozenset(), "never started")
            else:
                self._start(slot)
        elif kind == _SETTLE and isinstance(result, Settled):
            if self._readers.pop(slot.number, None) is not None:
                self._stats.tell(WorkerSettled(slot.number, slot.incarnation, result.committed))
            for metric, labels in result.failures:
                self._stats.tell(Count(metric, labels))
            self._after_settling(slot, time.monotonic())

    def close(self, deadline: float) -> None:
        """End the registrar's thread."""
        self._registrar.stop(deadline)

    def _register(self, slot: Slot) -> None:
        self._registrar.submit(slot.number, _REGISTER, self._launcher.registration(slot))

    def _start(self, slot: Slot) -> None:
        reader, note = self._launcher.launch(slot)
        self._readers[slot.number] = reader
        self._stats.tell(WorkerAttached(slot.number, slot.incarnation, slot.worker_id, reader))
        self._registrar.submit(slot.number, _NOTE, note)

    def _drain(self, slot: Slot, timeout_ms: int) -> None:
        slot.state = SlotState.DRAINING
        slot.kill_after = time.monotonic() + timeout_ms / 1000 + END_S + drained_ms(self._settings) / 1000
        self._lifecycle(slot, Drain(timeout_ms))

    def _lifecycle(self, slot: Slot, message: object) -> None:
        self._system.address(f"worker-{slot.number}/lifecycle").tell(message)

    def _check_progress(self, slot: Slot, now: float) -> None:
        """Kill a worker that does not end or does not become ready, or whose main thread gives no sign of life."""
        assert slot.worker is not None  # noqa: S101 - only called for slots with a process
        silent_s = now - slot.last_heartbeat
        limits_ms = {
            SlotState.STARTING: self._settings.supervisor.startup_timeout_ms,
            SlotState.RUNNING: self._settings.worker.hang_timeout_ms,
        }
        is_hung = slot.state in limits_ms and silent_s > limits_ms[slot.state] / 1000
        if is_hung:
            slot.pending_reason = "hang"
            logger.error("Worker gives no sign of life and is killed", slot=slot.number, silent_s=round(silent_s, 1))
        if is_hung or (slot.kill_after is not None and now >= slot.kill_after):
            slot.kill_after = None
            slot.worker.process.kill()

    def _exited(self, slot: Slot, now: float) -> None:
        """Settle a worker whose process is gone once its link is read to the end: it may have said what it returned."""
        slot.exited_at = slot.exited_at or now
        if slot.is_link_closed or now >= slot.exited_at + _LAST_WORDS_S:
            self._ended(slot)

    def _ended(self, slot: Slot) -> None:
        """Take note of a dead process: close its link, stop showing it, settle what it held."""
        assert slot.worker is not None  # noqa: S101 - only called for slots with a process
        code = slot.worker.process.returncode
        begun = self._readers[slot.number].begun_tokens()
        if slot.link is not None:
            slot.link.close(time.monotonic())
        self._stats.tell(WorkerDied(slot.number, slot.incarnation))
        slot.exit_code = code
        slot.was_draining = slot.state is SlotState.DRAINING
        slot.last_reason = slot.pending_reason or _reason(code)
        self._returned.extend(slot.returned or ())
        if slot.was_draining and code != 0 and slot.returned is None:
            self._returned.extend(f"step with lease {token}" for token in sorted(begun))
            if slot.in_flight > len(begun):
                self._returned.append(f"{slot.in_flight - len(begun)} more that worker {slot.number} held")
        level = logger.info if slot.was_draining and code == 0 else logger.warning
        level("Worker ended", slot=slot.number, worker_id=slot.worker_id, exit_code=code, reason=slot.last_reason)
        slot.worker = None
        # One that came to its end in order did not die of what it could not finish or commit in time.
        self._settle(slot, frozenset() if code == 0 and slot.returned is not None else begun, slot.last_reason)

    def _settle(self, slot: Slot, begun: Collection[int], reason: str) -> None:
        slot.state = SlotState.SETTLING
        self._registrar.submit(
            slot.number,
            _SETTLE,
            partial(self._settlement.settle, slot.worker_id, running=begun, reason=reason),
        )

    def _after_settling(self, slot: Slot, now: float) -> None:
        self.wake(excluding=slot.number)
        if slot.is_leaving:
            slot.state = SlotState.EMPTY
            return
        slot.state = SlotState.WAITING
        slot.restarts += 1
        self._stats.tell(Count(metrics.WORKERS_RESTARTS, (str(slot.number), slot.last_reason or "exit")))
        if slot.pending_reason is not None and slot.exit_code == 0:
            slot.start_after = now
            return
        backoff = self._budget.crashed(now)
        slot.gave_up = backoff is None
        slot.start_after = now + (backoff or 0.0)


def _reason(code: int) -> str:
    if code < 0:
        return "signal"
    return "escalated" if code == EXIT_ESCALATED else "exit"
