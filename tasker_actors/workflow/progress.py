"""How a task gets on: what a step's end releases, what a failure blocks, and when the task is over (SPEC 5).

The commit does the same in SQL, for many tasks at once (`tasker.apply_results_v1`). This is the rule for one task in
plain Python: the kit for tests runs by it, and property tests hold what the database does against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tasker_actors.workflow.dag import Graph, descendants
from tasker_actors.workflow.states import DONE_STEP_STATES, TERMINAL_STEP_STATES, StepState, TaskState


@dataclass(slots=True)
class StepProgress:
    """Where one step is; `attempts` counts those that had a result, or were lost for good."""

    name: str
    needs: tuple[str, ...] = ()
    state: StepState = StepState.PENDING
    attempts: int = 0
    blocked: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it runs, or may still run."""
        return self.state not in TERMINAL_STEP_STATES and not self.blocked


_Step = TypeVar("_Step", bound=StepProgress)


@dataclass(slots=True)
class TaskProgress(Generic[_Step]):
    """A task's steps by name, in the order of its template; `touched` once an attempt of any had a result.

    Made with all steps pending; call `release` for the first ones to run.
    """

    steps: dict[str, _Step]
    cancelled: bool = False
    touched: bool = False
    _below: Mapping[str, frozenset[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._below = descendants(self.graph)

    @property
    def graph(self) -> Graph:
        """What each step depends on."""
        return {name: step.needs for name, step in self.steps.items()}

    @property
    def status(self) -> TaskState:
        """The state that the task is stored with."""
        if self.cancelled:
            return TaskState.CANCELLED
        if self.open_steps == 0:
            return TaskState.ERROR if self.failed_steps else TaskState.COMPLETE
        return TaskState.IN_PROGRESS if self.touched else TaskState.PENDING

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs or may still run."""
        return self.cancelled or self.open_steps == 0

    @property
    def open_steps(self) -> int:
        """How many steps run, or may still run; a task that was cancelled has none."""
        return sum(step.is_open for step in self.steps.values())

    @property
    def failed_steps(self) -> int:
        """How many steps failed for good."""
        return sum(step.state is StepState.ERROR for step in self.steps.values())

    def release(self) -> list[_Step]:
        """Let run what waits for nothing any more, and return it in the order of the template."""
        released = [] if self.cancelled else list(self._releasable())
        for step in released:
            step.state = StepState.ENQUEUED
        return released

    def finish(self, step: _Step, state: StepState) -> None:
        """Take in what an attempt came to: complete, waiting_for_retry or error. `release` lets run what follows.

        A failure for good blocks everything below it that has not been released.
        """
        step.attempts += 1
        step.state = state
        self.touched = True
        if state is StepState.ERROR:
            for name in self._below[step.name]:
                self.steps[name].blocked = True

    def cancel(self) -> bool:
        """End everything that has not ended; tells whether there was anything, else nothing changes."""
        if self.is_over:
            return False
        self.cancelled = True
        for step in self.steps.values():
            if step.state not in TERMINAL_STEP_STATES:
                step.state = StepState.CANCELLED
        return True

    def _releasable(self) -> Iterator[_Step]:
        for step in self.steps.values():
            waits = not all(self.steps[needed].state in DONE_STEP_STATES for needed in step.needs)
            if step.state is StepState.PENDING and not step.blocked and not waits:
                yield step
