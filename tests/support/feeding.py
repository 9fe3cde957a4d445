"""StepSource in a real actor system, with a queue, executors and a clock that a test plays."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from support.leases import Inbox, finish
from support.waiting import until_stable

from tasker_actors.actors import Actor, ActorSystem, RestartPolicy
from tasker_actors.messages import ExecuteSteps, WorkAvailable
from tasker_actors.steps.capacity import Capacity
from tasker_actors.steps.claimer import Beginning, Claimed
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.ledger import Ledger
from tasker_actors.steps.outflow import Outflow
from tasker_actors.steps.source import SourceClock, StepSource

MAX_CLAIM_BYTES = 1024 * 1024
MAX_HELD_BYTES = 32 * 1024 * 1024

AWAY = None
"""What a claim or an extension gives while the database does not answer."""


class Queue:
    """A queue of steps in place of the database's; what was asked of it is in `calls`, in order."""

    def __init__(self) -> None:
        self.steps: deque[LeasedStep] = deque()
        self.answers: deque[Any] = deque()
        self.next_run_in_ms: float | None = None
        self.lost: Collection[int] = ()
        self.extensions_prevented = 0
        self.pause = 0.0
        self.notes_prevented = 0
        self.calls: list[tuple[str, Any]] = []

    def claim(self, limit: int, max_bytes: int) -> Claimed | None:
        """Give what waits, or the next prepared answer."""
        self.calls.append(("claim", (limit, max_bytes)))
        if self.answers:
            answer = self.answers.popleft()
            if isinstance(answer, BaseException):
                raise answer
            return answer  # type: ignore[no-any-return]  # what the test prepared
        taken = tuple(self.steps.popleft() for _ in range(min(limit, len(self.steps))))
        return Claimed(taken, bool(self.steps), self.next_run_in_ms)

    def extend(self, steps: Sequence[LeasedStep]) -> Any:
        """Give the prepared tokens as lost, or None while the database does not answer."""
        self.calls.append(("extend", [step.token for step in steps]))
        if self.extensions_prevented:
            self.extensions_prevented -= 1
            return AWAY
        return self.lost

    def pause_s(self) -> float:
        """Give the pause that the test wants."""
        return self.pause

    def begin_alone(self, step: LeasedStep) -> Beginning:
        """Let a suspect begin, unless the test prevents it or its lease is lost."""
        self.calls.append(("begin", step.token))
        if self.notes_prevented:
            self.notes_prevented -= 1
            return Beginning.LATER
        return Beginning.LOST if step.token in self.lost else Beginning.BEGUN


class Counted:
    """What was counted as claimed: how many, and whether by a claim of its own; and what claims that failed took."""

    def __init__(self) -> None:
        self.claims: list[tuple[int, bool]] = []
        self.failed_ms: list[float] = []

    def claimed(self, steps: Sequence[LeasedStep], duration_ms: float | None) -> None:
        """Take note."""
        self.claims.append((len(steps), duration_ms is not None))

    def claim_failed(self, duration_ms: float) -> None:
        """Take note."""
        self.failed_ms.append(duration_ms)


class Bystander(Actor):
    """An executor whose thread the test plays."""

    def __init__(self, index: int, heard: queue.SimpleQueue[int]) -> None:
        self._index = index
        self._heard = heard

    def receive(self, message: ExecuteSteps) -> None:
        """Tell the test which executor was woken."""
        self._heard.put(self._index)


class Source:
    """A StepSource, with everything around it in the test's hands."""

    def __init__(self, executors: int = 4, prefetch: int = 0) -> None:
        self.system = ActorSystem("worker-0", on_restart=lambda *_: None)
        self.ledger = Ledger(None, Outflow(16 * 1024 * 1024, lambda: self.address.tell(WorkAvailable())))
        self.ready: deque[LeasedStep] = deque()
        self.capacity = Capacity(executors, prefetch)
        self.queue = Queue()
        self.counted = Counted()
        self.clock = SourceClock()
        self.woken: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._executors = [
            self.system.start(f"executor-{index}", partial(Bystander, index, self.woken)) for index in range(executors)
        ]
        self._publisher = self.system.start("publisher", lambda: Inbox(self.sent))
        self.address = self.system.start("step_source", self._make, RestartPolicy(backoff_base_ms=0))

    def _make(self) -> StepSource:
        return StepSource(
            executors=self._executors,
            publisher=self._publisher,
            ledger=self.ledger,
            ready=self.ready,
            capacity=self.capacity,
            claimer=self.queue,
            recorder=self.counted,
            clock=self.clock,
            poll_interval_ms=1000,
            max_claim_bytes=MAX_CLAIM_BYTES,
            max_held_bytes=MAX_HELD_BYTES,
        )

    def tell(self, *messages: object) -> None:
        """Send messages one after the other, each handled before the next."""
        for message in messages:
            self.address.tell(message)
            self.settle()

    def settle(self) -> None:
        """Wait until the source has handled everything, and executors what it told them."""

        def idle() -> bool:
            return all(
                status.mailbox_depth == 0 and status.busy_seconds is None and status.is_running
                for status in self.system.actors()
            )

        until_stable(idle)

    def awake(self) -> list[int]:
        """Which executors were woken since the last look."""
        woken = []
        while not self.woken.empty():
            woken.append(self.woken.get())
        return woken

    def begin(self, executor: int) -> LeasedStep:
        """Let an executor take the next ready step."""
        step = self.ready.popleft()
        assert self.ledger.begin(step.token, executor, time.monotonic()) is not None
        return step

    def end(self, step: LeasedStep) -> None:
        """Let an executor finish a step, and its commit happen."""
        item = self.ledger.get(step.token)
        assert item is not None
        self.ledger.finish(item, finish(step))
        self.ledger.remove([step.token])
