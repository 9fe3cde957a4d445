"""Templates as this process runs them: each step bound to its handler, publishers and schemas, once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from tasker_actors.errors import TaskerError
from tasker_actors.events.outgoing import bind_declarations
from tasker_actors.events.publisher import DefaultPublisher
from tasker_actors.steps.bound import BoundHandler
from tasker_actors.steps.lease import LeasedStep, StepPlan, TaskFacts
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.steps.task_templates import NO_TEMPLATES, TaskTemplates
from tasker_actors.telemetry.span_ids import task_span
from tasker_actors.telemetry.trace_context import new_trace, parse_traceparent
from tasker_actors.workflow.dag import plan
from tasker_actors.workflow.dynamic import DynamicStep, dynamic_steps
from tasker_actors.workflow.dynamic_limits import DEFAULT_LIMITS, DynamicLimits
from tasker_actors.workflow.outcome import StepFailure
from tasker_actors.workflow.template import StepTemplate, TaskTemplate

HANDLER_NOT_FOUND: Final = "handler_not_found"
INPUTS_TOO_LARGE: Final = "inputs_too_large"


class StepPlans:
    """The plans of every template that this worker has met; added by StepSource's thread, read by others.

    A template that was loaded is kept for the life of the process: versions never change (SPEC 5).
    """

    def __init__(
        self,
        registry: HandlerRegistry,
        *,
        handler_timeout_ms: int,
        limits: DynamicLimits = DEFAULT_LIMITS,
        templates: TaskTemplates = NO_TEMPLATES,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._templates = templates
        self._handler_timeout_ms = handler_timeout_ms
        self._plans: dict[int, tuple[StepPlan, ...]] = {}
        self._missing: dict[int, StepPlan] = {}

    def __contains__(self, template_id: int) -> bool:
        return template_id in self._plans

    @property
    def namespaces(self) -> frozenset[str]:
        """The namespaces of the templates met so far."""
        return frozenset(plans[0].namespace for plans in self._plans.values())

    def add(self, template_id: int, template: TaskTemplate) -> None:
        """Bind a template's steps; one that cannot run here is planned as a failure that says why."""
        steps = {step.name: step for step in template.steps}
        dynamic = dynamic_steps(template)
        planned = plan(template)
        positions = {one.name: one.position for one in planned}
        self._plans[template_id] = tuple(
            self._bind(template, steps[one.name], positions, dynamic[one.name]) for one in planned
        )
        for bound in self._plans[template_id]:
            if bound.unavailable is not None and bound.unavailable.error_type == HANDLER_NOT_FOUND:
                self._missing.setdefault(template_id, bound)

    def missing(self, template_id: int) -> StepPlan | None:
        """Return the first step of a template whose handler is not here; None if all handlers are."""
        return self._missing.get(template_id)

    def get(self, template_id: int, position: int) -> StepPlan:
        """Return the plan of one step of a template that was added."""
        return self._plans[template_id][position - 1]

    def steps(self, template_id: int) -> tuple[StepPlan, ...]:
        """Return the plans of all steps of a template that was added."""
        return self._plans[template_id]

    def lease(self, row: Mapping[str, Any], task: TaskFacts) -> LeasedStep:
        """Make a leased step of what the database returned for it; its attempt is a new span of the task's trace."""
        own = row.get("own") or {}
        plan = self.get(task.template_id, own.get("definition") or row["position"])
        if row.get("overfed"):
            plan = replace(plan, handler=None, unavailable=_overfed(row["dependency_bytes"]))
        return LeasedStep(
            token=row["token"],
            task=task,
            plan=plan,
            step_uuid=row["step_uuid"],
            attempt=row["attempt"],
            suspect=row["suspect"],
            waited_ms=row["waited_ms"],
            dependency_results=row.get("dependency_results") or {},
            dependency_bytes=row["dependency_bytes"],
            trace=task.trace.child(),
            leased_at=time.monotonic(),
            position=row["position"],
            name=own.get("name") or plan.name,
            inputs=own.get("inputs") or {},
            checkpoint=own.get("checkpoint"),
            children=own.get("children") or (),
        )

    def _bind(
        self, template: TaskTemplate, step: StepTemplate, positions: Mapping[str, int], dynamic: DynamicStep
    ) -> StepPlan:
        handler, unavailable = self._handler(step)
        timeout = step.timeout_seconds
        declarations = bind_declarations(step.publishes_events, self._registry.publishers)
        return StepPlan(
            namespace=template.namespace_name,
            task_type=template.name,
            position=positions[step.name],
            name=step.name,
            handler=handler,
            handler_name=handler.name if handler is not None else step.handler.callable,
            unavailable=unavailable,
            retry=step.retry_policy,
            timeout_ms=self._handler_timeout_ms if timeout is None else int(timeout * 1000),
            declarations=declarations,
            has_publishers=any(type(bound.publisher) is not DefaultPublisher for bound in declarations),
            step_config=step.handler.initialization,
            positions=positions,
            dynamic=dynamic,
            limits=self._limits,
            templates=self._templates,
        )

    def _handler(self, step: StepTemplate) -> tuple[BoundHandler | None, StepFailure | None]:
        try:
            return self._registry.resolve(step.handler), None
        except TaskerError as error:
            # Not claimed for (see `missing`): another supervisor, or this one after its next deployment, may have it.
            return None, StepFailure(message=str(error), error_type=HANDLER_NOT_FOUND)


def _overfed(size: int) -> StepFailure:
    message = (
        f"the results that this step needs have {size:,} bytes, and a step gets at most 256 MiB: let the steps before "
        "it return references to what they made, in place of the content"
    )
    return StepFailure(message=message, error_type=INPUTS_TOO_LARGE, retryable=False)


def task_facts(row: Mapping[str, Any]) -> TaskFacts:
    """Make the shared facts of a task of what the database returned for it."""
    given = parse_traceparent(row["traceparent"], row["tracestate"]) or new_trace()
    trace, parent_span_id = task_span(row["task_uuid"], given)
    return TaskFacts(
        task_uuid=row["task_uuid"],
        template_id=row["template_id"],
        context=orjson.dumps(row["context"]),
        correlation_id=row["correlation_id"],
        parent_correlation_id=row["parent_correlation_id"],
        trace=trace,
        parent_span_id=parent_span_id,
        depth=row.get("depth", 0),
    )
