"""Templates as a test gives them, checked and bound as a worker binds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from tasker_actors.errors import TaskerError, TemplateError
from tasker_actors.steps.bound import BoundHandler
from tasker_actors.steps.lease import StepPlan
from tasker_actors.steps.plans import StepPlans
from tasker_actors.steps.task_templates import NO_TEMPLATES, TaskTemplates
from tasker_actors.testing.collected import Code
from tasker_actors.testing.errors import KitError
from tasker_actors.testing.scripted import handler_from
from tasker_actors.workflow.faults import settle
from tasker_actors.workflow.load import load_templates, parse_template
from tasker_actors.workflow.nearest import hint
from tasker_actors.workflow.references import check_references
from tasker_actors.workflow.template import HandlerSpec, TaskTemplate

TEST_ENVIRONMENT = "test"

_ONLY = 1
"""The number of the only template that a run knows."""

Template = TaskTemplate | Mapping[str, Any] | Path | str
"""A template, the mapping that its file has, or the path of its file."""


def template_from(given: Template, environment: str) -> tuple[TaskTemplate, str]:
    """Read a template and say what to call its file; TemplateError with every fault."""
    if isinstance(given, TaskTemplate):
        return given, given.name
    if isinstance(given, Mapping):
        file = f"template {given.get('name', '')}".rstrip()
        # JSON is YAML: what a test writes is checked like what is in a file.
        template, faults = parse_template(orjson.dumps(given).decode(), file=file, environment=environment)
        settle(faults, strict=False)
        assert template is not None  # noqa: S101 - settle raises for what leaves none
        return template, file
    templates = load_templates([given], environment=environment, strict=False).templates
    if len(templates) != 1:
        names = ", ".join(template.name for template in templates) or "none"
        raise KitError(f"{given} has {len(templates)} templates ({names}); give the path of the file of one")
    return templates[0], str(given)


def plans_of(
    template: TaskTemplate,
    file: str,
    code: Code,
    stand_ins: Mapping[str, Any],
    handler_timeout_ms: int,
    templates: TaskTemplates = NO_TEMPLATES,
) -> dict[str, StepPlan]:
    """Bind every step of a template, in its order, or the stand-in that a test has for it.

    `templates` are those of the tasks that the handlers may start.

    Raises TemplateError for handlers and publishers that are not there, KitError for a stand-in of no step.
    """
    names = [step.name for step in template.steps]
    for name in stand_ins:
        if name not in names:
            raise KitError(f"replace names {name!r}, which is no step of {template.name}{hint(name, names)}")
    handlers = _handlers(template, code, stand_ins)
    _check(template, file, code, set(handlers))
    plans = StepPlans(code.registry, handler_timeout_ms=handler_timeout_ms, templates=templates)
    plans.add(_ONLY, template)
    return {plan.name: _with_handler(plan, handlers.get(plan.name)) for plan in plans.steps(_ONLY)}


def _handlers(template: TaskTemplate, code: Code, stand_ins: Mapping[str, Any]) -> dict[str, BoundHandler]:
    found = {}
    for step in template.steps:
        spec = step.handler
        if step.name in stand_ins:
            found[step.name] = handler_from(stand_ins[step.name], spec.callable, spec.initialization)
        elif spec.callable in code.by_callable:
            found[step.name] = handler_from(
                code.by_callable[spec.callable], spec.callable, spec.initialization, spec.method
            )
    return found


def _check(template: TaskTemplate, file: str, code: Code, given: set[str]) -> None:
    def fault_of(spec: HandlerSpec) -> str | None:
        try:
            code.registry.resolve(spec)
        except TaskerError as error:
            return str(error)
        return None

    faults = check_references(template, file=file, handler_exists=fault_of, publishers=code.registry.publishers)
    wrong = [fault for fault in faults if not (fault.step in given and fault.key == "handler.callable")]
    if wrong:
        raise TemplateError(wrong)


def _with_handler(plan: StepPlan, handler: BoundHandler | None) -> StepPlan:
    if handler is None:
        return plan
    return replace(plan, handler=handler, handler_name=handler.name, unavailable=None)
