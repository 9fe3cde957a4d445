"""The workers of one supervisor, slot by slot: who works, who takes whose place, who is started again."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasker_actors.actors import LocalAddress
from tasker_actors.messages import CancelLeases, Count, DeclareLabelSets, DumpStacks, Heartbeat, WorkAvailable
from tasker_actors.settings import Settings
from tasker_actors.stats.declared import slot_label_sets
from tasker_actors.supervision.launcher import Launcher
from tasker_actors.supervision.lifecycle import REGISTER, SETTLE, Lifecycle
from tasker_actors.supervision.restart_budget import RestartBudget
from tasker_actors.supervision.settlement import Settled
from tasker_actors.supervision.shutdown import Shutdown
from tasker_actors.supervision.slots import Incarnation, IncarnationState, Slot
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.logging import get_logger

logger = get_logger("tasker_actors.supervisor")

_HANG = "hang"
_MOST_PROCESSES = 2
"""Of one slot at the same time."""

_UNREADY_S = 1.0
"""For a worker that is not ready when everything ends: it may be about to be, and to hold something."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A worker that goes on until its successor is ready, and why it has to go."""

    old: Incarnation
    successor: Incarnation
    reason: str


class Crew:
    """Used by the supervisor's main thread only, but for `wake` and `cancel`, which any thread may call."""

    def __init__(self, settings: Settings, *, lifecycle: Lifecycle, launcher: Launcher, stats: LocalAddress) -> None:
        self._lifecycle = lifecycle
        self._launcher = launcher
        self._stats = stats
        worker = settings.worker
        self._budget = RestartBudget(
            worker.restart_limit,
            worker.restart_limit_overall,
            worker.restart_window_ms / 1000,
            worker.restart_backoff_ms / 1000,
            worker.restart_backoff_max_ms / 1000,
        )
        self._crash_loop: str | None = None
        self._shutdown: Shutdown | None = None
        self.slots: list[Slot] = []

    @property
    def is_empty(self) -> bool:
        """Whether no worker is left."""
        return all(slot.is_empty for slot in self.slots)

    @property
    def is_steady(self) -> bool:
        """Whether every slot has one worker, which runs; a slot that was emptied stays empty."""
        return all(
            slot.is_empty or (slot.running is not None and len(slot.incarnations) == 1 and not slot.is_leaving)
            for slot in self.slots
        )

    @property
    def returned(self) -> Sequence[str]:
        """The steps that went back to their queues unfinished."""
        return self._lifecycle.returned

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
        self._begin(empty)

    def remove_last(self) -> None:
        """Drain the worker with the highest number, for good; one always stays."""
        staying = [slot for slot in self.slots if not (slot.is_leaving or slot.is_empty)]
        if len(staying) > 1:
            leaving = staying[-1]
            leaving.is_leaving = True
            leaving.start_after = None
            for incarnation in leaving.incarnations:
                if incarnation.has_process and incarnation.state is not IncarnationState.DRAINING:
                    self._lifecycle.drain(incarnation)

    def replace(self, number: int, reason: str) -> Replacement | None:
        """Start a successor of a slot's worker, which is drained once that is ready; None if no worker runs there."""
        slot = self.slots[number]
        old = slot.running
        if old is None or slot.is_leaving:
            return None
        successor = self._begin(slot, replaces=old, replaces_for=reason)
        return Replacement(old, successor, reason)

    def drain_all(self, shutdown: Shutdown) -> None:
        """Drain every worker for good."""
        self._shutdown = shutdown
        self._lifecycle.returned.clear()  # what workers that were replaced gave back has been run by others
        for slot in self.slots:
            slot.is_leaving = True
            slot.start_after = None
        for incarnation in self.with_process:
            self._drain_by(incarnation, shutdown)

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
        """A worker claims work from now on; the one that it replaces does so no more."""
        old, incarnation.replaces = incarnation.replaces, None
        if incarnation.state is not IncarnationState.STARTING:
            if self._shutdown is not None:
                incarnation.kill_after = self._shutdown.workers_until
            return
        self._lifecycle.ready(incarnation)
        if old is not None and old.is_running:
            old.leaving_for = incarnation.replaces_for
            self._lifecycle.drain(old)

    def cannot_boot(self, incarnation: Incarnation, text: str) -> bool:
        """A worker says why it cannot start; returns whether there is another in its slot that works on."""
        logger.error("Worker cannot start", slot=incarnation.slot, error=text)
        return self.slots[incarnation.slot].running is not None

    def heartbeat(self, incarnation: Incarnation, beat: Heartbeat) -> None:
        """A worker says what it holds and has done, and how its flow goes on."""
        self._lifecycle.heartbeat(incarnation, beat)

    def link_closed(self, incarnation: Incarnation) -> None:
        """The process of an incarnation closed its link; without it, it can do nothing but end."""
        self._lifecycle.link_closed(incarnation)

    def leaves(self, incarnation: Incarnation, reason: str) -> None:
        """A worker has begun to drain by itself; its successor need not wait for its end."""
        incarnation.leaving_for = reason
        if incarnation.is_running:
            self._lifecycle.leaves(incarnation)
        slot = self.slots[incarnation.slot]
        if not slot.is_leaving and len([one for one in slot.incarnations if one.has_process]) < _MOST_PROCESSES:
            self._begin(slot)

    def watch(self, now: float, *, may_start: bool) -> str | None:
        """Reap, kill and start what is due; returns why to give up when there were too many crashes."""
        for incarnation in self.with_process:
            self._lifecycle.watch(incarnation, now)
        for slot in self.slots:
            if slot.start_after is not None and may_start and now >= slot.start_after:
                self._begin(slot)
        return self._crash_loop

    def job_done(self, incarnation: Incarnation, kind: str, result: object) -> None:
        """Go on with an incarnation after its database job."""
        if kind == REGISTER and isinstance(result, int):
            incarnation.worker_id = result
            if self.slots[incarnation.slot].is_leaving:
                self._lifecycle.settle(incarnation, frozenset(), "never started")
            else:
                self._lifecycle.start(incarnation)
        elif kind == SETTLE and isinstance(result, Settled):
            self._lifecycle.settled(incarnation, result)
            self._over(incarnation, time.monotonic())

    def job_failed(self, incarnation: Incarnation) -> None:
        """Forget an incarnation whose database job cannot be done; what it held is settled by another supervisor."""
        if not incarnation.has_process:
            self.slots[incarnation.slot].remove(incarnation)

    def close(self, deadline: float) -> None:
        """End the thread that waits for the database."""
        self._lifecycle.close(deadline)

    def _incarnations(self) -> Iterator[Incarnation]:
        for slot in list(self.slots):
            yield from slot.incarnations

    def _begin(
        self, slot: Slot, *, replaces: Incarnation | None = None, replaces_for: str | None = None
    ) -> Incarnation:
        incarnation = slot.add_incarnation(replaces, replaces_for)
        self._lifecycle.register(slot, incarnation)
        return incarnation

    def _drain_by(self, incarnation: Incarnation, shutdown: Shutdown) -> None:
        is_unready = incarnation.state is IncarnationState.STARTING
        kill_after = time.monotonic() + _UNREADY_S if is_unready else shutdown.workers_until
        self._lifecycle.drain_by(incarnation, shutdown.handlers_until, min(kill_after, shutdown.workers_until))

    def _over(self, incarnation: Incarnation, now: float) -> None:
        """An incarnation is settled: its slot gets another one, unless it has one."""
        self.wake(excluding=incarnation)
        slot = self.slots[incarnation.slot]
        slot.remove(incarnation)
        has_failed_to_replace = incarnation.replaces is not None and incarnation.replaces in slot.incarnations
        if slot.is_leaving or has_failed_to_replace:
            return
        slot.restarts += 1
        slot.last_reason = incarnation.reason or "exit"
        self._stats.tell(Count(metrics.WORKERS_RESTARTS, (str(slot.number), slot.last_reason)))
        delay_s = 0.0
        # Killed because it took too long to drain, a worker that was replaced has not crashed.
        if incarnation.leaving_for in (None, _HANG) and not (incarnation.leaving_for and incarnation.exit_code == 0):
            after = self._budget.crashed(slot.number, len(self.slots), now)
            delay_s = after.delay_s
            if after.exceeded is not None:
                self._crash_loop = f"{after.exceeded}; the last one in slot {slot.number}: {slot.last_reason}"
        if not any(one for one in slot.incarnations if one.state is not IncarnationState.SETTLING):
            slot.start_after = now + delay_s
