"""`TaskerClient`: what an application asks of a supervisor, from a thread that may block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from tasker_actors.client.answers import CreatedTask, PublishedEvent, Step, Task
from tasker_actors.client.blocking import BlockingConnection
from tasker_actors.client.endpoint import Endpoint
from tasker_actors.client.operations import EventOptions, Operations, TaskFilters
from tasker_actors.client.task_request import TaskOptions, TaskRequest

if TYPE_CHECKING:
    from psycopg import Connection

    from tasker_actors.client.transaction import TransactionClient


class TaskerClient:
    """An application's way to a supervisor, over HTTP; `in_transaction` is the one through the database.

    Every method blocks, for `timeout` seconds at most without an answer. Reads, cancels, and creating a task that has
    an `idempotency_key` are repeated for `retry_for` seconds while nobody can answer; everything else only if nothing
    of it was sent. They raise InvalidRequestError, AccessDeniedError, UnknownTemplateError, TaskNotFoundError,
    DuplicateTaskError, TaskFinishedError or another RequestRefusedError, and UnavailableError. Any thread may call.

    The trace that the caller works in goes along: OpenTelemetry's current span, or the step that calls.
    """

    def __init__(self, url: str, api_key: str | None = None, *, timeout: float = 30.0, retry_for: float = 10.0) -> None:
        """Open nothing yet; raises ConfigurationError for an address that is none."""
        self._connection = BlockingConnection(Endpoint(url.rstrip("/"), api_key, timeout=timeout, given_as="url"))
        self._ask = Operations(retry_for=retry_for)

    @staticmethod
    def in_transaction(connection: Connection[Any]) -> TransactionClient:
        """Return what creates tasks and publishes events inside the caller's own transaction on this connection."""
        from tasker_actors.client.transaction import TransactionClient  # noqa: PLC0415  over HTTP no driver is needed

        return TransactionClient(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that were kept open."""
        self._connection.http.close()

    def create_task(
        self, template: str, context: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]
    ) -> CreatedTask:
        """Create a task of `namespace/name` or `namespace/name@version`; TaskRequest says what the options are.

        With an `idempotency_key`, and no correlation id of the caller's, a task that an earlier try of this very call
        has made is returned; where another has made it, DuplicateTaskError is raised.
        """
        return self._connection.run(self._ask.create_task(TaskRequest(template, context or {}, **options)))

    def create_tasks(self, requests: Sequence[TaskRequest]) -> list[CreatedTask]:
        """Create up to 1,000 tasks in one transaction, all or none; errors have the `index` of the task."""
        return self._connection.run(self._ask.create_tasks(requests))

    def get_task(self, task_uuid: str) -> Task:
        """Return a task as it is now."""
        return self._connection.run(self._ask.get_task(task_uuid))

    def list_tasks(self, **filters: Unpack[TaskFilters]) -> Iterator[Task]:
        """Yield tasks, the newest first; asks for the next page when it is needed."""
        cursor: str | None = None
        while True:
            page = self._connection.run(self._ask.page(filters, cursor))
            yield from page.tasks
            cursor = page.next_cursor
            if cursor is None:
                return

    def steps(self, task_uuid: str) -> list[Step]:
        """Return the steps of a task, each after those it depends on."""
        return self._connection.run(self._ask.steps(task_uuid))

    def get_step(self, task_uuid: str, step_uuid: str) -> Step:
        """Return a step with its result, whatever its size."""
        return self._connection.run(self._ask.get_step(task_uuid, step_uuid))

    def cancel(self, task_uuid: str, *, cancelled_by: str | None = None, reason: str | None = None) -> Task:
        """Cancel a task, and keep who did it; again changes nothing.

        Raises TaskFinishedError for one that came to another end.
        """
        return self._connection.run(self._ask.cancel(task_uuid, cancelled_by, reason))

    def wait(self, task_uuid: str, timeout: float) -> Task:
        """Return a task when it is finished; raises TaskNotFinishedError after `timeout` seconds."""
        return self._connection.run(self._ask.wait(task_uuid, timeout))

    def publish_event(self, name: str, payload: Any, **options: Unpack[EventOptions]) -> PublishedEvent:
        """Publish an event from outside a step, `namespace` among the options.

        Returns after its commit, a fast one after it was handed over. Never repeated: that would be another event.
        """
        return self._connection.run(self._ask.publish_event(name, payload, options))

    def reset_step(self, task_uuid: str, step_uuid: str, *, by: str, reason: str) -> Step:
        """Let a failed step run again with all its attempts."""
        return self._connection.run(self._ask.reset_step(task_uuid, step_uuid, by, reason))

    def resolve_step(self, task_uuid: str, step_uuid: str, *, by: str, reason: str) -> Step:
        """Let the steps after a failed one run without its result."""
        return self._connection.run(self._ask.resolve_step(task_uuid, step_uuid, by, reason))

    def complete_step(self, task_uuid: str, step_uuid: str, result: Any, *, by: str, reason: str) -> Step:
        """Give the steps after a failed one a result that was made elsewhere."""
        return self._connection.run(self._ask.complete_step(task_uuid, step_uuid, result, by, reason))
