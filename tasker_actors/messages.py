"""Every message of the system, in the order of the flow. Read this first, then `pipeline.py`.

Messages are frozen. Each docstring names sender and receiver, and what is lost if the process dies at that point. Those
under "Between processes" travel over the pipe as JSON; all others stay in their worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasker_actors.stats.figures import Exemplar
from tasker_actors.values import value

if TYPE_CHECKING:
    from tasker_actors.events.outgoing import Derived, FastEvent, OutgoingEvent, RefusedEvent
    from tasker_actors.postgres.workers import WorkerState
    from tasker_actors.stats.counters import CommittedCount
    from tasker_actors.stats.reader import BlockReader
    from tasker_actors.steps.finished import FinishedStep
    from tasker_actors.steps.lease import LeasedStep
    from tasker_actors.telemetry.metrics import Metric
    from tasker_actors.telemetry.trace_context import Correlated, TraceContext


# 1. Steps


@dataclass(frozen=True, slots=True)
class WorkAvailable:
    """Supervisor, or the worker's own clock → StepSource: look for work now. Lost: nothing, the slow poll finds it."""


@dataclass(frozen=True, slots=True)
class ExecuteSteps:
    """StepSource → StepExecutor: run ready steps until none is left. Lost: they go back, uncounted unless begun."""


@dataclass(frozen=True, slots=True)
class ExecutorFree:
    """StepExecutor → StepSource: this executor found no more ready steps. Lost: with the worker only."""

    executor: int


@dataclass(frozen=True, slots=True)
class ExtendLeases:
    """Worker's main thread → StepSource: extend the lease of everything held, waiting steps too."""


@dataclass(frozen=True, slots=True)
class DispatchAll:
    """Worker's main thread → StepSource: steps are ready that no executor takes up; wake all that are free."""


@dataclass(frozen=True, slots=True)
class ReturnOverdue:
    """Worker's main thread → StepSource: every executor is busy for long; let others have what waits here."""


@dataclass(frozen=True, slots=True)
class StopClaiming:
    """Worker's main thread → StepSource: claim and start nothing more, give back what has not begun."""


@value()
class StepFinished:
    """StepExecutor (or the clock, for a handler that hangs) → EventRouter. Lost: the result; the step runs again."""

    finished: FinishedStep


# 2. Commit


@value()
class CommitItem:
    """One entry of a batch; `finished` is None for steps that are given back and for events from outside a step."""

    document: dict[str, Any]
    size: int
    token: int
    task_uuid: str | None
    finished: FinishedStep | None
    publication: PendingPublication | None = None


@dataclass(frozen=True, slots=True)
class CommitItems:
    """EventRouter, or StepSource giving back → DurablePublisher: commit. Lost: unpublished results; steps run again."""

    items: tuple[CommitItem, ...]


@dataclass(frozen=True, slots=True)
class StepsCommitted:
    """DurablePublisher → EventRouter and StepSource: the transaction is over.

    `won` were stored; of `lost`, whose lease had gone, nothing happened. `continued` are successors that the same
    transaction leased to this worker, `released` counts those that anybody may claim now; `finished_tasks` maps task to
    final status. Times are monotonic seconds. Lost: hand-over to subscribers, and spans; counts are in the database.
    """

    won: tuple[CommitItem, ...]
    lost: tuple[CommitItem, ...]
    continued: tuple[LeasedStep, ...]
    released: int
    finished_tasks: Mapping[str, str]
    sent_at: float
    committed_at: float


# 3. Fast delivery


@dataclass(frozen=True, slots=True)
class RouteFast:
    """EventRouter → InProcessEventBus: hand these committed events to their subscribers. Lost: those deliveries."""

    events: tuple[FastEvent, ...]


@dataclass(frozen=True, slots=True)
class PublisherCallbacks:
    """EventRouter → PublisherHooks: run `after_publish` and `on_publish_error` of events. Lost: those calls."""

    events: tuple[tuple[OutgoingEvent | RefusedEvent, Correlated], ...]


# 4. Events from outside a step


