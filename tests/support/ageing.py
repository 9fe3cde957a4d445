"""What is stored, as if it had happened long ago."""

from __future__ import annotations

from support.flow import Flow

_SINCE = (
    "UPDATE tasker.tasks SET updated_at = updated_at - make_interval(mins => %s) RETURNING 1",
    "UPDATE tasker.steps SET updated_at = updated_at - make_interval(mins => %s) RETURNING 1",
    "UPDATE tasker.steps SET leased_at = leased_at - make_interval(mins => %s) RETURNING 1",
    "UPDATE tasker.tasks_dlq SET dlq_timestamp = dlq_timestamp - make_interval(mins => %s) RETURNING 1",
)
_CREATED = "UPDATE tasker.tasks SET created_at = created_at - make_interval(mins => %s) RETURNING 1"
_COMPLETED = "UPDATE tasker.tasks SET completed_at = completed_at - make_interval(mins => %s) RETURNING 1"


def age(flow: Flow, minutes: int, *, created: int = 0, completed: int = 0) -> None:
    """Nothing has become of any task for so long; they were created, or came to their end, so much earlier."""
    for statement in _SINCE:
        flow.rows(statement, minutes)
    flow.rows(_CREATED, created)
    flow.rows(_COMPLETED, completed)
