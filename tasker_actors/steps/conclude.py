"""From a handler's outcome to what is committed: state, result, delay, events. Pure but for the publishers' hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NoReturn

from tasker_actors.events.async_hooks import AwaitHook, in_own_loop
from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.events.derive import BoundDeclaration, CodeEvent, StepFacts, derive
from tasker_actors.events.outgoing import Derived
from tasker_actors.events.publisher import BasePublisher, DefaultPublisher, PublishContext
from tasker_actors.events.text import storable_text
from tasker_actors.identifiers import new_uuid7
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.follow_up import FollowUp, checkpoint, follow_up, wait
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.task_starter import StartedTask
from tasker_actors.values import value
from tasker_actors.workflow.checkpoint import YIELDED, asks_to_yield
from tasker_actors.workflow.outcome import StepFailure, StepOutcome, StepSuccess
from tasker_actors.workflow.outcome_fault import OutcomeFault
from tasker_actors.workflow.retry import next_delay_ms
from tasker_actors.workflow.states import StepState
from tasker_actors.workflow.waiting import asks_to_wait

_NO_EVENTS: Final = Derived()


@value()
class HandledStep:
    """What the handler of one attempt gave, before events are made of it; `started` tasks go with a success."""

    outcome: StepOutcome
    code_events: tuple[CodeEvent, ...]
    duration_ms: float
    began_at: float
    input_data: dict[str, Any]
    started: tuple[StartedTask, ...] = ()


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
    step: LeasedStep,
    handled: HandledStep,
    *,
    now: datetime,
    ended_at: float,
    random: float,
    limits: SizeLimits,
    new_id: Callable[[], str] = new_uuid7,
    await_hook: AwaitHook = in_own_loop,
) -> FinishedStep:
    """Decide what an attempt comes to, and derive its events (SPEC 2.1).

    A result that is no JSON, or too large, fails the attempt for good, and so does a decision, a batch, a checkpoint or
    a wait that cannot be followed: a retry would give the same. Takes as long as the publishers' hooks, which it runs.
    What ends with a checkpoint or a wait publishes nothing: the attempt is not over. `new_id` names the events;
    `await_hook` has the event loop for async hooks.
    """
    outcome, result, follows = _stored(step, handled.outcome, now, limits.max_result_bytes, new_id)
    started = handled.started if isinstance(outcome, StepSuccess) else ()
    follows = follows.with_tasks(started)
    if follows.state == YIELDED:
        return FinishedStep(
            step=step,
            outcome=outcome,
            state=YIELDED,
            result=None,
            derived=_NO_EVENTS,
            delay_ms=0,
            duration_ms=handled.duration_ms,
            began_at=handled.began_at,
            finished_at=ended_at,
            follows=follows.documents,
            started=started,
            awaited=follows.awaited,
        )
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
        new_id=new_id,
        await_hook=await_hook,
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
        follows=follows.documents,
        started=started,
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


def _stored(
    step: LeasedStep, outcome: StepOutcome, now: datetime, max_result_bytes: int, new_id: Callable[[], str]
) -> tuple[StepOutcome, bytes | None, FollowUp]:
    """Encode a result and read what it says about other steps; what is wrong with it becomes the attempt's failure."""
    if isinstance(outcome, StepFailure):
        return outcome, None, FollowUp()
    try:
        result = encode_payload(outcome.result, max_bytes=max_result_bytes)
        if asks_to_yield(outcome.metadata):
            return outcome, None, checkpoint(step, result, now)
        if asks_to_wait(outcome.metadata):
            return outcome, None, wait(step, result, now)
        return outcome, result, follow_up(step, result, new_id)
    except PayloadError as error:
        message = f"the handler's result cannot be stored: {error}"
        failure = StepFailure(storable_text(message), "invalid_result", error_code=error.code, retryable=False)
    except OutcomeFault as fault:
        failure = StepFailure(storable_text(str(fault)), fault.error_type, retryable=False)
    return failure, None, FollowUp()


def _facts(step: LeasedStep, handled: HandledStep) -> StepFacts:
    plan, task = step.plan, step.task
    return StepFacts(
        task_uuid=task.task_uuid,
        step_uuid=step.step_uuid,
        step_name=step.name,
        namespace=plan.namespace,
        correlation_id=task.correlation_id,
        parent_correlation_id=task.parent_correlation_id,
        handler_name=plan.handler_name,
        attempt=step.attempt,
        max_attempts=plan.retry.max_attempts,
        duration_ms=handled.duration_ms,
        input_data=handled.input_data,
    )
