"""The templates of a test, and the tasks that are made of them: by the test, and by steps that start others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tasker_actors.steps.lease import StepPlan
from tasker_actors.steps.plans import task_facts
from tasker_actors.steps.task_starter import StartedTask
from tasker_actors.testing.collected import Code
from tasker_actors.testing.errors import KitError
from tasker_actors.testing.execution import Execution
from tasker_actors.testing.kit import Kit
from tasker_actors.testing.plans import Template, plans_of, template_from
from tasker_actors.workflow.dag import plan
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.template import TaskTemplate
from tasker_actors.workflow.template_index import TemplateIndex


@dataclass(frozen=True, slots=True)
class _Bound:
    template: TaskTemplate
    plans: Mapping[str, StepPlan]


class Workflows:
    """Implements `steps.task_templates.TaskTemplates` for one test.

    A template that handlers start is bound when it is first needed, with the same code.
    """

    def __init__(self, code: Code, kit: Kit, environment: str, templates: Sequence[Template]) -> None:
        self._code = code
        self._kit = kit
        self._found = [template_from(each, environment) for each in templates]
        self._index = TemplateIndex(
            [RegisteredTemplate(number, template, plan(template)) for number, (template, _) in enumerate(self._found)]
        )
        self._bound: dict[int, _Bound] = {}
        self._identities: set[str] = set()

    def find_template(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        """Return a version of a template that the test has given, the newest for None."""
        return self._index.find(namespace, name, version)

    def templates(self) -> Sequence[RegisteredTemplate]:
        """Return all that the test has given."""
        return self._index.all

    def plans(self, template: TaskTemplate, file: str, stand_ins: Mapping[str, Any]) -> dict[str, StepPlan]:
        """Bind a template whose handlers may start tasks of all templates that the test has given."""
        return plans_of(template, file, self._code, stand_ins, self._kit.handler_timeout_ms, self)

    def create(self, started: StartedTask, parent: Execution) -> Execution:
        """Create a task that a step of `parent` has started; KitError where the database would refuse it."""
        document, template = started.document, started.registered.template
        if (identity := document["identity_hash"]) is not None:
            if identity in self._identities:
                raise KitError(f"a task of {template.name} with the same identity is there already")
            self._identities.add(identity)
        number = started.registered.template_id
        if number not in self._bound:
            self._bound[number] = _Bound(template, self.plans(template, self._found[number][1], {}))
        bound = self._bound[number]
        row = {**document, "context": orjson.loads(document["context"]), "depth": parent.facts.depth + 1}
        return Execution(
            template,
            bound.plans,
            self._code.registry.subscribers,
            task_facts(row),
            self._kit,
            workflows=self,
            step_uuids=document["step_uuids"],
            parent=parent,
        )
