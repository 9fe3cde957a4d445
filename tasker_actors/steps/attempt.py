"""One attempt of a handler: what it is called with, and what becomes of whatever it does.

The executor runs it in its thread, under the eye of a guard; the kit for tests runs it in the test's. Neither has a
way of its own to call a handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

import orjson

from tasker_actors.steps.child_task import ChildTask
from tasker_actors.steps.clock import SYSTEM_CLOCK, Clock
from tasker_actors.steps.conclude import timed_out
from tasker_actors.steps.context import CancelledFlag, StepContext
from tasker_actors.steps.failures import StepTimeoutError
from tasker_actors.steps.invoke import failure_from, interpret
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.task_starter import TaskStarter
from tasker_actors.telemetry.span_ids import handler_call_id
from tasker_actors.telemetry.trace_context import SpanScope, TraceContext, correlated
from tasker_actors.workflow.outcome import StepOutcome

_NO_SPAN: Final = nullcontext()


def context_of(
    step: LeasedStep,
    input_data: dict[str, Any],
    code_events: list[Any],
    *,
    deadline: float,
    cancelled: CancelledFlag,
    logger: Any,
    starter: TaskStarter,
    clock: Clock = SYSTEM_CLOCK,
) -> StepContext:
    """Make what a handler sees of this attempt; `deadline` is in seconds of the clock's monotonic time."""
    plan, task = step.plan, step.task
    return StepContext(
        task_uuid=task.task_uuid,
        step_uuid=step.step_uuid,
        step_name=step.name,
        namespace=plan.namespace,
        correlation_id=task.correlation_id,
        parent_correlation_id=task.parent_correlation_id,
        handler_name=plan.handler_name,
        input_data=input_data,
        dependency_results=step.dependency_results,
        step_config=_own_copy(plan.step_config) if plan.step_config else {},
        step_inputs=_own_copy(step.inputs) if step.inputs else {},
        retry_count=step.attempt - 1,
        max_retries=plan.retry.max_attempts,
        checkpoint=None if step.checkpoint is None else _own_copy(step.checkpoint),
        deadline_monotonic=deadline,
        cancelled_flag=cancelled,
        logger=logger,
        sink=code_events,
        starter=starter,
        child_tasks=tuple(map(ChildTask.of, _own_copy(step.children))) if step.children else (),
        clock=clock,
    )


def call_handler(
    step: LeasedStep,
    context: StepContext,
    *,
    run: Callable[[Coroutine[Any, Any, StepOutcome]], StepOutcome],
    scope: SpanScope | None,
) -> StepOutcome:
    """Call the step's handler and turn whatever it does into an outcome; raises nothing but StepTimeoutError.

    An async handler is run by `run`, which blocks until it has ended; past its limit it is cancelled there. `scope`
    lets spans of the handler's own nest under the call.
    """
    handler = step.plan.handler
    if handler is None:
        assert step.plan.unavailable is not None  # noqa: S101 - StepPlan promises one of the two
        return step.plan.unavailable
    try:
        with _handler_span(step, scope):
            value = handler.invoke(context)
            return run(_limited(value, step, context, scope)) if handler.is_async else interpret(value)
    except StepTimeoutError:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises, SystemExit too, is its attempt's failure
        return failure_from(error)


async def _limited(
    coroutine: Coroutine[Any, Any, Any], step: LeasedStep, context: StepContext, scope: SpanScope | None
) -> StepOutcome:
    """Await an async handler within its limit.

    Everything it raises is turned into an outcome inside its task: a SystemExit would end the loop for all others.
    """
    with correlated(step.trace, step.task.correlation_id), _handler_span(step, scope):
        try:
            async with asyncio.timeout(context.remaining_ms() / 1000) as limit:
                return interpret(await coroutine)
        except BaseException as error:  # noqa: BLE001 - as in call_handler
            return timed_out(step) if limit.expired() else failure_from(error)


def _handler_span(step: LeasedStep, scope: SpanScope | None) -> AbstractContextManager[None]:
    """Let the handler's own spans nest under its call."""
    return _NO_SPAN if scope is None else scope(partial(_handler_call, step))


def _handler_call(step: LeasedStep) -> TraceContext:
    return step.trace.with_span(handler_call_id(step.trace.span_id))


def _own_copy(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))
