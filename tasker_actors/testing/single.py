"""Run one attempt in a test: of a step of a template, or of a handler by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasker_actors.steps.child_task import ChildTask
from tasker_actors.steps.context import CancelledFlag
from tasker_actors.steps.declaration import declaration_of
from tasker_actors.steps.lease import LeasedStep, StepPlan
from tasker_actors.testing.attempt import AttemptRunner
from tasker_actors.testing.collected import collect
from tasker_actors.testing.errors import KitError
from tasker_actors.testing.inputs import checked_context, leased, plain_json, task_facts
from tasker_actors.testing.kit import Kit
from tasker_actors.testing.loop import HandlerRunner
from tasker_actors.testing.plans import TEST_ENVIRONMENT, Template, template_from
from tasker_actors.testing.records import AttemptRun
from tasker_actors.testing.workflows import Workflows
from tasker_actors.workflow.dag import ancestors
from tasker_actors.workflow.nearest import hint

_STEP = "step"
"""The name of the step that a handler by itself runs as."""


def run_step(  # noqa: PLR0913 - a keyword for each thing that a claim would bring
    template: Template,
    step_name: str,
    context: Mapping[str, Any] | None = None,
    *,
    dependency_results: Mapping[str, Any] | None = None,
    attempt: int = 1,
    step_inputs: Mapping[str, Any] | None = None,
    checkpoint: Mapping[str, Any] | None = None,
    child_tasks: Sequence[ChildTask] = (),
    templates: Sequence[Template] = (),
    handlers: Any = None,
    cancelled: CancelledFlag | bool = False,
    kit: Kit | None = None,
    environment: str = TEST_ENVIRONMENT,
) -> AttemptRun:
    """Run one attempt of one step of a template: its handler with its `initialization`, time limit, retry and events.

    `dependency_results` are those of steps above it, `step_inputs` what an instance of a batch worker is made with, and
    `checkpoint` where the last slice of its work ended, `child_tasks` the tasks that it has waited for. `templates` are
    those of tasks that it may start. Errors are those of `run_template`, and a KitError for names of steps that do not
    exist.
    """
    kit = kit or Kit()
    found, file = template_from(template, environment)
    names = [step.name for step in found.steps]
    if step_name not in names:
        raise KitError(f"{found.name} has no step {step_name!r}{hint(step_name, names)}")
    above = ancestors({step.name: step.dependencies for step in found.steps})[step_name]
    for name in dependency_results or ():
        if name not in above:
            raise KitError(f"step {step_name!r} does not depend on {name!r}{hint(name, above)}")
    others: dict[str, Any] = {name: {} for name in names if name != step_name}
    plans = Workflows(collect(handlers), kit, environment, templates).plans(found, file, others)
    checked = checked_context(found, context or {})
    step = _leased(kit, plans[step_name], checked, dependency_results, attempt, step_inputs, checkpoint)
    return _attempt(kit, replace(step, children=_rows(child_tasks)), cancelled=cancelled)


def run_handler(  # noqa: PLR0913 - a keyword for each thing that a template and a claim would bring
    handler: Any,
    context: Mapping[str, Any] | None = None,
    *,
    dependency_results: Mapping[str, Any] | None = None,
    attempt: int = 1,
    step_inputs: Mapping[str, Any] | None = None,
    checkpoint: Mapping[str, Any] | None = None,
    child_tasks: Sequence[ChildTask] = (),
    templates: Sequence[Template] = (),
    config: Mapping[str, Any] | None = None,
    method: str | None = None,
    retry: Mapping[str, Any] | None = None,
    timeout_seconds: float | None = None,
    publishes_events: Sequence[Mapping[str, Any]] = (),
    publishers: Any = None,
    cancelled: CancelledFlag | bool = False,
    kit: Kit | None = None,
) -> AttemptRun:
    """Run one attempt of a handler by itself.

    That is a StepHandler, as class or object, a function with @step_handler, or the import path of one of these.

    `config` is the step's `initialization`, `checkpoint` where the last slice of its work ended, `child_tasks` the
    tasks that it has waited for; `templates` are those of tasks that it may start. `retry`, `timeout_seconds` and
    `publishes_events` are as in a template. `cancelled` is what `context.cancelled` says, or a
    threading.Event that may be set meanwhile. Raises TemplateError for what no template may say, HandlerNotFoundError
    for what is no handler.
    """
    spec: dict[str, Any] = {"callable": _callable(handler), "initialization": dict(config or {})}
    if method is not None:
        spec["method"] = method
    step: dict[str, Any] = {
        "name": _STEP,
        "handler": spec,
        "retry": dict(retry or {}),
        "publishes_events": list(publishes_events),
    }
    if timeout_seconds is not None:
        step["timeout_seconds"] = timeout_seconds
    template = {"name": "handler", "namespace_name": "testing", "version": "1.0.0", "steps": [step]}
    kit = kit or Kit()
    found, file = template_from(template, TEST_ENVIRONMENT)
    code = collect([*_several(publishers), {} if isinstance(handler, str) else {spec["callable"]: handler}])
    plans = Workflows(code, kit, TEST_ENVIRONMENT, templates).plans(found, file, {})
    one = _leased(kit, plans[_STEP], context or {}, dependency_results, attempt, step_inputs, checkpoint)
    return _attempt(kit, replace(one, children=_rows(child_tasks)), cancelled=cancelled)


def _rows(children: Sequence[ChildTask]) -> list[dict[str, Any]]:
    """Write tasks as the database keeps them."""
    return [
        {
            "task_uuid": child.task_uuid,
            "namespace": child.namespace,
            "name": child.name,
            "version": child.version,
            "status": child.status,
            "results": None if child.results_omitted else plain_json("results", child.results),
            "error": None if child.error is None else plain_json("error", child.error),
        }
        for child in children
    ]


def _leased(
    kit: Kit,
    plan: StepPlan,
    context: Mapping[str, Any],
    dependency_results: Mapping[str, Any] | None,
    attempt: int,
    step_inputs: Mapping[str, Any] | None,
    checkpoint: Mapping[str, Any] | None,
) -> LeasedStep:
    if not 1 <= attempt <= plan.retry.max_attempts:
        raise KitError(f"attempt {attempt} cannot be: the step has attempts 1 to {plan.retry.max_attempts}")
    facts = task_facts(kit, plain_json("context", context), None, None)
    return leased(
        kit,
        plan,
        facts,
        plain_json("dependency_results", dependency_results or {}),
        step_uuid=kit.ids.uuid7(),
        attempt=attempt,
        inputs=plain_json("step_inputs", step_inputs or {}),
        checkpoint=None if checkpoint is None else plain_json("checkpoint", checkpoint),
    )


def _attempt(kit: Kit, step: LeasedStep, *, cancelled: CancelledFlag | bool) -> AttemptRun:
    flag = _Flag(cancelled) if isinstance(cancelled, bool) else cancelled
    with HandlerRunner(kit.clock) as loop:
        return AttemptRunner(kit, loop, flag).run(step).run


class _Flag:
    def __init__(self, value: bool) -> None:  # noqa: FBT001 - it is all there is
        self._value = value

    def is_set(self) -> bool:
        return self._value


def _callable(handler: Any) -> str:
    """Name a handler as a template would, where it has a name."""
    if isinstance(handler, str):
        return handler
    declared = declaration_of(handler)
    name = declared.name if declared is not None else getattr(handler, "handler_name", None)
    return name if isinstance(name, str) and name else _STEP


def _several(given: Any) -> list[Any]:
    return [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
