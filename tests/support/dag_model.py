"""What should become of tasks (SPEC 2.1 and 5), in plain Python: the simplest thing to compare the database with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

EVENTS = {
    "on.success": ("durable", "success"),
    "on.failure": ("durable", "failure"),
    "on.retry": ("durable", "retryable_failure"),
    "on.end": ("broadcast", "permanent_failure"),
    "on.all": ("broadcast", "always"),
    "on.fast": ("fast", "always"),
    "on.refused": ("durable", "success"),
}
"""Declared events of every step with mode and condition; the last one's schema no payload fits."""
REFUSED = "on.refused"
PUBLISHED_WHEN = {
    "success": {"complete"},
    "failure": {"waiting_for_retry", "error"},
    "retryable_failure": {"waiting_for_retry"},
    "permanent_failure": {"error"},
    "always": {"complete", "waiting_for_retry", "error"},
}

Moment = tuple[int, int]
"""Hours that were let pass, then statements that were made."""
Published = tuple[str, int, str]
"""Step, attempt and event."""


@dataclass(slots=True)
class ModelStep:
    """One step; `outcomes` is what its attempts will come to: done, again or never.

    `place` is when it may be claimed, and so its place in the queue; `begun` the lease under which it began alone;
    `unseen` says that it was held in a death that nobody saw.
    """

    name: str
    needs: Sequence[str]
    outcomes: Sequence[str]
    state: str = "pending"
    attempts: int = 0
    blocked: bool = False
    suspect: bool = False
    token: int | None = None
    worker: int | None = None
    begun: int | None = None
    unseen: bool = False
    place: Moment = (0, 0)

    @property
    def is_open(self) -> bool:
        """Whether it can still run."""
        return self.state not in ("complete", "error") and not self.blocked

    def lease(self, token: int, worker: int) -> None:
        """A worker takes it."""
        self.state, self.token, self.worker = "in_progress", token, worker

    def wait(self, state: str, place: Moment) -> None:
        """It can run from this moment on."""
        self.state, self.token, self.worker, self.place = state, None, None, place


