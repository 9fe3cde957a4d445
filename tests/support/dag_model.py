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


TERMINAL = ("complete", "error", "cancelled")


@dataclass(slots=True)
class ModelStep:
    """One step; `outcomes` is what its attempts will come to: done, again or never, after so many `slices` of work.

    `kind` is its type. `choice` is what it will say: a decision the steps that it names, a batchable step how many
    instances its worker has. `of` is the batch worker that an instance is one of; a failure of it that `is_tolerated`
    stops nothing, and with `fails_fast` it ends the other instances. `strategy` and `fates` are what a batch worker
    gives its instances. `place` is when it may be claimed, and so its place in the queue; `begun` the lease under
    which it began alone; `unseen` says that it was held in a death that nobody saw.
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
    kind: str = "standard"
    choice: Any = None
    slices: int = 0
    sliced: int = 0
    of: str | None = None
    strategy: str = "continue_on_failure"
    fates: Sequence[Sequence[str]] = ()

    @property
    def is_open(self) -> bool:
        """Whether it can still run."""
        return self.state not in TERMINAL and not self.blocked

    @property
    def is_tolerated(self) -> bool:
        """Whether it failed, and nobody minds."""
        return self.state == "error" and self.kind == "batch_worker" and self.strategy == "continue_on_failure"

    @property
    def is_done(self) -> bool:
        """Whether what waits for it need not wait any more."""
        return self.state == "complete" or self.is_tolerated

    def next_outcome(self, attempt: int) -> str:
        """What this attempt comes to, or its next slice."""
        return "slice" if self.slices else self.outcomes[attempt - 1]

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
    gone: set[str] = field(default_factory=set)
    created: int = 0
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
        return sum(step.state == "error" and not step.is_tolerated for step in self.steps.values())

    def rows(self, name: str) -> list[ModelStep]:
        """What stands for a step of the template: itself, or the instances of a batch worker; nothing if it is gone."""
        return [step for step in self.steps.values() if name in (step.of or step.name,)]

    def results_for(self, step: ModelStep) -> set[str]:
        """The steps whose results it gets: all above it, and instances of the batch workers that it needs itself."""
        above = set(step.needs)
        while (
            more := {need for name in above if name in self.steps for need in self.steps[name].needs}
            | {need for one in self.steps.values() if one.of in above for need in one.needs} - above
        ):
            if more <= above:
                break
            above |= more
        return {
            one.name
            for one in self.steps.values()
            if one.state == "complete" and (one.of in step.needs if one.of else one.name in above)
        }

    def release(self) -> list[ModelStep]:
        """Let run what waits for nothing any more."""
        released = [
            step
            for step in self.steps.values()
            if step.state == "pending"
            and not step.blocked
            and all(row.is_done for need in step.needs for row in self.rows(need))
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
        """An attempt has a result: done, again, never or lost. Returns its events: name and published or failed.

        What follows for other steps comes with `follow`, once all results of a batch are known.
        """
        self.touched = True
        if outcome == "slice":
            step.wait("pending", (0, 0))
            step.slices -= 1
            step.sliced += 1
            step.suspect = False
            return []
        step.attempts += 1
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
        if step.suspect:
            return []
        return list(self._publish(step, state))

    def cancel(self) -> None:
        """End everything that is not finished, unless the task is."""
        if self.status not in ("pending", "in_progress"):
            return
        self.cancelled = True
        for step in list(self.steps.values()):
            if step.state == "undecided":
                del self.steps[step.name]
            elif step.state not in TERMINAL:
                step.state, step.token, step.worker = "cancelled", None, None

    def _publish(self, step: ModelStep, state: str) -> Iterator[tuple[str, str]]:
        for name, (mode, condition) in EVENTS.items():
            if mode == "fast" or state not in PUBLISHED_WHEN[condition]:
                continue
            kept, counted = (self.letters, "failed") if name == REFUSED else (self.events, "published")
            kept.append((step.name, step.attempts, name))
            yield name, counted

    def follow(self) -> None:
        """Settle what results mean for other steps: who exists, who is one of a batch, who can never run."""
        while any(self._settle(step) for step in list(self.steps.values()) if step.state == "undecided"):
            pass
        for step in list(self.steps.values()):
            if step.kind == "batch_worker" and step.state == "pending" and step.of is None and not step.sliced:
                self._divide(step)
        for step in list(self.steps.values()):
            if step.of and step.state == "error" and step.strategy == "fail_fast":
                for other in self.rows(step.of):
                    if other.state not in TERMINAL:
                        other.state, other.token, other.worker = "cancelled", None, None
        for _ in self.steps:  # as often as the longest way is long
            for step in self.steps.values():
                if step.state in ("pending", "undecided"):
                    step.blocked = any(self._bars(row) for need in step.needs for row in self.rows(need))

    def _settle(self, step: ModelStep) -> bool:
        """Find out whether an undecided step exists; False while nobody knows."""
        known = {need: self.rows(need) for need in step.needs}
        exists = {need for need, rows in known.items() if rows and rows[0].state != "undecided"}
        if step.kind == "deferred_convergence":
            is_gone, is_there = set(step.needs) <= self.gone, bool(exists)
        else:
            asked = [self.steps[need] for need in exists if self._decides(need, step)]
            said_no = any(one.state == "complete" and step.name not in self._named(one) for one in asked)
            is_gone = said_no or bool(set(step.needs) & self.gone)
            is_there = exists == set(step.needs) and all(one.state == "complete" for one in asked)
        if is_gone:
            del self.steps[step.name]
            self.gone.add(step.name)
        elif is_there:
            step.state = "pending"
        return is_gone or is_there

    def _decides(self, need: str, step: ModelStep) -> bool:
        kind = self.rows(need)[0].kind
        return kind == "decision" or (kind, step.kind) == ("batchable", "batch_worker")

    def _named(self, asked: ModelStep) -> Collection[str]:
        if asked.kind == "decision":
            return list(asked.choice)
        return [name for name, step in self.steps.items() if asked.name in step.needs]

    def _divide(self, worker: ModelStep) -> None:
        """Put instances in the place of a batch worker; without any it runs once itself, with nothing to do."""
        divides = next(self.steps[need] for need in worker.needs if self.steps[need].kind == "batchable")
        if not divides.choice:
            return
        del self.steps[worker.name]
        for number in range(divides.choice):
            name = f"{worker.name}_{number + 1:03d}"
            fate = worker.fates[number % len(worker.fates)]
            one = ModelStep(name, worker.needs, fate, kind="batch_worker", of=worker.name, strategy=worker.strategy)
            one.slices = worker.slices
            one.wait("enqueued", self.place)
            self.steps[name] = one
            self.created += 1

    @staticmethod
    def _bars(step: ModelStep) -> bool:
        return (step.state in ("error", "cancelled") and not step.is_tolerated) or step.blocked


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
    ) -> None:
        """Make a new task: what needs nothing can run, as early as if the task were `priority` hours older."""
        hours, statement = self.tick()
        place = (hours - priority, statement)
        task = ModelTask(task_uuid, namespace, dict(steps), max_attempts, hours_between_attempts, place)
        for step in task.steps.values():
            step.state = "undecided"
        task.follow()
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
            task.follow()
