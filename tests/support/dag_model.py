"""What should become of tasks, said in plain Python: the simplest thing that the commit path can be compared with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_ATTEMPTS = 3
EVENTS = {"on.success": "success", "on.failure": "failure", "on.end": "permanent_failure"}
"""Declared events of every step, with their conditions."""


@dataclass(slots=True)
class ModelStep:
    """One step; `outcomes` is what its attempts will come to: done, again or never."""

    name: str
    needs: Sequence[str]
    outcomes: Sequence[str]
    state: str = "pending"
    attempts: int = 0
    blocked: bool = False
    suspect: bool = False
    token: int | None = None
    worker: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still run."""
        return self.state not in ("complete", "error") and not self.blocked

    def lease(self, token: int, worker: int) -> None:
        """A worker takes it."""
        self.state, self.token, self.worker = "in_progress", token, worker

    def give_back(self, *, suspect: bool | None = None) -> None:
        """Its lease ends without a result."""
        self.state, self.token, self.worker = "enqueued", None, None
        if suspect is not None:
            self.suspect = suspect


@dataclass(slots=True)
class ModelTask:
    """One task; `history` is its attempts and `events` what they published, in order."""

    task_uuid: str
    steps: dict[str, ModelStep]
    cancelled: bool = False
    touched: bool = False
    history: list[tuple[str, int, str]] = field(default_factory=list)
    events: list[tuple[str, int, str]] = field(default_factory=list)

    @classmethod
    def of(cls, task_uuid: str, graph: Mapping[str, Sequence[str]], outcomes: Mapping[str, Sequence[str]]) -> ModelTask:
        """Make a new task: what needs nothing can run."""
        task = cls(task_uuid, {name: ModelStep(name, needs, outcomes[name]) for name, needs in graph.items()})
        task.release()
        return task

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
            step.state = "enqueued"
        return released

    def finish(self, step: ModelStep, outcome: str) -> None:
        """An attempt has a result: done, again, never or lost for good."""
        step.attempts += 1
        step.suspect, step.token, step.worker = False, None, None
        self.touched = True
        if outcome == "done":
            step.state = "complete"
        elif outcome == "never" or step.attempts == MAX_ATTEMPTS:
            step.state = "error"
            self._block_below(step)
        else:
            step.state = "waiting_for_retry"
        self.history.append((step.name, step.attempts, step.state))
        if step.state == "waiting_for_retry" and outcome == "lost":
            step.suspect = True  # it may kill again, and should have nobody beside it
            return
        applies = {"success": step.state == "complete", "failure": step.state != "complete"}
        applies["permanent_failure"] = step.state == "error"
        self.events.extend((step.name, step.attempts, name) for name, when in EVENTS.items() if applies[when])

    def cancel(self) -> None:
        """End everything that is not finished, unless the task is."""
        if self.status not in ("pending", "in_progress"):
            return
        self.cancelled = True
        for step in self.steps.values():
            if step.state not in ("complete", "error"):
                step.state, step.token, step.worker = "cancelled", None, None

    def _block_below(self, failed: ModelStep) -> None:
        blocked = {failed.name}
        while more := {step.name for step in self.steps.values() if blocked & set(step.needs)} - blocked:
            blocked |= more
        for name in blocked - {failed.name}:
            self.steps[name].blocked = True


class Model:
    """All tasks of one run."""

    def __init__(self, tasks: Iterable[ModelTask]) -> None:
        self.tasks = {task.task_uuid: task for task in tasks}

    def steps(self) -> Iterator[tuple[ModelTask, ModelStep]]:
        """Every step with its task."""
        return ((task, step) for task in self.tasks.values() for step in task.steps.values())

    def find(self, task_uuid: Any, name: str) -> ModelStep:
        """One step."""
        return self.tasks[str(task_uuid)].steps[name]

    def claimable(self) -> set[tuple[str, str]]:
        """What a claim may return."""
        return {
            (task.task_uuid, step.name)
            for task, step in self.steps()
            if step.state in ("enqueued", "waiting_for_retry")
        }

    def leases(self, worker: int) -> dict[int, tuple[ModelTask, ModelStep]]:
        """What a worker has leased, by token."""
        return {step.token: (task, step) for task, step in self.steps() if step.worker == worker and step.token}

    def settle(self, worker: int, running: Collection[int] | None) -> None:
        """A worker died while it ran these tokens; None if nobody knows."""
        leases = self.leases(worker)
        begun = {token for token in leases if running is None or token in running}
        for token, (task, step) in leases.items():
            if token not in begun:
                step.give_back()
            elif len(begun) == 1 or step.suspect:
                task.finish(step, "lost")
            else:
                task.history.append((step.name, step.attempts + 1, "lost"))
                step.give_back(suspect=True)