@dataclass(slots=True)
class ModelTask:
    """One task; `history` is its attempts, `events` what is in the queue of them and `letters` what was refused."""

    task_uuid: str
    namespace: str
    steps: dict[str, ModelStep]
    max_attempts: int
    hours_between_attempts: int
    place: Moment
    cancelled: bool = False
    touched: bool = False
    history: list[tuple[str, int, str]] = field(default_factory=list)
    events: list[Published] = field(default_factory=list)
    letters: list[Published] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The state that the task is stored with."""
        if self.cancelled:
            return "cancelled"
        if not any(step.is_open for step in self.steps.values()):
            return "error" if self.failed else "complete"
        return "in_progress" if self.touched else "pending"

    @property
    def failed(self) -> int:
        """Steps that failed for good."""
        return sum(step.state == "error" for step in self.steps.values())

    def release(self) -> list[ModelStep]:
        """Let run what waits for nothing any more."""
        released = [
            step
            for step in self.steps.values()
            if step.state == "pending"
            and not step.blocked
            and all(self.steps[need].state == "complete" for need in step.needs)
        ]
        for step in released:
            step.wait("enqueued", self.place)
        return released

    def give_back(self, step: ModelStep, *, suspect: bool | None = None) -> None:
        """Its lease ends without a result: it has its old place in the queue."""
        step.wait("enqueued", self.place)
        if suspect is not None:
            step.suspect = suspect

    def finish(self, step: ModelStep, outcome: str, now: Moment) -> list[tuple[str, str]]:
        """An attempt has a result: done, again, never or lost. Returns its events: name and published or failed."""
        step.attempts += 1
        self.touched = True
        if outcome == "done":
            state = "complete"
        elif outcome == "never" or step.attempts == self.max_attempts:
            state = "error"
        else:
            state = "waiting_for_retry"
        step.wait(state, (now[0] + self.hours_between_attempts * step.attempts, now[1]))
        self.history.append((step.name, step.attempts, state))
        # What killed its worker may kill again, and should have nobody beside it.
        step.suspect = state == "waiting_for_retry" and outcome == "lost"
        if state == "error":
            self._block_below(step)
        if step.suspect:
            return []
        return list(self._publish(step, state))

    def cancel(self) -> None:
        """End everything that is not finished, unless the task is."""
        if self.status not in ("pending", "in_progress"):
            return
        self.cancelled = True
        for step in self.steps.values():
            if step.state not in ("complete", "error"):
                step.state, step.token, step.worker = "cancelled", None, None

    def _publish(self, step: ModelStep, state: str) -> Iterator[tuple[str, str]]:
        for name, (mode, condition) in EVENTS.items():
            if mode == "fast" or state not in PUBLISHED_WHEN[condition]:
                continue
            kept, counted = (self.letters, "failed") if name == REFUSED else (self.events, "published")
            kept.append((step.name, step.attempts, name))
            yield name, counted

    def _block_below(self, failed: ModelStep) -> None:
        blocked = {failed.name}
        while more := {step.name for step in self.steps.values() if blocked & set(step.needs)} - blocked:
            blocked |= more
        for name in blocked - {failed.name}:
            self.steps[name].blocked = True


class Model:
    """All tasks of one run. `counts` is what each worker has committed: (worker id, event, published or failed)."""

    def __init__(self) -> None:
        self.tasks: dict[str, ModelTask] = {}
        self.now: Moment = (0, 0)
        self.counts: Counter[tuple[int, str, str]] = Counter()

    def tick(self) -> Moment:
        """Another statement is made, later than those before."""
        self.now = (self.now[0], self.now[1] + 1)
        return self.now

    def pass_hour(self) -> None:
        """Time passes."""
        self.now = (self.now[0] + 1, self.now[1])

    def create(
        self,
        task_uuid: str,
        graph: Mapping[str, Sequence[str]],
        outcomes: Mapping[str, Sequence[str]],
        *,
        namespace: str,
        priority: int,
        max_attempts: int,
        hours_between_attempts: int,
    ) -> None:
        """Make a new task: what needs nothing can run, as early as if the task were `priority` hours older."""
        hours, statement = self.tick()
        steps = {name: ModelStep(name, needs, outcomes[name]) for name, needs in graph.items()}
        place = (hours - priority, statement)
        task = ModelTask(task_uuid, namespace, steps, max_attempts, hours_between_attempts, place)
        task.release()
        self.tasks[task_uuid] = task

    def steps(self) -> Iterator[tuple[ModelTask, ModelStep]]:
        """Every step with its task."""
        return ((task, step) for task in self.tasks.values() for step in task.steps.values())

    def find(self, task_uuid: Any, name: str) -> ModelStep:
        """One step."""
        return self.tasks[str(task_uuid)].steps[name]

    def waiting(self, namespaces: Collection[str]) -> list[ModelStep]:
        """What can run in these namespaces, now or later, in the order of the queue."""
        found = [
            step
            for task, step in self.steps()
            if task.namespace in namespaces and step.state in ("enqueued", "waiting_for_retry")
        ]
        return sorted(found, key=lambda step: step.place)

    def claimable(self, namespaces: Collection[str]) -> list[ModelStep]:
        """What a claim may return, in the order of the queue; steps of the same place are in any order."""
        return [step for step in self.waiting(namespaces) if step.place <= self.now]

    def leases(self, worker: int) -> dict[int, tuple[ModelTask, ModelStep]]:
        """What a worker has leased, by token."""
        return {step.token: (task, step) for task, step in self.steps() if step.worker == worker and step.token}

    def finish(self, worker_id: int, task: ModelTask, step: ModelStep, outcome: str) -> None:
        """An attempt has a result, which this worker commits, or somebody for it."""
        self.count(worker_id, task.finish(step, outcome, self.now))

    def count(self, worker_id: int, events: Iterable[tuple[str, str]]) -> None:
        """A worker has committed events."""
        self.counts.update((worker_id, name, counted) for name, counted in events)

    def settle(self, worker: int, worker_id: int, running: Collection[int] | None) -> None:
        """A worker died while it ran these tokens.

        None if nobody saw it die: then a suspect had begun if that was noted, and else all that was no suspect and was
        held in such a death before. What killed it may have been in another process, so nobody pays but a suspect that
        was alone everywhere.
        """
        leases = self.leases(worker)
        begun = {token for token in leases if running is not None and token in running}
        if running is None:
            noted = {token for token, (_, step) in leases.items() if step.begun == token}
            others = {token for token, (_, step) in leases.items() if not step.suspect}
            begun = noted or {token for token in others if leases[token][1].unseen}
            for token in noted or others:
                leases[token][1].unseen = True
        for token, (task, step) in leases.items():
            if token not in begun:
                task.give_back(step)
            elif step.suspect or (running is not None and len(begun) == 1):
                self.finish(worker_id, task, step, "lost")
            else:
                task.history.append((step.name, step.attempts + 1, "lost"))
                task.give_back(step, suspect=True)
