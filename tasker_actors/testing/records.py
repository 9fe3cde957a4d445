"""What a test looks at: attempts, the events they published, dead letters, deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.event import DomainEvent
from tasker_actors.events.outgoing import OutgoingEvent, RefusedEvent
from tasker_actors.testing.errors import KitError
from tasker_actors.testing.logs import LogEntry
from tasker_actors.workflow.outcome import StepFailure, StepOutcome
from tasker_actors.workflow.progress import StepProgress
from tasker_actors.workflow.states import StepState

if TYPE_CHECKING:
    from tasker_actors.steps.task_starter import StartedTask
    from tasker_actors.testing.execution import Execution


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event that was published; `headers` are those of its message in the durable queue, None for a fast event."""

    event: DomainEvent
    delivery_mode: DeliveryMode
    publisher: str
    headers: Mapping[str, str] | None

    @property
    def name(self) -> str:
        """The event's name."""
        return self.event.event_name

    @property
    def payload(self) -> Any:
        """The event's payload."""
        return self.event.payload

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The event's metadata, as in SPEC 2.4."""
        return self.event.metadata

    def __repr__(self) -> str:
        return f"PublishedEvent({self.name!r}, {self.delivery_mode.value}, {self.payload!r})"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be published: why not, and the document that is kept of it (SPEC 2, rule 2)."""

    name: str
    delivery_mode: DeliveryMode
    publisher: str
    code: str
    reason: str
    path: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that a subscriber got, and what the subscriber raised."""

    subscriber: str
    event: DomainEvent
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A task that an attempt has started: `template` is NAMESPACE/NAME@VERSION."""

    task_uuid: str
    template: str
    context: Mapping[str, Any]
    priority: int | None
    tags: tuple[str, ...]
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class AttemptRun:
    """One attempt of one step, or a slice of it.

    `state` is complete, waiting_for_retry or error, or `yielded` for a slice that ended with a `checkpoint`, or with a
    wait for the tasks whose ids are in `waits_for`. `result` is what successors see, plain JSON; None for a failure.
    `exception` is what the handler raised, if it did. `delay_ms` is the wait before the next attempt, 0 if there is
    none. `started` are tasks that are created with it.
    """

    step_name: str
    attempt: int
    state: str
    outcome: StepOutcome
    result: Any
    exception: BaseException | None
    delay_ms: int
    duration_ms: float
    began_at: datetime
    checkpoint: Mapping[str, Any] | None
    events: tuple[PublishedEvent, ...]
    dead_letters: tuple[DeadLetter, ...]
    logs: tuple[LogEntry, ...]
    started: tuple[Started, ...] = ()
    waits_for: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether the handler's work was done."""
        return not isinstance(self.outcome, StepFailure)

    @property
    def failure(self) -> StepFailure | None:
        """Why it failed; None if it did not."""
        return self.outcome if isinstance(self.outcome, StepFailure) else None

    @property
    def error_type(self) -> str | None:
        """The failure's error type; None if there is none."""
        return None if self.failure is None else self.failure.error_type

    @property
    def event_names(self) -> list[str]:
        """The names of its events, in order."""
        return [event.name for event in self.events]

    def raise_for_failure(self) -> None:
        """Raise what the handler raised, if the attempt failed; KitError where it returned a failure."""
        if self.exception is not None:
            raise self.exception
        if self.failure is not None:
            why = f"{self.failure.error_type}: {self.failure.message}"
            raise KitError(f"step {self.step_name!r} failed in attempt {self.attempt}: {why}")


@dataclass(slots=True)
class StepRun(StepProgress):
    """One step of a task: where it is, and its attempts so far, slices of one included.

    `inputs` are what an instance of a batch worker was made with, `checkpoint` where its last slice of work ended,
    `awaited` the tasks that it last waited for, and `children` what it was told of them.
    `runs_at_s` is when it may run, on the clock, and `turn` its turn among those of the same moment.
    """

    step_uuid: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] | None = None
    awaited: Sequence[Execution] = ()
    children: Sequence[Mapping[str, Any]] = ()
    slices: int = 0
    runs_at_s: float = 0.0
    turn: int = 0
    attempt_runs: list[AttemptRun] = field(default_factory=list)

    @property
    def result(self) -> Any:
        """Its result as successors see it; None if it has none."""
        return self.attempt_runs[-1].result if self.attempt_runs else None

    @property
    def failure(self) -> StepFailure | None:
        """Why its last attempt failed; None if it did not."""
        return self.attempt_runs[-1].failure if self.attempt_runs else None

    @property
    def delays_ms(self) -> list[int]:
        """The waits before its second and later attempts, in milliseconds."""
        return [each.delay_ms for each in self.attempt_runs if each.state is StepState.WAITING_FOR_RETRY]

    @property
    def events(self) -> list[PublishedEvent]:
        """What its attempts published, in order."""
        return [event for each in self.attempt_runs for event in each.events]


def started_task(task: StartedTask) -> Started:
    """Show a task that goes with an attempt."""
    reference, document = task.reference, task.document
    return Started(
        reference.task_uuid,
        f"{reference.namespace}/{reference.name}@{reference.version}",
        orjson.loads(document["context"]),
        document["priority"],
        tuple(document["tags"]),
        document["idempotency_key"],
    )


def published(event: OutgoingEvent, headers: Mapping[str, str] | None) -> PublishedEvent:
    """Show an event that goes out."""
    return PublishedEvent(event.event, event.delivery_mode, event.publisher_name, headers)


def dead_letter(refused: RefusedEvent) -> DeadLetter:
    """Show an event that does not."""
    return DeadLetter(
        refused.event_name,
        refused.delivery_mode,
        refused.publisher_name,
        refused.code,
        refused.reason,
        refused.path,
        orjson.loads(refused.dead_letter),
    )
