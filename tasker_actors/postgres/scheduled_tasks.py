"""From a schedule to the rows of its tasks, by the same rules as for every other task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

import orjson
from psycopg import Connection
from psycopg.rows import TupleRow
from pydantic import ValidationError

from tasker_actors.errors import invalid_request
from tasker_actors.postgres.creation import stored_templates
from tasker_actors.postgres.in_transaction import run
from tasker_actors.postgres.schedules import NewSchedule
from tasker_actors.postgres.session import Pool, session
from tasker_actors.telemetry.trace_context import TraceContext
from tasker_actors.workflow.request_model import request_faults
from tasker_actors.workflow.schedule import firing_tags, firing_time
from tasker_actors.workflow.task_planning import NewTaskRow, Origin, plan_task
from tasker_actors.workflow.task_requests import NewTask

INITIATOR = "schedule"
_MOST_STEPS = 10_000
"""Of the tasks of one transaction, which takes a fifth of a second for them: a server that is a hundred times as slow
answers within `answer_timeout_ms`. One that does not is asked for the same again, after others."""


class ScheduledTasks:
    """Makes rows of tasks, of templates that any supervisor registered. `new_trace` starts the trace of each."""

    def __init__(self, new_trace: Callable[[], TraceContext]) -> None:
        self._origin = Origin(None, None, new_trace)

    def check(self, pool: Pool, schedule: NewSchedule, moment: datetime) -> None:
        """Raise what a firing at this moment would be refused with, as `rows`; and what `session` raises."""
        with session(pool) as connection:
            self.rows(connection, schedule, [(moment, INITIATOR)])

    def rows(
        self, connection: Connection[TupleRow], schedule: NewSchedule, firings: Sequence[tuple[datetime, str]]
    ) -> list[NewTaskRow]:
        """Make the row of the task of each firing, a moment and an idempotency key.

        Only of the first ones, at least one, where all would have more steps than one transaction should create. Raises
        UnknownTemplateError, InvalidRequestError, and TemplateError for a template of another release.
        """
        requests = [_request(schedule, moment, key) for moment, key in firings]
        templates = run(connection, stored_templates(requests[:1], in_batch=False))
        first = plan_task(requests[0], templates, self._origin).row
        most = max(1, _MOST_STEPS // len(first.step_uuids))
        return [first, *(plan_task(each, templates, self._origin).row for each in requests[1:most])]


def _request(schedule: NewSchedule, moment: datetime, idempotency_key: str) -> NewTask:
    context: dict[str, Any] = orjson.loads(schedule.context)
    if schedule.scheduled_for_key is not None:
        context[schedule.scheduled_for_key] = firing_time(moment)
    given = {
        "namespace": schedule.namespace,
        "name": schedule.template,
        "version": schedule.version,
        "context": context,
        "initiator": INITIATOR,
        "reason": f"schedule {schedule.name}",
        "priority": schedule.priority,
        "tags": [*schedule.tags, *firing_tags(schedule.name, moment)],
        "idempotency_key": idempotency_key,
    }
    try:
        return NewTask.model_validate(given)
    except ValidationError as error:
        faults = request_faults(error.errors(include_url=False, include_input=False))
        message = f"its task cannot be created: {faults[0].path}: {faults[0].message}"
        raise invalid_request(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", message, faults) from error
