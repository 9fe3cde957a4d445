"""A task that a test runs: attempt by attempt, or to its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tasker_actors.messages import StepsCommitted
from tasker_actors.steps.lease import LeasedStep, StepPlan, TaskFacts
from tasker_actors.telemetry.span_ids import task_span_id
from tasker_actors.telemetry.trace_context import SAMPLED, TraceContext
from tasker_actors.testing.attempt import Attempt, AttemptRunner
from tasker_actors.testing.collected import Code
from tasker_actors.testing.errors import KitError
from tasker_actors.testing.hand_over import HandOver, HookFailure
from tasker_actors.testing.kit import Kit
from tasker_actors.testing.logs import LogEntry
from tasker_actors.testing.loop import HandlerRunner
from tasker_actors.testing.records import AttemptRun, DeadLetter, Delivery, PublishedEvent
from tasker_actors.testing.scripted import Outcomes
from tasker_actors.testing.spans import Span, span_trees
from tasker_actors.workflow.dag import ancestors
from tasker_actors.workflow.nearest import hint
from tasker_actors.workflow.outcome import StepFailure
from tasker_actors.workflow.progress import StepProgress, TaskProgress
from tasker_actors.workflow.states import DONE_STEP_STATES, StepState, TaskState
from tasker_actors.workflow.summary import TaskSummary, summarize
from tasker_actors.workflow.template import TaskTemplate


@dataclass(slots=True)
class StepRun(StepProgress):
    """One step of a task: where it is, and its attempts so far. `runs_at_s` is when it may run, on the clock."""

    step_uuid: str = ""
    runs_at_s: float = 0.0
    attempt_runs: list[AttemptRun] = field(default_factory=list)

    @property
    def result(self) -> Any:
        """Its result as successors see it; None if it has none."""
        return self.attempt_runs[-1].result if self.attempt_runs else None

    @property
    def failure(self) -> StepFailure | None:
        """Why its last attempt failed; None if it did not."""
        return self.attempt_runs[-1].failure if self.attempt_runs else None

    @property
    def delays_ms(self) -> list[int]:
        """The waits before its second and later attempts, in milliseconds."""
        return [each.delay_ms for each in self.attempt_runs if each.state is StepState.WAITING_FOR_RETRY]

    @property
    def events(self) -> list[PublishedEvent]:
        """What its attempts published, in order."""
        return [event for each in self.attempt_runs for event in each.events]


class TaskRun:
    """A task of a template. Its steps run one at a time, those that can run in the template's order.

    Made by `start_template`, which runs nothing yet, and by `run_template`, which runs all.
    """

    def __init__(
        self,
        template: TaskTemplate,
        plans: Mapping[str, StepPlan],
        code: Code,
        kit: Kit,
        context: Mapping[str, Any],
        *,
        correlation_id: str | None,
        parent_correlation_id: str | None,
        scripted: Mapping[str, Outcomes],
    ) -> None:
        self.template = template
        self.kit = kit
        self.attempts: list[AttemptRun] = []
        """Every attempt, in the order in which they ran."""
        self._created_at = kit.clock.elapsed_s
        self._plans = plans
        self._scripted = scripted
        self._hand_over = HandOver(code.registry.subscribers)
        self._commits: list[StepsCommitted] = []
        self._facts = task_facts(kit, context, correlation_id, parent_correlation_id)
        needs = {step.name: step.dependencies for step in template.steps}
        self._above = ancestors(needs)
        self._progress = TaskProgress(
            {name: StepRun(name, needs[name], step_uuid=kit.ids.uuid7()) for name in plans},
        )
        self._release()
        kit.tasks.append(self)

    @property
    def task_uuid(self) -> str:
        """The task's UUID."""
        return self._facts.task_uuid

    @property
    def correlation_id(self) -> str:
        """The id that its events, log lines and spans have in common."""
        return self._facts.correlation_id

    @property
    def steps(self) -> Mapping[str, StepRun]:
        """Its steps by name."""
        return self._progress.steps

    @property
    def status(self) -> TaskState:
        """The state that the database would have for it."""
        return self._progress.status

    @property
    def is_over(self) -> bool:
        """Whether nothing of it can run any more."""
        return self._progress.is_over

    @property
    def summary(self) -> TaskSummary:
        """The derived fields of SPEC 8, as the API shows them."""
        due = [step.name for step in self.steps.values() if step.runs_at_s <= self.kit.clock.elapsed_s]
        return summarize(
            {name: step.state for name, step in self.steps.items()},
            {name: step.needs for name, step in self.steps.items()},
            retries_due=due,
            task_state=TaskState.CANCELLED if self.status is TaskState.CANCELLED else None,
        )

    def result(self, step_name: str) -> Any:
        """Return a step's result; KitError for a name that no step has."""
        return self.step(step_name).result

    def step(self, step_name: str) -> StepRun:
        """Return a step; KitError, with the nearest name, where there is none."""
        if step_name not in self.steps:
            raise KitError(f"{self.template.name} has no step {step_name!r}{hint(step_name, self.steps)}")
        return self.steps[step_name]

    @property
    def events(self) -> list[PublishedEvent]:
        """All events that were published, in order."""
        return [event for each in self.attempts for event in each.events]

    @property
    def event_names(self) -> list[str]:
        """The names of all events, in order."""
        return [event.name for event in self.events]

    @property
    def durable_queue(self) -> list[PublishedEvent]:
        """What stands in the namespace's queue in the end: durable and broadcast events, with the message's headers."""
        return [event for event in self.events if event.delivery_mode.is_durable]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The events that could not be published."""
        return [letter for each in self.attempts for letter in each.dead_letters]

    @property
    def deliveries(self) -> list[Delivery]:
        """What subscribers got of fast and broadcast events, in order, and what they raised."""
        return self._hand_over.deliveries

    def received(self, subscriber: str) -> list[Any]:
        """Return the events that a subscriber got; `subscriber` is its name, or the end of it after a dot."""
        names = [spec.name for spec in self._hand_over.subscribers]
        if not any(_is_named(name, subscriber) for name in names):
            raise KitError(f"there is no subscriber {subscriber!r}{hint(subscriber, names)}; there are {names}")
        return [each.event for each in self.deliveries if _is_named(each.subscriber, subscriber)]

    @property
    def hook_failures(self) -> list[HookFailure]:
        """What publishers' hooks raised after a commit."""
        return self._hand_over.hook_failures

    @property
    def logs(self) -> list[LogEntry]:
        """What handlers wrote to `context.logger`, in order."""
        return [entry for each in self.attempts for entry in each.logs]

    @property
    def spans(self) -> list[Span]:
        """The spans of SPEC 4.2: one tree once the task is over, before that one for each attempt."""
        return span_trees(self._commits, self._hand_over.count, self.kit.clock.start_ns)

    @property
    def surprises(self) -> list[str]:
        """Say what failed nothing and is rarely meant.

        Dead letters, subscribers and hooks that raised, and outcomes that no attempt came to though the task is over.
        """
        found = [
            f"{each.step_name}, attempt {each.attempt}: {letter.name} is a dead letter, {letter.code}: {letter.reason}"
            for each in self.attempts
            for letter in each.dead_letters
        ]
        found += [
            f"subscriber {each.subscriber} raised {each.error!r} for {each.event.event_name}"
            for each in self.deliveries
            if each.error is not None
        ]
        found += [
            f"publisher {each.publisher} raised {each.error!r} after {each.event_name}" for each in self.hook_failures
        ]
        if self.is_over:
            found += [
                f"{name}: {script.left} of its outcomes were never come to"
                for name, script in self._scripted.items()
                if script.left
            ]
        return found

    def assert_no_surprises(self) -> None:
        """Fail the test if there are surprises."""
        if self.surprises:
            raise AssertionError("\n".join(self.surprises))

    def raise_for_failure(self) -> None:
        """Raise what a handler raised, if the task failed; KitError where the handler returned a failure."""
        for step in self.steps.values():
            if step.state is StepState.ERROR:
                step.attempt_runs[-1].raise_for_failure()

    def run(self) -> TaskRun:
        """Run everything that can run; waits for retries move the clock."""
        with HandlerRunner(self.kit.clock) as loop:
            while self._run_next(loop) is not None:
                pass
        return self

    def run_next(self) -> AttemptRun | None:
        """Run the next attempt, moving the clock to its time where it waits for one; None if nothing is left."""
        with HandlerRunner(self.kit.clock) as loop:
            return self._run_next(loop)

    def cancel(self) -> bool:
        """Cancel the task as an operator would, between two attempts; tells whether anything was left to cancel."""
        return self._progress.cancel()

    def _run_next(self, loop: HandlerRunner) -> AttemptRun | None:
        step = self._next()
        if step is None:
            return None
        self.kit.clock.advance_to(step.runs_at_s)
        step.state = StepState.IN_PROGRESS
        attempt = AttemptRunner(self.kit, loop).run(self._lease(step))
        self._commit(step, attempt, loop)
        return attempt.run

    def _next(self) -> StepRun | None:
        """Choose as a claim does: what may run first, and of those the first in the template's order."""
        waiting = (StepState.ENQUEUED, StepState.WAITING_FOR_RETRY)
        return min((s for s in self.steps.values() if s.state in waiting), key=lambda s: s.runs_at_s, default=None)

    def _lease(self, step: StepRun) -> LeasedStep:
        results = {name: self.steps[name].result for name in self._in_order(self._above[step.name])}
        encoded = orjson.dumps(results)
        return LeasedStep(
            token=len(self.attempts) + 1,
            task=self._facts,
            plan=self._plans[step.name],
            step_uuid=step.step_uuid,
            attempt=step.attempts + 1,
            suspect=False,
            waited_ms=0.0,
            dependency_results=orjson.loads(encoded),
            dependency_bytes=len(encoded),
            trace=self._facts.trace.with_span(self.kit.ids.hex(16)),
            leased_at=self.kit.clock.elapsed_s,
        )

    def _in_order(self, names: Iterable[str]) -> list[str]:
        """Leave those of a step's ancestors that are done, in the template's order."""
        wanted = frozenset(names)
        return [name for name, step in self.steps.items() if name in wanted and step.state in DONE_STEP_STATES]

    def _commit(self, step: StepRun, attempt: Attempt, loop: HandlerRunner) -> None:
        now = self.kit.clock.elapsed_s
        self.attempts.append(attempt.run)
        step.attempt_runs.append(attempt.run)
        self._progress.finish(step, attempt.run.state)
        step.runs_at_s = now + attempt.run.delay_ms / 1000
        released = self._release()
        self._commits.append(
            StepsCommitted(
                won=(attempt.item,),
                lost=(),
                continued=(),
                released=released,
                finished_tasks={self.task_uuid: self.status} if self.is_over else {},
                sent_at=now,
                committed_at=now,
            )
        )
        self._hand_over.committed(attempt.finished, loop)

    def _release(self) -> int:
        """Let run what waits for nothing any more: at once, before any retry that is due later."""
        released = self._progress.release()
        for step in released:
            step.runs_at_s = self._created_at
        return len(released)

    def __repr__(self) -> str:
        steps = ", ".join(f"{name}: {step.state.value}" for name, step in self.steps.items())
        return f"TaskRun({self.template.name}, {self.status.value}, {steps})"


def _is_named(full: str, wanted: str) -> bool:
    return full == wanted or full.endswith(f".{wanted}")


def task_facts(
    kit: Kit, context: Mapping[str, Any], correlation_id: str | None, parent_correlation_id: str | None
) -> TaskFacts:
    """Make a new task's facts, with the trace that its spans are of."""
    task_uuid = kit.ids.uuid7()
    return TaskFacts(
        task_uuid=task_uuid,
        template_id=1,
        context=orjson.dumps(context),
        correlation_id=correlation_id or kit.ids.uuid7(),
        parent_correlation_id=parent_correlation_id,
        trace=TraceContext(kit.ids.hex(32), task_span_id(task_uuid), SAMPLED),
    )
