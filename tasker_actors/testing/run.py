"""Run a task of a template in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasker_actors.testing.collected import collect
from tasker_actors.testing.execution import Execution
from tasker_actors.testing.inputs import checked_context, task_facts
from tasker_actors.testing.kit import Kit
from tasker_actors.testing.plans import TEST_ENVIRONMENT, Template, template_from
from tasker_actors.testing.scripted import Outcomes
from tasker_actors.testing.task import TaskRun
from tasker_actors.testing.workflows import Workflows


def run_template(
    template: Template,
    context: Mapping[str, Any] | None = None,
    *,
    handlers: Any = None,
    replace: Mapping[str, Any] | None = None,
    kit: Kit | None = None,
    templates: Sequence[Template] = (),
    environment: str = TEST_ENVIRONMENT,
    correlation_id: str | None = None,
    parent_correlation_id: str | None = None,
) -> TaskRun:
    """Run a task of a template to its end, in this thread: no process, no database, no waiting.

    `handlers` is where handlers, publishers and subscribers are: a module, the name of one, classes, functions,
    objects, a mapping from what the template names as `callable`, or several of these. `replace` maps names of steps
    to what stands for their handlers: a result, an exception, `outcomes`, a callable, a handler. `templates` are those
    of tasks that handlers start, which run too, with the handlers that are given. Raises TemplateError for what is
    wrong with the template or missing from the code, ContextRefusedError for a context that the template refuses.
    """
    return start_template(
        template,
        context,
        handlers=handlers,
        replace=replace,
        kit=kit,
        templates=templates,
        environment=environment,
        correlation_id=correlation_id,
        parent_correlation_id=parent_correlation_id,
    ).run()


def start_template(
    template: Template,
    context: Mapping[str, Any] | None = None,
    *,
    handlers: Any = None,
    replace: Mapping[str, Any] | None = None,
    kit: Kit | None = None,
    templates: Sequence[Template] = (),
    environment: str = TEST_ENVIRONMENT,
    correlation_id: str | None = None,
    parent_correlation_id: str | None = None,
) -> TaskRun:
    """Create a task like `run_template` and run nothing yet: `run_next` runs an attempt, `run` all that is left."""
    kit, stand_ins = kit or Kit(), replace or {}
    found, file = template_from(template, environment)
    code = collect(handlers)
    workflows = Workflows(code, kit, environment, templates)
    plans = workflows.plans(found, file, stand_ins)
    facts = task_facts(kit, checked_context(found, context or {}), correlation_id, parent_correlation_id)
    execution = Execution(found, plans, code.registry.subscribers, facts, kit, workflows=workflows)
    scripted = {name: each for name, each in stand_ins.items() if isinstance(each, Outcomes)}
    task = TaskRun(kit, execution, scripted)
    kit.tasks.append(task)
    return task
