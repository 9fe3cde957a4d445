"""What a test gives a task or a step, as JSON like everything that comes out of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.steps.lease import LeasedStep, StepPlan, TaskFacts
from tasker_actors.telemetry.span_ids import task_span_id
from tasker_actors.telemetry.trace_context import SAMPLED, TraceContext
from tasker_actors.testing.errors import ContextRefusedError, KitError
from tasker_actors.testing.kit import Kit
from tasker_actors.workflow.input_schema import validate_context
from tasker_actors.workflow.template import TaskTemplate


def checked_context(template: TaskTemplate, context: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a context as the task gets it; ContextRefusedError where the API would refuse it."""
    plain = plain_json("context", context)
    faults = validate_context(template.input_schema, plain)
    if faults:
        said = "; ".join(f"{fault.path or 'the context'} {fault.message}" for fault in faults)
        raise ContextRefusedError(f"{template.name} refuses the context: {said}")
    return plain


def plain_json(what: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what a test gives through JSON, as a task would get it."""
    try:
        plain: dict[str, Any] = orjson.loads(encode_payload(dict(value)))
    except PayloadError as error:
        raise KitError(f"{what} is no JSON: {error}") from error
    return plain


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


def leased(
    kit: Kit,
    plan: StepPlan,
    facts: TaskFacts,
    results: Mapping[str, Any],
    *,
    step_uuid: str,
    attempt: int,
    token: int = 1,
    name: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    checkpoint: Mapping[str, Any] | None = None,
    children: Sequence[Mapping[str, Any]] = (),
) -> LeasedStep:
    """Make what a claim would return for a step; `name` is that of an instance of a batch worker."""
    encoded = orjson.dumps(results)
    return LeasedStep(
        token=token,
        task=facts,
        plan=plan,
        step_uuid=step_uuid,
        attempt=attempt,
        suspect=False,
        waited_ms=0.0,
        dependency_results=orjson.loads(encoded),
        dependency_bytes=len(encoded),
        trace=facts.trace.with_span(kit.ids.hex(16)),
        leased_at=kit.clock.elapsed_s,
        position=plan.position,
        name=name or plan.name,
        inputs=inputs or {},
        checkpoint=checkpoint,
        children=children,
    )