@dataclass(frozen=True, slots=True)
class PublishEvent:
    """Supervisor → EventRouter of one worker (ask): publish one event; the answer comes after its commit.

    Lost before the answer: unknown, in the queue once or not at all. `payload` is JSON text: it travels as it came.
    """

    event_id: str
    name: str
    namespace: str
    payload: str
    delivery_mode: str
    correlation_id: str
    parent_correlation_id: str | None
    traceparent: str
    tracestate: str | None


@dataclass(frozen=True, slots=True)
class EventPublished:
    """EventRouter → Supervisor (reply). `code` is None if it was published, else why it became a dead letter."""

    event_id: str
    code: str | None = None
    message: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class PendingPublication:
    """An event from outside a step on its way to the commit since `finished_at`; `trace`: its caller's, or its own."""

    derived: Derived
    trace: TraceContext
    event_id: str
    correlation_id: str
    reply: Any
    finished_at: float


# 5. Between processes: life of a worker


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """Worker → Supervisor: the pipeline is running and claims work."""

    pid: int


@dataclass(frozen=True, slots=True)
class WorkerBootFailed:
    """Worker → Supervisor: it cannot start, and why; a restart would not help."""

    message: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Worker → Supervisor: it holds `in_flight` steps, has `finished` many; `stalled` made no progress so long."""

    in_flight: int
    waits_for_database: bool
    stalled: str | None
    stalled_ms: int
    finished: int


@dataclass(frozen=True, slots=True)
class WorkReleased:
    """Worker → Supervisor: a commit released steps that this worker did not continue; wake the others."""

    namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CancelLeases:
    """Supervisor ⇄ worker: these leases were cancelled. Lost: their holders hear of it when they extend them."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """Supervisor → worker: claim nothing more, finish, and end within `timeout_ms`."""

    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Recycle:
    """Worker → Supervisor: replace me, a handler is stuck past its limit; what it held is committed or returned."""

    reason: str


@dataclass(frozen=True, slots=True)
class Drained:
    """Worker → Supervisor: ended; `returned` names the steps that went back to their queue unfinished."""

    returned: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Supervisor → worker: log every thread's stack."""


@dataclass(frozen=True, slots=True)
class ExemplarsFound:
    """Worker → StatsActor: spans behind what cells of its memory block have counted. Lost: those, and no figure."""

    slot: int
    incarnation: int
    cells: tuple[int, ...]
    exemplars: tuple[Exemplar, ...]


# 6. Figures and upkeep, all in the supervisor


@dataclass(frozen=True, slots=True)
class WorkerAttached:
    """Supervisor → StatsActor: read this incarnation's memory block from now on."""

    slot: int
    incarnation: int
    worker_id: int
    reader: BlockReader


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """Supervisor → StatsActor: the process ended; its gauges vanish, its counters stay."""

    slot: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class WorkerSettled:
    """Supervisor → StatsActor: the database says what that incarnation has committed; keep its figures for good."""

    slot: int
    incarnation: int
    committed: tuple[CommittedCount, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """Anybody in the supervisor → StatsActor: this happened `amount` times."""

    metric: Metric
    labels: tuple[str, ...]
    amount: int = 1


@dataclass(frozen=True, slots=True)
class ShowGauges:
    """MaintenanceActor → StatsActor: these are all the series of a gauge."""

    metric: Metric
    values: Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class ReportFigures:
    """HTTP, or the exporter's thread → StatsActor (ask): every figure, as a value that is the asker's own."""


@dataclass(frozen=True, slots=True)
class ReportEventStats:
    """HTTP → StatsActor (ask): the document of `GET /metrics/events`."""


@dataclass(frozen=True, slots=True)
class DeclareLabelSets:
    """Supervisor → StatsActor: let these label sets exist, at 0."""

    label_sets: tuple[tuple[Metric, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Maintain:
    """Supervisor → MaintenanceActor: a round is due; these are the workers to say alive of. Lost: one round."""

    workers: tuple[WorkerState, ...]


@dataclass(frozen=True, slots=True)
class FireSchedules:
    """Alarm → ScheduleActor: a schedule is due, or was changed. Lost: until the next one, which the poll sends."""
