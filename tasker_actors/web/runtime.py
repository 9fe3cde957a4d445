"""What the HTTP API needs of the supervisor that it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tasker_actors.errors import TaskerError

if TYPE_CHECKING:
    from tasker_actors.events.declaration import DeliveryMode
    from tasker_actors.postgres.session import Pool
    from tasker_actors.postgres.step_control import Resolution
    from tasker_actors.postgres.tasks import Cancellation
    from tasker_actors.settings import Settings
    from tasker_actors.stats.figures import Figures
    from tasker_actors.telemetry.trace_context import TraceContext
    from tasker_actors.workflow.registered import RegisteredTemplate


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing that was looked at; `message` says what is wrong, or what was found."""

    name: str
    healthy: bool
    message: str
    duration_ms: float


@dataclass(frozen=True, slots=True)
class HealthReport:
    """`live`: restarting would not help; `ready`: work and requests can be taken now."""

    live: bool
    ready: bool
    checks: tuple[HealthCheck, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """One event to publish from outside a step; its name, namespace and ids are valid, `payload` is any JSON value.

    `trace` is the caller's context, or names the span of this publication where there is no caller.
    """

    event_id: str
    name: str
    namespace: str
    payload: Any
    delivery_mode: DeliveryMode
    correlation_id: str
    parent_correlation_id: str | None
    trace: TraceContext


@dataclass(frozen=True, slots=True)
class PublishReceipt:
    """The event was committed, or handed over if it is only fast."""

    event_id: str


class PublishUnavailableError(TaskerError):
    """No worker is there to publish an event, or it ended meanwhile; the message says what is known of the event."""


class PublicationRefusedError(TaskerError):
    """The event cannot be published as it is; what had come to a worker was counted, and became a dead letter."""

    def __init__(self, code: str, message: str, path: str = "") -> None:
        self.code = code
        self.message = message
        self.path = path
        super().__init__(f"{path}: {message}" if path else message)


class Runtime(Protocol):
    """The supervisor, as the HTTP API sees it. Every method may be called from several threads at the same time."""

    @property
    def settings(self) -> Settings:
        """The configuration that the supervisor was started with."""

    @property
    def supervisor_id(self) -> str:
        """The supervisor's own UUID."""

    @property
    def pool(self) -> Pool:
        """Connections in autocommit mode for short statements."""

    def refused(self, reason: str) -> None:
        """Note that a bound or a rule of access refused a request or a connection: counts it; does not block."""

    def find_template(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        """Return a version of a template, the newest for None; does not block."""

    def templates(self) -> Sequence[RegisteredTemplate]:
        """Return every template that tasks can be created from; does not block."""

    def new_trace(self) -> TraceContext:
        """Start a trace for a request that brought none, sampled as telemetry is configured; does not block."""

    def liveness(self) -> HealthCheck:
        """Say whether the supervisor itself goes on, whatever its database does; does not block."""

    def health(self) -> HealthReport:
        """Look at everything that requests and work depend on; may block for seconds where something hangs."""

    def tasks_created(self, tasks: Sequence[tuple[str, str]]) -> None:
        """Note that tasks (namespace, template name) were committed: counts them and wakes workers; does not block."""

    def task_cancelled(self, cancellation: Cancellation) -> None:
        """Note that a task was cancelled: tells the workers that run its steps, ends its span; does not block."""

    def work_released(self) -> None:
        """Note that steps can run now that could not: wakes workers; does not block."""

    def task_finished(self, resolution: Resolution) -> None:
        """Note that a task was finished by what somebody did to a step: counts it, ends its span; does not block."""

    def publish(self, publication: Publication, timeout: float) -> PublishReceipt:
        """Publish one event through a worker; blocks until it is committed, `timeout` seconds at most.

        Raises PublishUnavailableError, DatabaseUnavailableError where nothing was tried, PublicationRefusedError, and
        TimeoutError, after which the outcome is unknown.
        """

    def figures(self) -> Figures:
        """Return every figure of the table of metrics, now; the answer is the caller's own."""

    def event_stats(self) -> dict[str, Any]:
        """Return the figures of `GET /metrics/events`."""
