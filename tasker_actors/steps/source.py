"""StepSource: claims steps while there is room for them, and gives them to free executors."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from tasker_actors.actors import Actor, LocalAddress
from tasker_actors.delivery.returns import give_back
from tasker_actors.messages import (
    DispatchAll,
    ExecuteSteps,
    ExecutorFree,
    ExtendLeases,
    ReturnOverdue,
    StepsCommitted,
    StopClaiming,
    WorkAvailable,
)
from tasker_actors.steps.capacity import Capacity
from tasker_actors.steps.claimer import Beginning, Claimer
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.ledger import Ledger, LedgerItem, Stage
from tasker_actors.workflow.states import StepState

SourceMessage = (
    WorkAvailable | ExecutorFree | StepsCommitted | ExtendLeases | DispatchAll | ReturnOverdue | StopClaiming
)


class ClaimRecorder(Protocol):
    """Counts claims."""

    def claimed(self, steps: Sequence[LeasedStep], duration_ms: float | None) -> None:
        """Count leases: of a claim that took `duration_ms`, or of a continuation (None)."""

    def claim_failed(self, duration_ms: float) -> None:
        """Count a claim that the database did not answer, after so long."""


@dataclass(slots=True)
class SourceClock:
    """When StepSource wants to be woken, in monotonic seconds; the worker's main thread looks at it."""

    wake_at: float = field(default=0.0)

    def wake_by(self, moment: float, now: float) -> None:
        """Wake at this moment, or earlier if that was wanted already."""
        self.wake_at = min(moment, self.wake_at) if self.wake_at > now else moment


