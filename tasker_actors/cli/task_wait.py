"""Waiting until tasks are finished: few are asked for one by one, many are found in the pages of the list."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from tasker_actors.cli.client import SupervisorClient
from tasker_actors.errors import RequestRefusedError, SupervisorUnreachableError
from tasker_actors.workflow.states import TERMINAL_TASK_STATES, TaskState

SUCCEEDED = frozenset({TaskState.COMPLETE, TaskState.RESOLVED_MANUALLY})
"""The good ends of a task."""

_FEW = 20
_PAGE = 200
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_FIRST_LIST_S = 1.0
# Reading the list takes a fifth of the time at most: the supervisor has better things to do.
_PAUSE_PER_LIST = 4
_AWAY_LIMIT_S = 30.0
_UNAVAILABLE = 503


class TaskWait:
    """Tasks of one template that are waited for.

    `statuses` has the status of each that is finished, `latest` the task that was looked at last, as the supervisor
    shows it. A supervisor that restarts meanwhile is waited for too, for 30 s.
    """

    def __init__(self, client: SupervisorClient, namespace: str, name: str, task_uuids: Sequence[str]) -> None:
        self._client = client
        self._filter = {"namespace": namespace, "name": name}
        self._pending = dict.fromkeys(sorted(task_uuids))
        self._next_list = time.monotonic() + _FIRST_LIST_S
        self.statuses: dict[str, str] = {}
        self.latest: dict[str, Any] = {}

    def until_finished(self, on_progress: Callable[[], object]) -> None:
        """Block until every task is finished; `on_progress` is called after each look at them.

        Raises SupervisorUnreachableError or RequestRefusedError if the supervisor does not answer for 30 s, or refuses.
        """
        pause = _FIRST_PAUSE_S
        answered = time.monotonic()
        while True:
            before = len(self._pending)
            try:
                self._look()
                answered = time.monotonic()
            except (SupervisorUnreachableError, RequestRefusedError) as error:
                lasting = isinstance(error, RequestRefusedError) and error.status != _UNAVAILABLE
                if lasting or time.monotonic() - answered > _AWAY_LIMIT_S:
                    raise
            on_progress()
            if not self._pending:
                return
            pause = _FIRST_PAUSE_S if len(self._pending) < before else min(pause * 1.5, _LONGEST_PAUSE_S)
            time.sleep(pause)

    def _look(self) -> None:
        if len(self._pending) <= _FEW:
            for task_uuid in list(self._pending):
                self._note(self._client.get(f"/v1/tasks/{task_uuid}"))
            return
        # Old tasks run first, so the newest is a cheap sign of whether all the others are finished.
        newest = next(reversed(self._pending))
        self._note(self._client.get(f"/v1/tasks/{newest}"))
        began = time.monotonic()
        if newest not in self._pending or began >= self._next_list:
            self._look_through_list()
            now = time.monotonic()
            self._next_list = now + _PAUSE_PER_LIST * (now - began)

    def _look_through_list(self) -> None:
        """Read the list of tasks, the newest first, down to the oldest that is waited for (UUIDv7 sort by time)."""
        oldest = next(iter(self._pending))
        cursor: str | None = None
        while True:
            page = self._client.get("/v1/tasks", **self._filter, limit=_PAGE, cursor=cursor)
            tasks = page["tasks"]
            for task in tasks:
                self._note(task)
            cursor = page["next_cursor"]
            if cursor is None or (tasks and tasks[-1]["task_uuid"] <= oldest):
                return

    def _note(self, task: dict[str, Any]) -> None:
        task_uuid = task["task_uuid"]
        self.latest = task
        if task_uuid in self._pending and task["status"] in TERMINAL_TASK_STATES:
            del self._pending[task_uuid]
            self.statuses[task_uuid] = task["status"]
