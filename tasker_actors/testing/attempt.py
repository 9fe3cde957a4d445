"""One attempt, run in the test's thread and on its clock; all that is decided here is decided in `steps`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from tasker_actors.delivery.routing import commit_item
from tasker_actors.events.facts import CodeEvent
from tasker_actors.messages import CommitItem
from tasker_actors.settings.processes import WorkerSettings
from tasker_actors.settings.sections import EventSettings
from tasker_actors.steps.attempt import call_handler, context_of
from tasker_actors.steps.bound import BoundHandler
from tasker_actors.steps.conclude import HandledStep, SizeLimits, conclude, timed_out, without_publishers
from tasker_actors.steps.context import CancelledFlag, StepContext
from tasker_actors.steps.failures import StepTimeoutError
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.step_logger import StepLogger
from tasker_actors.steps.task_starter import TaskStarter
from tasker_actors.telemetry.span_scope import OpenTelemetrySpan
from tasker_actors.telemetry.trace_context import WorkingOn
from tasker_actors.testing.errors import KitError
from tasker_actors.testing.logs import LogEntry, RecordingLogger
from tasker_actors.testing.records import AttemptRun, dead_letter, published, started_task
from tasker_actors.workflow.outcome import StepFailure

if TYPE_CHECKING:
    from tasker_actors.testing.kit import Kit
    from tasker_actors.testing.loop import HandlerRunner

_LIMITS: Final = SizeLimits(
    max_result_bytes=WorkerSettings.model_fields["max_result_bytes"].default,
    max_payload_bytes=EventSettings.model_fields["max_payload_bytes"].default,
)
_FAILS_ITS_ATTEMPT = (Exception, SystemExit, StepTimeoutError, asyncio.CancelledError)
"""What a handler may raise without ending the run: all else is meant for the test, pytest.fail() and Ctrl-C."""


@dataclass(slots=True)
class Attempt:
    """An attempt that is over: what is committed of it, and what the test sees."""

    finished: FinishedStep
    item: CommitItem
    run: AttemptRun


@dataclass(slots=True)
class _Raised:
    """Keeps what a handler raises, on its way to becoming a failure."""

    error: BaseException | None = None

    def around(self, handler: BoundHandler) -> BoundHandler:
        """Return the handler, watched."""
        return replace(handler, invoke=self._awaiting(handler) if handler.is_async else self._calling(handler))

    def _calling(self, handler: BoundHandler) -> Callable[[StepContext], Any]:
        def invoke(context: StepContext) -> Any:
            try:
                return handler.invoke(context)
            except BaseException as error:
                self.error = error
                raise

        return invoke

    def _awaiting(self, handler: BoundHandler) -> Callable[[StepContext], Any]:
        async def invoke(context: StepContext) -> Any:
            try:
                return await handler.invoke(context)
            except BaseException as error:
                self.error = error
                raise

        return invoke


@dataclass(slots=True)
class AttemptRunner:
    """Runs attempts with a kit's clock, ids and chance."""

    kit: Kit
    loop: HandlerRunner
    cancelled: CancelledFlag = field(default_factory=threading.Event)

    def run(self, step: LeasedStep) -> Attempt:
        """Run a leased step to the end of its attempt.

        Raises what is meant for the test: a KitError, and what is no error of a handler, such as pytest.fail().
        """
        clock, raised = self.kit.clock, _Raised()
        began_at, began = clock.now(), clock.elapsed_s
        logs: list[LogEntry] = []
        with WorkingOn(step):
            handled = self._handle(step, raised, logs, began)
            if raised.error is not None and is_for_the_test(raised.error):
                raise raised.error
            try:
                finished = self._conclude(step, handled)
            except BaseException as error:
                if is_for_the_test(error):
                    raise
                finished = self._conclude(without_publishers(step), handled)
        item = commit_item(finished)
        headers = [document["headers"] for document in item.document.get("events", ())]
        return Attempt(
            finished,
            item,
            AttemptRun(
                step_name=step.name,
                attempt=step.attempt,
                state=finished.state,
                outcome=finished.outcome,
                result=None if finished.result is None else orjson.loads(finished.result),
                exception=raised.error if isinstance(finished.outcome, StepFailure) else None,
                delay_ms=finished.delay_ms,
                duration_ms=finished.duration_ms,
                began_at=began_at,
                checkpoint=orjson.loads(finished.follows["checkpoint"]) if "checkpoint" in finished.follows else None,
                events=tuple(
                    published(event, headers.pop(0) if event.delivery_mode.is_durable else None)
                    for event in finished.derived.events
                ),
                dead_letters=tuple(map(dead_letter, finished.derived.refused)),
                logs=tuple(logs),
                started=tuple(map(started_task, finished.started)),
                waits_for=finished.awaited,
            ),
        )

    def _handle(self, step: LeasedStep, raised: _Raised, logs: list[LogEntry], began: float) -> HandledStep:
        clock, handler = self.kit.clock, step.plan.handler
        input_data = orjson.loads(step.task.context)
        code_events: list[CodeEvent] = []
        starter = TaskStarter(step, self.kit.ids.uuid7)
        deadline = began + step.plan.timeout_ms / 1000
        context = context_of(
            step,
            input_data,
            code_events,
            deadline=deadline,
            cancelled=self.cancelled,
            logger=StepLogger(RecordingLogger(logs), step),
            starter=starter,
            clock=clock,
        )
        watched = step if handler is None else replace(step, plan=replace(step.plan, handler=raised.around(handler)))
        try:
            # An async handler is cancelled by its loop, on the same clock.
            with clock.limited(float("inf") if handler is not None and handler.is_async else deadline):
                outcome = call_handler(watched, context, run=self.loop.run, scope=OpenTelemetrySpan)
        except StepTimeoutError:
            outcome = timed_out(step)
        duration_ms = (clock.elapsed_s - began) * 1000
        return HandledStep(outcome, tuple(code_events), duration_ms, began, input_data, tuple(starter.started))

    def _conclude(self, step: LeasedStep, handled: HandledStep) -> FinishedStep:
        return conclude(
            step,
            handled,
            now=self.kit.clock.now(),
            ended_at=self.kit.clock.elapsed_s,
            random=self.kit.random(),
            limits=_LIMITS,
            new_id=self.kit.ids.uuid7,
            await_hook=self.loop.hooks(),
        )


def is_for_the_test(error: BaseException) -> bool:
    """Tell whether an error that came out of a user's code ends the run: a KitError, pytest.fail(), Ctrl-C."""
    return isinstance(error, KitError) or not isinstance(error, _FAILS_ITS_ATTEMPT)
