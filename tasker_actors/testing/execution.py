"""Runs a task's attempts one by one: what a claim, an executor and a commit do, without those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import orjson

from tasker_actors.events.subscriber import SubscriberSpec
from tasker_actors.messages import StepsCommitted
from tasker_actors.steps.lease import LeasedStep, StepPlan, TaskFacts
from tasker_actors.testing.attempt import Attempt, AttemptRunner
from tasker_actors.testing.hand_over import HandOver
from tasker_actors.testing.kit import Kit
from tasker_actors.testing.loop import HandlerRunner
from tasker_actors.testing.records import AttemptRun, StepRun
from tasker_actors.workflow.dag import ancestors
from tasker_actors.workflow.progress import TaskProgress
from tasker_actors.workflow.states import DONE_STEP_STATES, StepState
from tasker_actors.workflow.template import TaskTemplate


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
        self.facts = facts
        self.progress = TaskProgress(
            {name: StepRun(name, needs[name], step_uuid=kit.ids.uuid7()) for name in plans}  # in the order of the plan
        )
        self.attempts: list[AttemptRun] = []
        self.commits: list[StepsCommitted] = []
        self.hand_over = HandOver(subscribers)
        self._kit = kit
        self._plans = plans
        self._above = ancestors(needs)
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
        """Choose as a claim does: what may run first, and of those the first in the plan's order."""
        waiting = (StepState.ENQUEUED, StepState.WAITING_FOR_RETRY)
        steps = [step for step in self.progress.steps.values() if step.state in waiting]
        return min(steps, key=lambda step: step.runs_at_s, default=None)

    def _lease(self, step: StepRun) -> LeasedStep:
        results = orjson.dumps({name: self.progress.steps[name].result for name in self._done(self._above[step.name])})
        return LeasedStep(
            token=len(self.attempts) + 1,
            task=self.facts,
            plan=self._plans[step.name],
            step_uuid=step.step_uuid,
            attempt=step.attempts + 1,
            suspect=False,
            waited_ms=0.0,
            dependency_results=orjson.loads(results),
            dependency_bytes=len(results),
            trace=self.facts.trace.with_span(self._kit.ids.hex(16)),
            leased_at=self._kit.clock.elapsed_s,
        )

    def _done(self, names: Iterable[str]) -> list[str]:
        """Leave those of a step's ancestors whose results it sees, in the plan's order."""
        wanted = frozenset(names)
        return [name for name, step in self.progress.steps.items() if name in wanted and step.state in DONE_STEP_STATES]

    def _commit(self, step: StepRun, attempt: Attempt) -> None:
        now = self._kit.clock.elapsed_s
        self.attempts.append(attempt.run)
        step.attempt_runs.append(attempt.run)
        self.progress.finish(step, attempt.run.state)
        step.runs_at_s = now + attempt.run.delay_ms / 1000
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

    def _release(self) -> int:
        """Let run what waits for nothing any more; it has the task's place in the queue, before any later retry."""
        released = self.progress.release()
        for step in released:
            step.runs_at_s = self._created_at
        return len(released)
