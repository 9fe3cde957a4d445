"""Tasks that start others come to the same in what users test with and in the database, told the same of each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.flow import Flow, Worker, own_database
from support.servers import DatabaseServer
from support.sub_workflows import Templates

from tasker_actors import PermanentError, RetryableError, StepContext, StepHandlerResult
from tasker_actors.postgres.sub_workflows import cancel_abandoned
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.testing import Kit, TaskRun, start_template
from tasker_actors.testing.attempt import AttemptRunner
from tasker_actors.testing.loop import HandlerRunner
from tasker_actors.testing.scripted import handler_from
from tasker_actors.workflow.registered import RegisteredTemplate

FATES = ["done", "done", "never", "again", "always again"]
PARENT = {"top": [], "left": ["top"], "right": ["top"]}
CHILD = {"first": [], "one": ["first"], "two": ["first"]}

_numbers = itertools.count()


@dataclass
class Drawn:
    """For each step the rounds in which it starts children, each named by its fate; what it does when one failed.

    A round that is not waited for ends as a slice of work. After `cancel_after` attempts the task is cancelled.
    """

    rounds: dict[str, list[tuple[bool, list[str]]]]
    is_strict: dict[str, bool]
    cancel_after: int | None


@st.composite
def families(draw: st.DrawFn) -> Drawn:
    """Up to two rounds a step, of up to three children each."""
    rounds = st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(FATES), min_size=1, max_size=3)), max_size=2)
    return Drawn(
        {name: draw(rounds) for name in PARENT},
        {name: draw(st.booleans()) for name in PARENT},
        draw(st.sampled_from([None, None, 1, 3, 6])),
    )


@dataclass
class Handlers:
    """Handlers of both templates that come to what was drawn, and remember what they were told."""

    drawn: Drawn
    name: str
    told: dict[tuple[str, int, int], Any] = field(default_factory=dict)

    def __call__(self, context: StepContext) -> Any:
        """Do what a step of the parent or of a child does."""
        fate = context.get_input("fate")
        return self._parent(context) if fate is None else self._child(context, fate)

    def _parent(self, context: StepContext) -> Any:
        number = context.checkpoint_cursor or 0
        self.told[context.step_name, number, context.retry_count] = [
            (child.status, child.results, child.error) for child in context.child_tasks
        ]
        rounds = self.drawn.rounds[context.step_name]
        if number == len(rounds):
            for child in context.child_tasks if self.drawn.is_strict[context.step_name] else ():
                child.raise_for_failure()
            return {"saw": [child.status for child in context.child_tasks]}
        waits, fates = rounds[number]
        made = [context.start_task(f"shop/{self.name}", {"fate": fate}, tags=[fate]) for fate in fates]
        checkpoint = {"cursor": number + 1, "items_processed": 0}
        if waits:
            return StepHandlerResult.wait_for(made, checkpoint=checkpoint)
        return StepHandlerResult.success({"type": "checkpoint_yield", **checkpoint}, {"checkpoint_yield": True})

    def _child(self, context: StepContext, fate: str) -> Any:
        if context.step_name == "one":
            if fate == "never":
                raise PermanentError("no")
            if fate == "always again" or (fate == "again" and not context.is_retry()):
                raise RetryableError("not now", retry_after=0)
        return {"step": context.step_name, "fate": fate}


@pytest.fixture(scope="module")
def database(embedded_server: DatabaseServer) -> Iterator[Flow]:
    yield from own_database(embedded_server)


@settings(
    max_examples=examples(25),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(drawn=families())
def test_a_task_that_starts_others_comes_to_the_same_in_the_kit_and_in_the_database(database: Flow, drawn: Drawn):
    number = next(_numbers)
    parent = database.register(PARENT, name=f"parent{number}", retry={"max_attempts": 2})
    child = database.register(CHILD, name=f"child{number}", retry={"max_attempts": 2})
    in_kit, in_database = (Handlers(drawn, child.template.name) for _ in range(2))
    handlers = {f"shop.{name}": in_kit for name in {*PARENT, *CHILD}}
    task = start_template(parent.template, handlers=handlers, templates=[child.template])
    run = Run(database, in_database, child, parent)

    for count in itertools.count(1):
        if task.run_next() is None:
            break
        run.follow(task)
        if count == drawn.cancel_after:
            task.cancel()
            run.cancel()

    assert run.worker.claim() == []
    assert in_database.told == in_kit.told
    for one, task_uuid in run.pairs(task):
        assert database.task(task_uuid)["status"] == one.status
        assert shown(database, task_uuid) == {
            name: (step.state, step.attempts, step.blocked, step.result if step.state == "complete" else None)
            for name, step in one.steps.items()
        }
    run.worker.close()
    database.workers.remove(run.worker)


class Run:
    """The same task in the database, attempt by attempt as the kit runs it."""

    def __init__(self, flow: Flow, handlers: Handlers, child: RegisteredTemplate, parent: RegisteredTemplate) -> None:
        (row,) = flow.create(parent, context=b"{}")
        self.flow = flow
        self.root = row.task_uuid
        self.worker = Worker(flow)
        self.children: dict[str, list[str]] = {}
        self._handlers = handlers
        self._templates = Templates(child)
        self._kit = Kit(seed=next(_numbers))
        self._held: dict[tuple[str, str], LeasedStep] = {}
        self._done: dict[str, int] = {}

    def pairs(self, task: TaskRun, task_uuid: str | None = None) -> Iterator[tuple[TaskRun, str]]:
        """Each task of the kit with its counterpart, the parents first."""
        own = task_uuid or self.root
        yield task, own
        for child, child_uuid in zip(task.children, self.children.get(own, ()), strict=True):
            yield from self.pairs(child, child_uuid)

    def follow(self, task: TaskRun) -> None:
        """Run the attempt that the kit has just run."""
        ((task_uuid, run),) = [
            (task_uuid, one.attempts[-1])
            for one, task_uuid in self._known(task)
            if len(one.attempts) > self._done.get(task_uuid, 0)
        ]
        self._done[task_uuid] = self._done.get(task_uuid, 0) + 1
        self._held.update(((step.task.task_uuid, step.name), step) for step in self.worker.claim())
        step = self._held.pop((task_uuid, run.step_name))
        handler = handler_from(self._handlers, step.plan.handler_name)
        plan = replace(step.plan, handler=handler, unavailable=None, templates=self._templates)
        with HandlerRunner(self._kit.clock) as loop:
            finished = AttemptRunner(self._kit, loop).run(replace(step, plan=plan)).finished
        assert self.worker.commit(finished).won == {step.token}
        made = [started.reference.task_uuid for started in finished.started]
        assert len(made) == len(run.started)
        self.children.setdefault(task_uuid, []).extend(made)

    def cancel(self) -> None:
        """Cancel the task as the API does."""
        self.flow.cancel(self.root)
        list(cancel_abandoned(self.flow.pool))

    def _known(self, task: TaskRun, task_uuid: str | None = None) -> Iterator[tuple[TaskRun, str]]:
        """The same pairs while the last attempt's children are not here yet."""
        own = task_uuid or self.root
        yield task, own
        for child, child_uuid in zip(task.children, self.children.get(own, ()), strict=False):
            yield from self._known(child, child_uuid)


def shown(flow: Flow, task_uuid: str) -> Mapping[str, Sequence[Any]]:
    """The steps of a task by name: state, attempts, whether it is blocked, result."""
    return {
        name: (row["state"], row["attempts"], row["blocked"], row["result"])
        for name, row in flow.steps(task_uuid).items()
    }
