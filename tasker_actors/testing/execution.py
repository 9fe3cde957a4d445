"""Runs a task's attempts one by one: what a claim, an executor and a commit do, without those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from tasker_actors.events.subscriber import SubscriberSpec
from tasker_actors.messages import StepsCommitted
from tasker_actors.steps.lease import LeasedStep, StepPlan, TaskFacts
from tasker_actors.steps.task_starter import StartedTask
from tasker_actors.testing.attempt import Attempt, AttemptRunner
from tasker_actors.testing.children import children_of
from tasker_actors.testing.errors import KitError
from tasker_actors.testing.hand_over import HandOver
from tasker_actors.testing.inputs import leased
from tasker_actors.testing.kit import Kit
from tasker_actors.testing.loop import HandlerRunner
from tasker_actors.testing.records import AttemptRun, StepRun
from tasker_actors.workflow.checkpoint import YIELDED
from tasker_actors.workflow.progress import TaskProgress
from tasker_actors.workflow.states import StepState
from tasker_actors.workflow.template import TaskTemplate

MAX_SLICES: Final = 10_000
"""A step that ends more slices of its work than this in a test is taken for one that never ends."""


class Creator(Protocol):
    """Creates the tasks that steps start."""

    def create(self, started: StartedTask, parent: Execution) -> Execution:
        """Create one; nothing of it runs yet."""


class Execution:
    """A task on its way. How it gets on is decided by `workflow.progress`, what an attempt comes to by `steps`."""

    def __init__(
        self,
        template: TaskTemplate,
        plans: Mapping[str, StepPlan],
        subscribers: Sequence[SubscriberSpec],
        facts: TaskFacts,
        kit: Kit,
        *,
        workflows: Creator,
        step_uuids: Sequence[str] | None = None,
        parent: Execution | None = None,
    ) -> None:
        needs = {step.name: step.dependencies for step in template.steps}
        strategies = {name: plan.dynamic.on_failure for name, plan in plans.items()}
        uuids = dict(zip(plans, step_uuids or [kit.ids.uuid7() for _ in plans], strict=True))
        self.facts = facts
        self.template = template
        self.children: list[Execution] = []
        self.progress = TaskProgress(
            {name: StepRun(name, needs[name], step_uuid=uuids[name]) for name in plans},  # in the order of the plan
            kinds={name: plan.dynamic.kind for name, plan in plans.items()},
            on_failure={name: strategy for name, strategy in strategies.items() if strategy is not None},
        )
        self.attempts: list[AttemptRun] = []
        self.commits: list[StepsCommitted] = []
        self.hand_over = HandOver(subscribers)
        self._kit = kit
        self._workflows = workflows
        self._parent = parent
        self._plans = plans
        self._names = {plan.position: name for name, plan in plans.items()}
        self._created_at = kit.clock.elapsed_s
        self._release()

    def family(self) -> Iterator[Execution]:
        """Give this task and those that its steps have started, and theirs, in the order in which they were created."""
        yield self
        for child in self.children:
            yield from child.family()

    def run_next(self, loop: HandlerRunner) -> AttemptRun | None:
        """Run the next attempt of the family, moving the clock to its time; None if nothing is left.

        Chosen as a claim does: what may run first; what was just released comes before any retry.
        """
        waiting = [(execution, step) for execution in self.family() if (step := execution._next()) is not None]  # noqa: SLF001 - as below
        if not waiting:
            return None
        execution, step = min(waiting, key=lambda one: (one[1].runs_at_s, one[1].turn))
        return execution._run(step, loop)  # noqa: SLF001 - of the same class

    def cancel(self) -> bool:
        """End all that has not ended, and the tasks that its steps wait for; tells whether there was anything."""
        if not self.progress.cancel():
            return False
        self._let_go()
        self._tell_parent()
        return True

    def _run(self, step: StepRun, loop: HandlerRunner) -> AttemptRun:
        self._kit.clock.advance_to(step.runs_at_s)
        step.state = StepState.IN_PROGRESS
        attempt = AttemptRunner(self._kit, loop).run(self._lease(step))
        self._commit(step, attempt)
        self.hand_over.committed(attempt.finished, loop)
        return attempt.run

    def _next(self) -> StepRun | None:
        waiting = (StepState.ENQUEUED, StepState.WAITING_FOR_RETRY)
        steps = [step for step in self.progress.steps.values() if step.state in waiting]
        return min(steps, key=lambda step: (step.runs_at_s, step.turn), default=None)

    def _lease(self, step: StepRun) -> LeasedStep:
        plan = self._plans[step.definition or step.name]
        results = {other.name: other.result for other in self.progress.visible_to(step)}
        return leased(
            self._kit,
            plan,
            self.facts,
            results,
            token=len(self.attempts) + 1,
            step_uuid=step.step_uuid,
            attempt=step.attempts + 1,
            name=step.name,
            inputs=step.inputs,
            checkpoint=step.checkpoint,
            children=step.children,
        )

    def _commit(self, step: StepRun, attempt: Attempt) -> None:
        now = self._kit.clock.elapsed_s
        self.attempts.append(attempt.run)
        step.attempt_runs.append(attempt.run)
        self.children += [self._workflows.create(started, self) for started in attempt.finished.started]
        self._take_in(step, attempt)
        self._let_go()
        step.runs_at_s, step.turn = now + attempt.run.delay_ms / 1000, len(self.attempts)
        released = self._release()
        self.commits.append(
            StepsCommitted(
                won=(attempt.item,),
                lost=(),
                continued=(),
                released=released,
                finished_tasks={self.facts.task_uuid: self.progress.status} if self.progress.is_over else {},
                sent_at=now,
                committed_at=now,
            )
        )
        self._tell_parent()

    def _take_in(self, step: StepRun, attempt: Attempt) -> None:
        """Let the task get on by an attempt's outcome, and by what it says about other steps."""
        follows = {key: orjson.loads(document) for key, document in attempt.finished.follows.items()}
        if attempt.run.state == YIELDED:
            step.checkpoint = follows.get("checkpoint", step.checkpoint)
            step.slices += 1
            if step.slices > MAX_SLICES:
                raise KitError(f"step {step.name!r} has ended {MAX_SLICES} slices of its work, and goes on")
            self._pause(step, attempt.finished.awaited)
            return
        omitted = [self._names[position] for position in follows.get("omits", ())]
        self.progress.finish(step, StepState(attempt.run.state), omitted=omitted)
        self.progress.follow()
        self._divide(follows.get("batch", {}))

    def _pause(self, step: StepRun, awaited: Sequence[str]) -> None:
        """Let a step go on in its next slice, or when all of its tasks are over."""
        children = {child.facts.task_uuid: child for child in self.children}
        for task_uuid in awaited:
            if task_uuid not in children:
                raise KitError(f"step {step.name!r} waits for task {task_uuid}, which its own task has not started")
        if awaited:
            step.awaited = [children[task_uuid] for task_uuid in awaited]
            self.progress.wait(step)
            self._wake()
        else:
            self.progress.pause(step)

    def _wake(self) -> None:
        for step in self.progress.steps.values():
            if step.waits and all(child.progress.is_over for child in step.awaited):
                step.children = children_of(step.awaited)
                self.progress.wake(step)

    def _let_go(self) -> None:
        """Cancel the tasks that cancelled steps have waited for."""
        for step in self.progress.steps.values():
            if step.waits and step.state is not StepState.PENDING:
                self.progress.wake(step)
                for child in step.awaited:
                    child.cancel()

    def _tell_parent(self) -> None:
        if self.progress.is_over and self._parent is not None:
            self._parent._wake()  # noqa: SLF001 - of the same class
            self._parent._release()  # noqa: SLF001 - as above

    def _divide(self, batch: Mapping[str, Any]) -> None:
        """Make the instances of a batch, or give the worker's own row what says that there is nothing to do."""
        for placeholder in batch.get("placeholders", ()):
            row = self.progress.steps.get(self._names[placeholder["position"]])
            if row is not None:
                row.inputs = placeholder["inputs"]
        if "instances" in batch:
            instances = [
                StepRun(one["name"], step_uuid=one["step_uuid"], inputs=one["inputs"]) for one in batch["instances"]
            ]
            self.progress.divide(self._names[batch["worker"]], instances)

    def _release(self) -> int:
        """Let run what waits for nothing any more; it has the task's place in the queue, before any later retry."""
        released = self.progress.release()
        for step in released:
            step.runs_at_s, step.turn = self._created_at, 0
        return len(released)
