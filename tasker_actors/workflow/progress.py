"""How a task gets on: what a step's end releases, what a failure blocks, which steps come to be, when it is over.

The commit does the same in SQL, for many tasks at once (`tasker.apply_results_v1`). This is the rule for one task in
plain Python: the kit for tests runs by it, and property tests hold what the database does against it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tasker_actors.workflow.conditional import Branch, Fate, initial_fates, settle
from tasker_actors.workflow.dag import ancestors, topological_order
from tasker_actors.workflow.states import DONE_STEP_STATES, TERMINAL_STEP_STATES, StepState, TaskState
from tasker_actors.workflow.step_type import FailureStrategy, StepType

_FAILED = (StepState.ERROR, StepState.CANCELLED)


@dataclass(slots=True)
class StepProgress:
    """Where one step is; `attempts` counts those that had a result, or were lost for good.

    `definition` is the template's step that an instance of a batch worker is one of, None for all others. `waits` while
    it is pending because it waits for tasks.
    """

    name: str
    needs: tuple[str, ...] = ()
    state: StepState = StepState.PENDING
    attempts: int = 0
    blocked: bool = False
    definition: str | None = None
    waits: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it runs, or may still run."""
        return self.state not in TERMINAL_STEP_STATES and not self.blocked


_Step = TypeVar("_Step", bound=StepProgress)


