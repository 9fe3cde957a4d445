"""From a handler's outcome to what is committed: state, result, delay, events. Pure but for the publishers' hooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn

from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.events.derive import BoundDeclaration, CodeEvent, StepFacts, derive
from tasker_actors.events.publisher import BasePublisher, DefaultPublisher, PublishContext
from tasker_actors.events.text import storable_text
from tasker_actors.messages import FinishedStep
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.workflow.outcome import StepFailure, StepOutcome, StepSuccess
from tasker_actors.workflow.retry import next_delay_ms
from tasker_actors.workflow.states import StepState


@dataclass(frozen=True, slots=True)
class HandledStep:
    """What the handler of one attempt gave, before events are made of it."""

    outcome: StepOutcome
    code_events: tuple[CodeEvent, ...]
    duration_ms: float
    began_at: float
    input_data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """The largest result that is stored, and the largest payload of an event, as bytes of JSON."""

    max_result_bytes: int
    max_payload_bytes: int


def timed_out(step: LeasedStep) -> StepFailure:
    """Describe an attempt that went past its time limit."""
    limit = step.plan.timeout_ms / 1000
    return StepFailure(
        message=f"the handler did not return within its time limit of {limit:g} s",
        error_type="timeout",
        metadata={"timeout_seconds": limit},
    )


def conclude(
    step: LeasedStep, handled: HandledStep, *, now: datetime, ended_at: float, random: float, limits: SizeLimits
) -> FinishedStep:
    """Decide what an attempt comes to, and derive its events (SPEC 2.1).

    A result that is no JSON, or too large, fails the attempt for good: a retry would give the same. Takes as long as
    the publishers' hooks, which it runs.
    """
    outcome, result = _stored(handled.outcome, limits.max_result_bytes)
    will_retry = isinstance(outcome, StepFailure) and step.plan.retry.will_retry(
        step.attempt, failure_retryable=outcome.retryable
    )
    delay_ms = 0
    if isinstance(outcome, StepSuccess):
        state = StepState.COMPLETE
    elif will_retry:
        state = StepState.WAITING_FOR_RETRY
        delay_ms = next_delay_ms(step.plan.retry, step.attempt, outcome.retry_after_ms, random)
    else:
        state = StepState.ERROR
    derived = derive(
        _facts(step, handled),
        outcome,
        will_retry=will_retry,
        moment=now,
        declarations=step.plan.declarations,
        code_events=handled.code_events,
        max_payload_bytes=limits.max_payload_bytes,
        encoded_result=result,
    )
    return FinishedStep(
        step=step,
        outcome=outcome,
        state=state,
        result=result,
        derived=derived,
        delay_ms=delay_ms,
        duration_ms=handled.duration_ms,
        began_at=handled.began_at,
        finished_at=ended_at,
    )


def without_publishers(step: LeasedStep) -> LeasedStep:
    """Return the step with custom publishers that refuse: for the second try after one of their hooks hung."""
    return replace(step, plan=replace(step.plan, declarations=refusing(step.plan.declarations)))


def refusing(declarations: Sequence[BoundDeclaration]) -> tuple[BoundDeclaration, ...]:
    """Put publishers that refuse in the place of users' own."""
    return tuple(
        declared
        if type(declared.publisher) is DefaultPublisher
        else replace(declared, publisher=_HungPublisher(declared.publisher.publisher_name))
        for declared in declarations
    )


class _HungPublisher(BasePublisher):
    """Stands for a publisher whose hook did not return in time: its events become dead letters."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def publisher_name(self) -> str:
        """The name of the publisher it stands for, so that the event is counted under that."""
        return self._name

    def should_publish(self, context: PublishContext) -> NoReturn:  # noqa: ARG002 - the hook's signature
        raise TimeoutError("a hook of this step's publishers did not return in time")


def _stored(outcome: StepOutcome, max_result_bytes: int) -> tuple[StepOutcome, bytes | None]:
    if isinstance(outcome, StepFailure):
        return outcome, None
    try:
        return outcome, encode_payload(outcome.result, max_bytes=max_result_bytes)
    except PayloadError as error:
        return StepFailure(
            message=storable_text(f"the handler's result cannot be stored: {error}"),
            error_type="invalid_result",
            error_code=error.code,
            retryable=False,
        ), None


def _facts(step: LeasedStep, handled: HandledStep) -> StepFacts:
    plan, task = step.plan, step.task
    return StepFacts(
        task_uuid=task.task_uuid,
        step_uuid=step.step_uuid,
        step_name=plan.name,
        namespace=plan.namespace,
        correlation_id=task.correlation_id,
        parent_correlation_id=task.parent_correlation_id,
        handler_name=plan.handler_name,
        attempt=step.attempt,
        max_attempts=plan.retry.max_attempts,
        duration_ms=handled.duration_ms,
        input_data=handled.input_data,
    )
