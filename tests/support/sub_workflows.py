"""Steps that start tasks and wait for them, as handlers would say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from support.flow import Flow, Worker
from support.leases import finish

from tasker_actors.postgres.tasks import NewTaskRow
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.result import StepHandlerResult, TaskNamed
from tasker_actors.steps.task_reference import TaskReference
from tasker_actors.steps.task_starter import TaskStarter
from tasker_actors.workflow.outcome import StepOutcome, StepSuccess
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.template_index import TemplateIndex

PARENT = {"call": [], "after": ["call"]}
CHILD = {"first": [], "last": ["first"]}


class Templates:
    """Templates that handlers may start tasks of."""

    def __init__(self, *registered: RegisteredTemplate) -> None:
        self._index = TemplateIndex(registered)

    def find_template(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        """Find one."""
        return self._index.find(namespace, name, version)

    def templates(self) -> Sequence[RegisteredTemplate]:
        """Return all."""
        return self._index.all


def starter_of(step: LeasedStep, *registered: RegisteredTemplate) -> TaskStarter:
    """Make what the handler of a leased step starts tasks with."""
    return TaskStarter(replace(step, plan=replace(step.plan, templates=Templates(*registered))))


def waits(*tasks: TaskNamed | str, checkpoint: Mapping[str, Any] | None = None) -> StepOutcome:
    """A handler that waits for tasks."""
    said = StepHandlerResult.wait_for(tasks, checkpoint)
    return StepSuccess(said.result, said.metadata)


def started(
    step: LeasedStep, registered: RegisteredTemplate, count: int = 1, **keys: Any
) -> tuple[FinishedStep, list[TaskReference]]:
    """Conclude a step whose handler starts tasks of a template and waits for them."""
    starter, template = starter_of(step, registered), registered.template
    plain: dict[str, Any] = {"context": {}, "priority": None, "tags": (), "idempotency_key": None}
    made = [starter.start(f"{template.namespace_name}/{template.name}", **{**plain, **keys}) for _ in range(count)]
    return finish(step, waits(*made), started=starter.started), made


class Family:
    """A task of which a step waits for tasks, all made by one worker."""

    def __init__(self, flow: Flow, count: int = 1, *, child: Mapping[str, Sequence[str]] | None = None) -> None:
        self.flow = flow
        self.parent = flow.register(PARENT, name="parent")
        self.child = flow.register(child or CHILD, name="child")
        (self.row,) = flow.create(self.parent)
        self.worker = Worker(flow)
        (self.step,) = self.worker.claim()
        finished, self.children = started(self.step, self.child, count)
        self.reply = self.worker.commit(finished)

    @property
    def call(self) -> dict[str, Any]:
        """The row of the waiting step."""
        return self.flow.steps(self.row.task_uuid)["call"]

    def statuses(self) -> list[str]:
        """The states of the tasks that it waits for, as they are stored."""
        return [self.flow.task(child.task_uuid)["status"] for child in self.children]


def told(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a step was told of its tasks: status and results."""
    return [(child["status"], child["results"]) for child in row["children"]]


def only(rows: Sequence[NewTaskRow]) -> str:
    """The id of the only task."""
    (row,) = rows
    return row.task_uuid
