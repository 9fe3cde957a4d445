"""What should become of tasks (SPEC 2.1 and 5), to compare the database with.

How a task gets on is the rule that users test their templates by, `workflow.progress`. Here is what that knows nothing
of: leases, deaths of workers, the queue's order, what is kept of attempts and events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasker_actors.workflow.progress import StepProgress, TaskProgress
from tasker_actors.workflow.states import StepState
from tasker_actors.workflow.step_type import FailureStrategy, StepType

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
class ModelStep(StepProgress):
    """One step; `outcomes` is what its attempts will come to: done, again or never, after so many `slices` of work.

    `kind` is its type. `choice` is what it will say: a decision the steps that it names, a batchable step how many
    instances its worker has. `strategy` and `fates` are what a batch worker gives its instances. Before anything else
    it starts so many `children`, which come to `child_fates`, and waits for them: they are `awaited`, and `told` is how
    they ended. `place` is when it may be claimed, and so its place in the queue; `begun` the lease under which it began
    alone; `unseen` says that it was held in a death that nobody saw.
    """

    outcomes: Sequence[str] = ()
    suspect: bool = False
    token: int | None = None
    worker: int | None = None
    begun: int | None = None
    unseen: bool = False
    place: Moment = (0, 0)
    kind: str = "standard"
    choice: Any = None
    slices: int = 0
    sliced: int = 0
    strategy: str = "continue_on_failure"
    fates: Sequence[Sequence[str]] = ()
    children: int = 0
    child_fates: Sequence[Sequence[str]] = ()
    awaited: Sequence[ModelTask] = ()
    told: list[str] = field(default_factory=list)

    def next_outcome(self, attempt: int) -> str:
        """What this attempt comes to, or its next slice."""
        if self.children and not self.awaited:
            return "wait"
        return "slice" if self.slices else self.outcomes[attempt - 1]

    def lease(self, token: int, worker: int) -> None:
        """A worker takes it."""
        self.state, self.token, self.worker = StepState.IN_PROGRESS, token, worker

    def let_go(self, place: Moment) -> None:
        """Nobody has it any more; it can run from this moment on, if it can."""
        self.token, self.worker, self.place = None, None, place


@dataclass(slots=True, kw_only=True)
class ModelTask(TaskProgress[ModelStep]):
    """One task; `history` is its attempts, `events` what is in the queue of them and `letters` what was refused.

    `created` counts instances of batch workers.
    """

    task_uuid: str
    namespace: str
    max_attempts: int
    hours_between_attempts: int
    place: Moment
    priority: int = 0
    is_child: bool = False
    created: int = 0
    history: list[tuple[str, int, str]] = field(default_factory=list)
    events: list[Published] = field(default_factory=list)
    letters: list[Published] = field(default_factory=list)

    def results_for(self, step: ModelStep) -> set[str]:
        """The steps whose results it gets."""
        return {one.name for one in self.visible_to(step)}

    def let_run(self) -> list[ModelStep]:
        """Let run what waits for nothing any more, from the task's place in the queue on."""
        released = self.release()
        for step in released:
            step.let_go(self.place)
        return released

    def give_back(self, step: ModelStep, *, suspect: bool | None = None) -> None:
        """Its lease ends without a result: it has its old place in the queue."""
        step.state = StepState.ENQUEUED
        step.let_go(self.place)
        if suspect is not None:
            step.suspect = suspect

    def conclude(self, step: ModelStep, outcome: str, now: Moment) -> list[tuple[str, str]]:
        """An attempt has a result: done, again, never or lost. Returns its events: name and published or failed.

        What follows for other steps comes with `settle`, once all results of a batch are known.
        """
        if outcome == "wait":
            self.wait(step)
            step.let_go((0, 0))
            step.suspect = False
            return []
        if outcome == "slice":
            self.pause(step)
            step.let_go((0, 0))
            step.slices -= 1
            step.sliced += 1
            step.suspect = False
            return []
        if outcome == "done":
            state = StepState.COMPLETE
        elif outcome == "never" or step.attempts + 1 == self.max_attempts:
            state = StepState.ERROR
        else:
            state = StepState.WAITING_FOR_RETRY
        self.finish(step, state, omitted=self._omits(step) if outcome == "done" else ())
        step.let_go((now[0] + self.hours_between_attempts * step.attempts, now[1]))
        self.history.append((step.name, step.attempts, state))
        # What killed its worker may kill again, and should have nobody beside it.
        step.suspect = state is StepState.WAITING_FOR_RETRY and outcome == "lost"
        return [] if step.suspect else list(self._publish(step))

    def settle(self) -> None:
        """Let results have their consequences, batches their instances; what was cancelled is nobody's any more."""
        self.follow()
        for step in list(self.steps.values()):
            if step.kind == "batch_worker" and step.state is StepState.PENDING and step.definition is None:
                self._divide(step)
        self._drop_leases()

    def cancel(self) -> bool:
        """End everything that is not finished, and every lease, unless the task is over."""
        # Without arguments super() finds nothing: a class with slots is made anew by its decorator.
        cancelled = super(ModelTask, self).cancel()
        self._drop_leases()
        return cancelled

    def _drop_leases(self) -> None:
        for step in self.steps.values():
            if step.state is StepState.CANCELLED:
                step.let_go(step.place)

    def _omits(self, step: ModelStep) -> list[str]:
        """The steps that a decision does not choose; what a convergence needs is not for it to choose."""
        if step.kind != "decision":
            return []
        below = [one for one in self.undecided.values() if step.name in one.needs]
        return [one.name for one in below if one.kind != "deferred_convergence" and one.name not in step.choice]

    def _divide(self, worker: ModelStep) -> None:
        """Put instances in the place of a batch worker; without any it runs once itself, with nothing to do."""
        batchable = next(self.steps[need] for need in worker.needs if self.steps[need].kind == "batchable")
        instances = []
        for number in range(batchable.choice):
            name, fate = f"{worker.name}_{number + 1:03d}", worker.fates[number % len(worker.fates)]
            one = ModelStep(name, outcomes=fate, kind="batch_worker", slices=worker.slices, place=self.place)
            one.children, one.child_fates = worker.children, worker.child_fates
            one.state = StepState.ENQUEUED
            instances.append(one)
        if instances:
            self.divide(worker.name, instances)
            self.created += len(instances)

    def _publish(self, step: ModelStep) -> Iterator[tuple[str, str]]:
        for name, (mode, condition) in EVENTS.items():
            if mode == "fast" or step.state not in PUBLISHED_WHEN[condition]:
                continue
            kept, counted = (self.letters, "failed") if name == REFUSED else (self.events, "published")
            kept.append((step.name, step.attempts, name))
            yield name, counted


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
        steps: Mapping[str, ModelStep],
        *,
        namespace: str,
        priority: int,
        max_attempts: int,
        hours_between_attempts: int,
        is_child: bool = False,
    ) -> ModelTask:
        """Make a new task: what needs nothing can run, as early as if the task were `priority` hours older.

        A child is made by the statement before, which is a commit.
        """
        hours, statement = self.now if is_child else self.tick()
        workers = [step for step in steps.values() if step.kind == "batch_worker"]
        task = ModelTask(
            dict(steps),
            kinds={name: StepType(step.kind) for name, step in steps.items()},
            on_failure={step.name: FailureStrategy(step.strategy) for step in workers},
            task_uuid=task_uuid,
            namespace=namespace,
            max_attempts=max_attempts,
            hours_between_attempts=hours_between_attempts,
            place=(hours - priority, statement),
            priority=priority,
            is_child=is_child,
        )
        task.let_run()
        self.tasks[task_uuid] = task
        return task

    def follow_children(self) -> None:
        """Let go on what waits for nothing any more, and cancel what cancelled steps have waited for."""
        changed = True
        while changed:
            changed = False
            for task, step in list(self.steps()):
                if step.waits and step.state is StepState.CANCELLED:
                    task.wake(step)
                    changed = True
                    for child in step.awaited:
                        child.cancel()
                elif step.waits and all(child.is_over for child in step.awaited):
                    step.told = [child.status.value for child in step.awaited]
                    task.wake(step)
                    task.let_run()
                    changed = True

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

    def let_retries_in(self, namespaces: Collection[str]) -> None:
        """A claim gives retries that are due the places of their tasks."""
        for task, step in self.steps():
            if task.namespace in namespaces and step.state == "waiting_for_retry" and step.place <= self.now:
                step.state, step.place = StepState.ENQUEUED, task.place

    def leases(self, worker: int) -> dict[int, tuple[ModelTask, ModelStep]]:
        """What a worker has leased, by token."""
        return {step.token: (task, step) for task, step in self.steps() if step.worker == worker and step.token}

    def finish(self, worker_id: int, task: ModelTask, step: ModelStep, outcome: str) -> None:
        """An attempt has a result, which this worker commits, or somebody for it."""
        self.count(worker_id, task.conclude(step, outcome, self.now))

    def count(self, worker_id: int, events: Iterable[tuple[str, str]]) -> None:
        """A worker has committed events."""
        self.counts.update((worker_id, name, counted) for name, counted in events)

    def take_created(self) -> int:
        """How many instances of batch workers were made since the last time."""
        created = sum(task.created for task in self.tasks.values())
        for task in self.tasks.values():
            task.created = 0
        return created

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
        for task, _ in leases.values():
            task.settle()