class StepSource(Actor):
    """Feeds the executors of one worker.

    The ledger bounds everything: a step is claimed only for a free place, so no mailbox can grow beyond the capacity
    (DESIGN 2, credits). Executors take ready steps by themselves, one after the other, so that neither a message nor a
    thread switch stands between two short steps. A suspect step becomes ready when nothing else runs, and alone.
    """

    def __init__(
        self,
        *,
        executors: Sequence[LocalAddress],
        publisher: LocalAddress,
        ledger: Ledger,
        ready: deque[LeasedStep],
        capacity: Capacity,
        claimer: Claimer,
        recorder: ClaimRecorder,
        clock: SourceClock,
        poll_interval_ms: int,
        max_claim_bytes: int,
        max_held_bytes: int,
    ) -> None:
        self._executors = executors
        self._publisher = publisher
        self._ledger = ledger
        self._capacity = capacity
        self._claimer = claimer
        self._recorder = recorder
        self._clock = clock
        self._poll_interval = poll_interval_ms / 1000
        self._max_claim_bytes = max_claim_bytes
        self._max_held_bytes = max_held_bytes
        self._ready = ready
        self._held: deque[LeasedStep] = deque()
        self._free: set[int] = set(range(len(executors)))
        self._alone: int | None = None
        self._extension_due = False
        self._after_outage = False
        self._to_store: frozenset[int] = frozenset()
        self._try_again_at = 0.0
        self._draining = capacity.closed  # an earlier instance was told to stop
        self._claim_due = True

    def on_start(self) -> None:
        """Take up what the ledger says is held: everything, if an earlier instance failed."""
        ready = {step.token for step in self._ready}
        for item in self._ledger.items():
            step = item.step
            if item.stage is Stage.WAITING and step.token not in ready:
                self._held.append(step)
            elif step.suspect:
                self._alone = step.token

    def receive(self, message: SourceMessage) -> None:
        """Take in this message and all that wait behind it, then feed the executors, then claim."""
        self._take_in(message)
        for envelope in self.take_waiting(1000):
            self._take_in(envelope.message)
        if self._draining:
            self._return_waiting()
            return
        self._dispatch()
        if not self._is_waiting_for_database():
            if self._extension_due:
                self._extend()
            if self._claim_due and not self._extension_due and self._is_stored():
                self._claim()
                self._dispatch()

    def _take_in(self, message: SourceMessage) -> None:
        match message:
            case ExecutorFree(executor):
                self._free.add(executor)
            case StepsCommitted():
                self._capacity.measure(item.finished.duration_ms for item in message.won if item.finished is not None)
                self._held.extend(message.continued)
                self._recorder.claimed(message.continued, None)
                self._expect_retries(message)
                if message.released:
                    self._claim_due = True
            case WorkAvailable():
                self._claim_due = True
            case ExtendLeases():
                self._extension_due = True
            case DispatchAll():
                if not self._ledger.outflow.is_full:
                    self._wake(len(self._ready))
            case ReturnOverdue():
                self._return_overdue()
            case StopClaiming():
                self._draining = True
                self._capacity.closed = True
            case _:
                assert_never(message)

    def _dispatch(self) -> None:
        """Make held steps ready, and wake as many executors as they are worth."""
        while self._held and not self._is_alone():
            if self._held[0].suspect and not self._begin_alone(self._held[0]):
                break
            self._ready.append(self._held.popleft())
        busy = len(self._executors) - len(self._free)
        if not self._ledger.outflow.is_full:
            self._wake(self._capacity.executors_for(len(self._ready)) - busy)

    def _begin_alone(self, suspect: LeasedStep) -> bool:
        """Note a suspect in the database if nothing else runs or is on its way to the commit; False if it must wait.

        It ran beside others when a worker died: alone it shows whether it was the one, also to those who see nothing of
        this process because its supervisor died with it (DESIGN 3 rule 3).
        """
        if self._ready or len(self._free) < len(self._executors) or self._ledger.has_begun():
            return False
        if self._is_waiting_for_database():
            return False
        match self._claimer.begin_alone(suspect):
            case Beginning.LATER:
                self._try_again_later(time.monotonic())
                return False
            case Beginning.LOST:
                self._ledger.remove([suspect.token])
            case Beginning.BEGUN:
                self._alone = suspect.token
        return True

    def _is_alone(self) -> bool:
        """Whether a suspect was made ready and is not committed yet."""
        if self._alone is not None and self._ledger.get(self._alone) is None:
            self._alone = None
        return self._alone is not None

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._free))):
            self._executors[self._free.pop()].tell(ExecuteSteps())

    def _claim(self) -> None:
        if self._ledger.outflow.is_full:
            return
        limit = self._capacity.free(len(self._ledger))
        # A claim costs a round trip: wait for a few places unless executors are idle.
        if limit == 0 or ((self._ready or self._held) and limit < self._capacity.total // 4):
            return
        began = time.monotonic()
        # Credits count bytes too (DESIGN 3 rule 15).
        max_bytes = min(self._max_claim_bytes, self._max_held_bytes - self._ledger.bytes())
        if max_bytes <= 0:
            return
        claimed = self._claimer.claim(limit, max_bytes)
        now = time.monotonic()
        if claimed is None:
            # After an outage what is held comes first: its leases may be about to end (DESIGN 3 rule 9).
            self._extension_due = True
            self._after_outage = True
            self._try_again_later(now)
            self._recorder.claim_failed((now - began) * 1000)
            return
        self._ledger.add(claimed.steps)
        self._held.extend(claimed.steps)
        if claimed.foreign:
            self._ledger.add(claimed.foreign)
            self._return(self._ledger.take_waiting({step.token for step in claimed.foreign}))
        self._claim_due = claimed.more
        wait = self._poll_interval
        if claimed.next_run_in_ms is not None:
            wait = min(wait, max(0.0, claimed.next_run_in_ms / 1000))
        self._clock.wake_by(now + wait, now)
        if claimed.steps:
            self._recorder.claimed(claimed.steps, (now - began) * 1000)

    def _expect_retries(self, committed: StepsCommitted) -> None:
        """Look for work again when the first of the steps that failed just now may be tried again."""
        delays = [
            item.finished.delay_ms
            for item in committed.won
            if item.finished is not None and item.finished.state == StepState.WAITING_FOR_RETRY
        ]
        if delays:
            now = time.monotonic()
            self._clock.wake_by(now + min(delays) / 1000, now)

    def _extend(self) -> None:
        lost = self._claimer.extend([item.step for item in self._ledger.items()])
        self._extension_due = lost is None
        if lost is None:
            self._after_outage = True
            self._try_again_later(time.monotonic())
            return
        if lost:
            self._ledger.cancel(lost)
        if self._after_outage:
            self._after_outage = False
            waiting = self._ledger.items(Stage.FINISHED, Stage.COMMITTING)
            self._to_store = frozenset(item.step.token for item in waiting)

    def _is_stored(self) -> bool:
        """Whether all is stored that had its result when an outage ended.

        A worker of whose connections only the one for claims is back would otherwise take work that somebody else could
        finish (DESIGN 3 rule 9). Each commit wakes this actor, and the poll does where something else let go.
        """
        self._to_store = frozenset(token for token in self._to_store if self._ledger.get(token) is not None)
        return not self._to_store

    def _try_again_later(self, now: float) -> None:
        """Leave the database alone for a pause that grows, whatever happens meanwhile."""
        self._try_again_at = now + self._claimer.pause_s()
        self._clock.wake_by(self._try_again_at, now)

    def _is_waiting_for_database(self) -> bool:
        now = time.monotonic()
        if now < self._try_again_at:
            self._clock.wake_by(self._try_again_at, now)
        return now < self._try_again_at

    def _return_overdue(self) -> None:
        """Give back what waits behind executors that are all busy for long: other workers may be idle (rule 15)."""
        running = self._ledger.items(Stage.RUNNING)
        if len(running) < len(self._executors):
            return
        now = time.monotonic()
        self._capacity.busy(min(now - item.began_at for item in running) * 1000)
        self._return_waiting()

    def _return_waiting(self) -> None:
        """Give back, uncounted, every step that has not begun."""
        self._held.clear()
        self._ready.clear()
        self._return(self._ledger.take_waiting())

    def _return(self, items: Sequence[LedgerItem]) -> None:
        if items:
            self._publisher.tell(give_back(items))
