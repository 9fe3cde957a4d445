"""`AsyncTaskerClient`: the same as `TaskerClient`, from a coroutine; what is asked is written once, in `operations`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from tasker_actors.client.answers import CreatedTask, PublishedEvent, Step, Task
from tasker_actors.client.awaiting import AsyncConnection
from tasker_actors.client.endpoint import Endpoint
from tasker_actors.client.operations import EventOptions, Operations, TaskFilters
from tasker_actors.client.task_request import TaskOptions, TaskRequest

if TYPE_CHECKING:
    from psycopg import AsyncConnection as DatabaseConnection

    from tasker_actors.client.transaction import AsyncTransactionClient


class AsyncTaskerClient:
    """As TaskerClient, for one event loop: nothing blocks it, and each method is to be awaited."""

    def __init__(self, url: str, api_key: str | None = None, *, timeout: float = 30.0, retry_for: float = 10.0) -> None:
        """Open nothing yet; raises ConfigurationError for an address that is none."""
        self._connection = AsyncConnection(Endpoint(url.rstrip("/"), api_key, timeout=timeout, given_as="url"))
        self._ask = Operations(retry_for=retry_for)

    @staticmethod
    def in_transaction(connection: DatabaseConnection[Any]) -> AsyncTransactionClient:
        """Return what creates tasks and publishes events inside the caller's own transaction on this connection."""
        from tasker_actors.client.transaction import AsyncTransactionClient  # noqa: PLC0415  over HTTP no driver is needed

        return AsyncTransactionClient(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that were kept open."""
        await self._connection.http.aclose()

    async def create_task(
        self, template: str, context: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]
    ) -> CreatedTask:
        """Create a task of `namespace/name` or `namespace/name@version`; TaskRequest says what the options are.

        With an `idempotency_key`, and no correlation id of the caller's, a task that an earlier try of this very call
        has made is returned; where another has made it, DuplicateTaskError is raised.
        """
        return await self._connection.run(self._ask.create_task(TaskRequest(template, context or {}, **options)))

    async def create_tasks(self, requests: Sequence[TaskRequest]) -> list[CreatedTask]:
        """Create up to 1,000 tasks in one transaction, all or none; errors have the `index` of the task."""
        return await self._connection.run(self._ask.create_tasks(requests))

    async def get_task(self, task_uuid: str) -> Task:
        """Return a task as it is now."""
        return await self._connection.run(self._ask.get_task(task_uuid))

    async def list_tasks(self, **filters: Unpack[TaskFilters]) -> AsyncIterator[Task]:
        """Yield tasks, the newest first; asks for the next page when it is needed."""
        cursor: str | None = None
        while True:
            page = await self._connection.run(self._ask.page(filters, cursor))
            for task in page.tasks:
                yield task
            cursor = page.next_cursor
            if cursor is None:
                return

    async def steps(self, task_uuid: str) -> list[Step]:
        """Return the steps of a task, each after those it depends on."""
        return await self._connection.run(self._ask.steps(task_uuid))

    async def get_step(self, task_uuid: str, step_uuid: str) -> Step:
        """Return a step with its result, whatever its size."""
        return await self._connection.run(self._ask.get_step(task_uuid, step_uuid))

    async def cancel(self, task_uuid: str, *, cancelled_by: str | None = None, reason: str | None = None) -> Task:
        """Cancel a task; again changes nothing. Raises TaskFinishedError for one that came to another end."""
        return await self._connection.run(self._ask.cancel(task_uuid, cancelled_by, reason))

    async def wait(self, task_uuid: str, timeout: float) -> Task:
        """Return a task when it is finished; raises TaskNotFinishedError after `timeout` seconds."""
        return await self._connection.run(self._ask.wait(task_uuid, timeout))

    async def publish_event(self, name: str, payload: Any, **options: Unpack[EventOptions]) -> PublishedEvent:
        """Publish an event from outside a step, `namespace` among the options.

        Returns after its commit, a fast one after it was handed over. Never repeated: that would be another event.
        """
        return await self._connection.run(self._ask.publish_event(name, payload, options))

    async def reset_step(self, task_uuid: str, step_uuid: str, *, by: str, reason: str) -> Step:
        """Let a failed step run again with all its attempts."""
        return await self._connection.run(self._ask.reset_step(task_uuid, step_uuid, by, reason))

    async def resolve_step(self, task_uuid: str, step_uuid: str, *, by: str, reason: str) -> Step:
        """Let the steps after a failed one run without its result."""
        return await self._connection.run(self._ask.resolve_step(task_uuid, step_uuid, by, reason))

    async def complete_step(self, task_uuid: str, step_uuid: str, result: Any, *, by: str, reason: str) -> Step:
        """Give the steps after a failed one a result that was made elsewhere."""
        return await self._connection.run(self._ask.complete_step(task_uuid, step_uuid, result, by, reason))