@dataclass(slots=True)
class TaskProgress(Generic[_Step]):
    """A task's steps by name, in the order of its template, instances of batch workers at the end.

    Made with all steps of the template, pending; those of which a decision or a batch must first say whether they exist
    are taken out, and come back when it does. `kinds` are the types of steps that are not standard, `on_failure` the
    strategies of batch workers. Call `release` for the first ones to run. `touched` once an attempt of any ended.

    A commit may have several results: `finish` each, then `follow`, `divide` what batches there are, and `release`.
    """

    steps: dict[str, _Step]
    kinds: Mapping[str, StepType] = field(default_factory=dict)
    on_failure: Mapping[str, FailureStrategy] = field(default_factory=dict)
    cancelled: bool = False
    touched: bool = False
    _branches: dict[str, Branch] = field(init=False, repr=False)
    _above: Mapping[str, frozenset[str]] = field(init=False, repr=False)
    _omitted: set[str] = field(init=False, repr=False, default_factory=set)
    undecided: dict[str, _Step] = field(init=False)

    def __post_init__(self) -> None:
        graph = {name: step.needs for name, step in self.steps.items()}
        kind = StepType.STANDARD
        self._branches = {name: Branch(self.kinds.get(name, kind), graph[name]) for name in topological_order(graph)}
        self._above = ancestors(graph)
        fates = initial_fates(self._branches)
        self.undecided = {name: step for name, step in self.steps.items() if fates[name] is Fate.UNDECIDED}
        self.steps = {name: step for name, step in self.steps.items() if fates[name] is Fate.EXISTS}

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
        """How many steps run or may still run, those that may come to be included."""
        return sum(step.is_open for step in (*self.steps.values(), *self.undecided.values()))

    @property
    def failed_steps(self) -> int:
        """How many steps failed for good, without those whose failure their batch tolerates."""
        return sum(step.state is StepState.ERROR and not self._tolerates(step) for step in self.steps.values())

    def visible_to(self, step: _Step) -> list[_Step]:
        """Return the steps whose results a step sees: all above it that are done.

        Of a batch it sees the instances only where it depends on their worker directly.
        """
        own = step.definition or step.name
        return [
            other
            for other in self.steps.values()
            if other.state in DONE_STEP_STATES
            and (other.name in self._above[own] if other.definition is None else other.definition in step.needs)
        ]

    def release(self) -> list[_Step]:
        """Let run what waits for nothing any more, and return it in order."""
        released = [] if self.cancelled else list(self._releasable())
        for step in released:
            step.state = StepState.ENQUEUED
        return released

    def finish(self, step: _Step, state: StepState, *, omitted: Collection[str] = ()) -> None:
        """Take in what an attempt came to: complete, waiting_for_retry or error.

        `omitted` are the steps that a decision or a batch has not chosen.
        """
        step.attempts += 1
        step.state = state
        self.touched = True
        self._omitted.update(omitted)

    def follow(self) -> None:
        """Settle what results mean for other steps: which exist, which are cancelled, which can never run.

        A failure for good blocks what waits for its step, unless its batch tolerates it; where its batch is to fail
        fast, the other instances are cancelled.
        """
        if self.undecided:
            self._settle()
        for step in list(self.steps.values()):
            fails_fast = self.on_failure.get(step.definition or "") is FailureStrategy.FAIL_FAST
            if fails_fast and step.state is StepState.ERROR:
                self._cancel_others(step)
        self._mark_blocked()

    def pause(self, step: _Step) -> None:
        """Take in that a step ended a slice of its work: it goes on at once, in the same attempt."""
        step.state = StepState.PENDING
        self.touched = True

    def wait(self, step: _Step) -> None:
        """Take in that a step waits for tasks before it goes on, in the same attempt."""
        self.pause(step)
        step.waits = True

    def wake(self, step: _Step) -> None:
        """Let a step go on whose tasks are over, with the next `release`; one that is not pending waits no more."""
        step.waits = False

    def last_steps(self) -> list[_Step]:
        """Return the steps that exist and that none of those which exist depends on."""
        inner = {needed for step in self.steps.values() for needed in step.needs}
        return [step for step in self.steps.values() if (step.definition or step.name) not in inner]

    def divide(self, worker: str, instances: Sequence[_Step]) -> None:
        """Put the instances of a batch in the place of its worker; nothing happens where the worker does not exist."""
        own = self.steps.get(worker)
        if own is not None and own.state is StepState.PENDING:
            del self.steps[worker]
            for instance in instances:
                instance.needs, instance.definition = own.needs, worker
                self.steps[instance.name] = instance

    def cancel(self) -> bool:
        """End everything that has not ended; tells whether there was anything, else nothing changes."""
        if self.is_over:
            return False
        self.cancelled = True
        self.undecided.clear()
        for step in self.steps.values():
            if step.state not in TERMINAL_STEP_STATES:
                step.state = StepState.CANCELLED
        return True

    def _tolerates(self, step: _Step) -> bool:
        return self.on_failure.get(step.definition or step.name) is FailureStrategy.CONTINUE_ON_FAILURE

    def _rows(self, name: str) -> list[_Step]:
        """Return what stands for a step of the template: itself, the instances of a batch, or nothing."""
        own = self.steps.get(name)
        return [own] if own is not None else [step for step in self.steps.values() if step.definition == name]

    def _releasable(self) -> Iterator[_Step]:
        for step in self.steps.values():
            waits = step.waits or any(self._is_awaited(needed) for needed in step.needs)
            if step.state is StepState.PENDING and not step.blocked and not waits:
                yield step

    def _is_awaited(self, name: str) -> bool:
        return name in self.undecided or not all(self._is_done(step) for step in self._rows(name))

    def _is_done(self, step: _Step) -> bool:
        return step.state in DONE_STEP_STATES or (step.state is StepState.ERROR and self._tolerates(step))

    def _settle(self) -> None:
        """Let undecided steps exist or be gone, as far as it can be known."""
        fates = {name: Fate.EXISTS if self._rows(name) else Fate.GONE for name in self._branches}
        fates |= dict.fromkeys(self.undecided, Fate.UNDECIDED)
        complete = [name for name in self._branches if all(map(self._is_done, self._rows(name))) and self._rows(name)]
        settled = settle(self._branches, fates, omitted=self._omitted, complete=complete)
        chosen = {name: step for name, step in self.undecided.items() if settled[name] is Fate.EXISTS}
        self.undecided = {name: s for name, s in self.undecided.items() if settled[name] is Fate.UNDECIDED}
        present = {**self.steps, **chosen}
        planned = [name for name in self._branches if name in present]
        self.steps = {name: present[name] for name in (*planned, *present)}

    def _mark_blocked(self) -> None:
        """Say of each step that waits whether anything it needs has failed, or waits for such a thing."""
        bars: dict[str, bool] = {}
        for name, branch in self._branches.items():
            rows = self._rows(name)
            waiting = [step for step in rows if step.state is StepState.PENDING]
            waiting += [self.undecided[name]] if name in self.undecided else []
            barred = any(bars[needed] for needed in branch.dependencies)
            for step in waiting:
                step.blocked = barred
            failed = any(step.state in _FAILED and not self._tolerates(step) for step in rows)
            bars[name] = failed or (barred and bool(waiting))

    def _cancel_others(self, failed: _Step) -> None:
        for step in self._rows(failed.definition or failed.name):
            if step.state not in TERMINAL_STEP_STATES:
                step.state = StepState.CANCELLED
