"""A task that a test runs: attempt by attempt, or to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tasker_actors.testing.errors import KitError
from tasker_actors.testing.execution import Execution
from tasker_actors.testing.hand_over import HookFailure
from tasker_actors.testing.kit import Kit
from tasker_actors.testing.logs import LogEntry
from tasker_actors.testing.loop import HandlerRunner
from tasker_actors.testing.records import AttemptRun, DeadLetter, Delivery, PublishedEvent, StepRun
from tasker_actors.testing.scripted import Outcomes
from tasker_actors.testing.spans import Span, span_trees
from tasker_actors.workflow.nearest import hint
from tasker_actors.workflow.states import StepState, TaskState
from tasker_actors.workflow.summary import StepCounts, TaskSummary, summarize_counts
from tasker_actors.workflow.template import TaskTemplate


class TaskRun:
    """A task of a template. Its steps run one at a time, those that can run in the template's order.

    Made by `start_template`, which runs nothing yet, and by `run_template`, which runs all.
    """

    def __init__(self, kit: Kit, execution: Execution, scripted: Mapping[str, Outcomes]) -> None:
        self.kit = kit
        self._execution = execution
        self._scripted = scripted
        self._children: dict[str, TaskRun] = {}

    @property
    def template(self) -> TaskTemplate:
        """The template that it is a task of."""
        return self._execution.template

    @property
    def task_uuid(self) -> str:
        """The task's UUID."""
        return self._execution.facts.task_uuid

    @property
    def correlation_id(self) -> str:
        """The id that its events, log lines and spans have in common."""
        return self._execution.facts.correlation_id

    @property
    def children(self) -> list[TaskRun]:
        """The tasks that its steps have started, in the order in which these were committed."""
        for execution in self._execution.children:
            if execution.facts.task_uuid not in self._children:
                self._children[execution.facts.task_uuid] = TaskRun(self.kit, execution, {})
        return list(self._children.values())

    @property
    def attempts(self) -> list[AttemptRun]:
        """Every attempt of its own steps, in the order in which they ran."""
        return self._execution.attempts

    @property
    def steps(self) -> Mapping[str, StepRun]:
        """Its steps by name: those that exist by now, instances of batch workers among them."""
        return self._execution.progress.steps

    @property
    def status(self) -> TaskState:
        """The state that the database would have for it."""
        return self._execution.progress.status

    @property
    def is_over(self) -> bool:
        """Whether nothing of it can run any more."""
        return self._execution.progress.is_over

    @property
    def summary(self) -> TaskSummary:
        """The derived fields of SPEC 8, as the API shows them."""
        waiting, now = (StepState.ENQUEUED, StepState.WAITING_FOR_RETRY), self.kit.clock.elapsed_s
        steps = self.steps.values()
        counts = StepCounts(
            **Counter(step.state.value for step in steps),
            ready=sum(step.state in waiting and step.runs_at_s <= now for step in steps),
            blocked=sum(step.blocked for step in steps),
        )
        return summarize_counts(counts, task_state=self.status if self.is_over else None)

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
        return self._execution.hand_over.deliveries

    def received(self, subscriber: str) -> list[Any]:
        """Return the events that a subscriber got; `subscriber` is its name, or the end of it after a dot."""
        names = [spec.name for spec in self._execution.hand_over.subscribers]
        if not any(_is_named(name, subscriber) for name in names):
            raise KitError(f"there is no subscriber {subscriber!r}{hint(subscriber, names)}; there are {names}")
        return [each.event for each in self.deliveries if _is_named(each.subscriber, subscriber)]

    @property
    def hook_failures(self) -> list[HookFailure]:
        """What publishers' hooks raised after a commit."""
        return self._execution.hand_over.hook_failures

    @property
    def logs(self) -> list[LogEntry]:
        """What handlers wrote to `context.logger`, in order."""
        return [entry for each in self.attempts for entry in each.logs]

    @property
    def spans(self) -> list[Span]:
        """The spans of SPEC 4.2: one tree once the task is over, before that one for each attempt."""
        return span_trees(self._execution.commits, self._execution.hand_over.count, self.kit.clock.start_ns)

    @property
    def surprises(self) -> list[str]:
        """Say what failed nothing and is rarely meant.

        Dead letters, subscribers and hooks that raised, and outcomes that no attempt came to though the task is over;
        those of the tasks that it has started too.
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
        return found + [surprise for child in self.children for surprise in child.surprises]

    def assert_no_surprises(self) -> None:
        """Fail the test if there are surprises."""
        if self.surprises:
            raise AssertionError("\n".join(self.surprises))

    def raise_for_failure(self) -> None:
        """Raise what a handler raised, if the task failed; KitError where the handler returned a failure."""
        for step in self.steps.values():
            if self.status is TaskState.ERROR and step.state is StepState.ERROR:
                step.attempt_runs[-1].raise_for_failure()

    def run(self) -> TaskRun:
        """Run everything that can run, of the tasks that it starts too; waits for retries move the clock."""
        with HandlerRunner(self.kit.clock) as loop:
            while self._execution.run_next(loop) is not None:
                pass
        return self

    def run_next(self) -> AttemptRun | None:
        """Run the next attempt, of the tasks that it has started too; None if nothing is left.

        Moves the clock to its time where it waits for one.
        """
        with HandlerRunner(self.kit.clock) as loop:
            return self._execution.run_next(loop)

    def cancel(self) -> bool:
        """Cancel the task as an operator would, between two attempts, with the tasks that its steps wait for.

        Tells whether anything was left to cancel.
        """
        return self._execution.cancel()

    def __repr__(self) -> str:
        steps = ", ".join(f"{name}: {step.state.value}" for name, step in self.steps.items())
        return f"TaskRun({self.template.name}, {self.status.value}, {steps})"


def _is_named(full: str, wanted: str) -> bool:
    return full == wanted or full.endswith(f".{wanted}")
