"""Runs a task's attempts one by one: what a claim, an executor and a commit do, without those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from tasker_actors.events.subscriber import SubscriberSpec
from tasker_actors.messages import StepsCommitted
from tasker_actors.steps.lease import LeasedStep, StepPlan, TaskFacts
from tasker_actors.testing.attempt import Attempt, AttemptRunner
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


class Execution:
    """A task on its way. How it gets on is decided by `workflow.progress`, what an attempt comes to by `steps`."""

    def __init__(
        self,
        template: TaskTemplate,
        plans: Mapping[str, StepPlan],
        subscribers: Sequence[SubscriberSpec],
        facts: TaskFacts,
        kit: Kit,
    ) -> None:
        needs = {step.name: step.dependencies for step in template.steps}
        strategies = {name: plan.dynamic.on_failure for name, plan in plans.items()}
        self.facts = facts
        self.progress = TaskProgress(
            {name: StepRun(name, needs[name], step_uuid=kit.ids.uuid7()) for name in plans},  # in the order of the plan
            kinds={name: plan.dynamic.kind for name, plan in plans.items()},
            on_failure={name: strategy for name, strategy in strategies.items() if strategy is not None},
        )
        self.attempts: list[AttemptRun] = []
        self.commits: list[StepsCommitted] = []
        self.hand_over = HandOver(subscribers)
        self._kit = kit
        self._plans = plans
        self._names = {plan.position: name for name, plan in plans.items()}
        self._created_at = kit.clock.elapsed_s
        self._release()

    def run_next(self, loop: HandlerRunner) -> AttemptRun | None:
        """Run the next attempt, moving the clock to its time where it waits for one; None if nothing is left."""
        step = self._next()
        if step is None:
            return None
        self._kit.clock.advance_to(step.runs_at_s)
        step.state = StepState.IN_PROGRESS
        attempt = AttemptRunner(self._kit, loop).run(self._lease(step))
        self._commit(step, attempt)
        self.hand_over.committed(attempt.finished, loop)
        return attempt.run

    def _next(self) -> StepRun | None:
        """Choose as a claim does: what may run first; what was just released comes before any retry."""
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
        )

    def _commit(self, step: StepRun, attempt: Attempt) -> None:
        now = self._kit.clock.elapsed_s
        self.attempts.append(attempt.run)
        step.attempt_runs.append(attempt.run)
        self._take_in(step, attempt)
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

    def _take_in(self, step: StepRun, attempt: Attempt) -> None:
        """Let the task get on by an attempt's outcome, and by what it says about other steps."""
        follows = {key: orjson.loads(document) for key, document in attempt.finished.follows.items()}
        if attempt.run.state == YIELDED:
            step.checkpoint = follows["checkpoint"]
            step.slices += 1
            if step.slices > MAX_SLICES:
                raise KitError(f"step {step.name!r} has ended {MAX_SLICES} slices of its work, and goes on")
            self.progress.pause(step)
            return
        omitted = [self._names[position] for position in follows.get("omits", ())]
        self.progress.finish(step, StepState(attempt.run.state), omitted=omitted)
        self.progress.follow()
        self._divide(follows.get("batch", {}))

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
