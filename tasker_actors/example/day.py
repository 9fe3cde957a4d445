"""The day itself: a task for each flight, created at once and waited for, over the API that every user has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import orjson

from tasker_actors.cli.client import SupervisorClient
from tasker_actors.errors import RequestRefusedError, SupervisorUnreachableError, TaskerError
from tasker_actors.example.figures import Figures, Task, read_figures
from tasker_actors.example.supervisor import ExampleSupervisor
from tasker_actors.workflow.states import TERMINAL_TASK_STATES

NAMESPACE, NAME, VERSION = "flights", "departure", "1.0.0"

_PAGE = 200
_POLL_S = 0.05
_QUIET_S = 2.0
_STALLED_S = 60.0
_METRICS_TIMEOUT_S = 10.0


class Day:
    """The flights of one day on one supervisor."""

    def __init__(self, client: SupervisorClient, supervisor: ExampleSupervisor, url: str) -> None:
        self._client = client
        self._supervisor = supervisor
        self._url = url

    def create(self, contexts: Sequence[Mapping[str, Any]]) -> None:
        """Create a task for each context in one request, which is one transaction."""
        template = {"namespace": NAMESPACE, "name": NAME, "version": VERSION}
        tasks = [{**template, "context": context, "source_system": "example"} for context in contexts]
        self._client.post("/v1/tasks/batch", orjson.dumps({"tasks": tasks}))

    def wait(self, total: int, on_progress: Callable[[int], object]) -> list[Task]:
        """Block until all tasks are finished and return them, the newest first.

        `on_progress` gets the number of finished flights. Raises TaskerError if the supervisor ends, or if no flight
        is finished for 60 s.
        """
        finished, moved = 0, time.monotonic()
        trouble = ""
        while True:
            self._supervisor.require_running()
            quiet_s = time.monotonic() - moved
            try:
                counted = self._finished()
                if counted > finished:
                    finished, moved = counted, time.monotonic()
                    on_progress(finished)
                if finished >= total or quiet_s > _QUIET_S:
                    tasks = self._tasks()
                    if all(task["status"] in TERMINAL_TASK_STATES for task in tasks):
                        return tasks
            except (SupervisorUnreachableError, RequestRefusedError) as error:
                # A database may be away for a moment; and a supervisor that ends has stopped listening before.
                trouble = f": {error}"
            if quiet_s > _STALLED_S:
                msg = (
                    f"{finished} of {total} flights are finished, and none more for {_STALLED_S:.0f} s{trouble}; "
                    f"the log of the supervisor ends with\n{self._supervisor.last_words()}"
                )
                raise TaskerError(msg)
            time.sleep(_POLL_S)

    def figures(self) -> Figures:
        """Read the counters; what happened shows in them within 500 ms (SPEC 3)."""
        return read_figures(self._client.get("/metrics/events"), self._metrics_text())

    def _finished(self) -> int:
        """Count the finished flights: each ends with one durable event, flight.cancelled or flight.departed."""
        return int(self._client.get("/metrics/events")["router"]["durable_routed"])

    def _tasks(self) -> list[Task]:
        tasks: list[Task] = []
        cursor: str | None = None
        while True:
            page = self._client.get("/v1/tasks", namespace=NAMESPACE, name=NAME, limit=_PAGE, cursor=cursor)
            tasks.extend(page["tasks"])
            cursor = page["next_cursor"]
            if cursor is None:
                return tasks

    def _metrics_text(self) -> str:
        try:
            # A proxy of the environment cannot reach this machine's loopback.
            answer = httpx.get(f"{self._url}/metrics", timeout=_METRICS_TIMEOUT_S, trust_env=False)
            return answer.raise_for_status().text
        except httpx.HTTPError as error:
            msg = f"{self._url}/metrics cannot be read: {error}; the log of the supervisor is {self._supervisor.log}"
            raise SupervisorUnreachableError(msg) from error
