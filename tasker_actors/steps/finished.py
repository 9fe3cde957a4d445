"""What one attempt came to, on its way from the executor to the commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from tasker_actors.values import value

if TYPE_CHECKING:
    from tasker_actors.events.outgoing import Derived
    from tasker_actors.steps.lease import LeasedStep
    from tasker_actors.steps.task_starter import StartedTask
    from tasker_actors.telemetry.trace_context import TraceContext
    from tasker_actors.workflow.outcome import StepOutcome


@value()
class FinishedStep:
    """What one attempt came to, and the events that follow from it; kept in the ledger until it is committed.

    `state` is the state the step gets if its lease still holds: complete, waiting_for_retry or error; `yielded` if a
    slice of its work is done. `result` is the JSON of the result (None for a failure), `follows` what a result means
    for other steps, as JSON by the key of the commit's document. `started` are tasks that are created with it,
    `awaited` the ids of those that its step waits for. Times are monotonic seconds, `duration_ms` is the handler's.
    """

    step: LeasedStep
    outcome: StepOutcome
    state: str
    result: bytes | None
    derived: Derived
    delay_ms: int
    duration_ms: float
    began_at: float
    finished_at: float
    follows: Mapping[str, bytes] = field(default_factory=dict)
    started: tuple[StartedTask, ...] = ()
    awaited: tuple[str, ...] = ()

    @property
    def correlation_id(self) -> str:
        """The task's correlation id."""
        return self.step.task.correlation_id

    @property
    def trace(self) -> TraceContext:
        """The attempt's span."""
        return self.step.trace
