"""Tasks by the hundred thousand, in seconds: copies of one that was created as clients create it."""

from __future__ import annotations

from support.flow import Flow

from tasker_actors.workflow.registered import RegisteredTemplate

# Of one statement; a million at once would take longer than the 30 s that the server gives a statement.
_COPIES = 50_000

# The places of the copies in the queue are those that create_tasks_v1 would have given them at their age.
_COPY = """
WITH made AS (
    INSERT INTO tasker.tasks (
        task_uuid, template_id, namespace, name, version, priority, open_steps, context, context_bytes, correlation_id,
        traceparent, created_at, updated_at)
    SELECT gen_random_uuid(), t.template_id, t.namespace, t.name, t.version, t.priority, t.open_steps, t.context,
           t.context_bytes, t.correlation_id, t.traceparent, t.created_at - n * %(apart)s::interval, t.updated_at
    FROM tasker.tasks t, generate_series(%(first)s::integer, %(last)s::integer) AS n
    WHERE t.task_uuid = %(task)s
    RETURNING *
)
INSERT INTO tasker.steps (
    task_uuid, position, step_uuid, namespace, name, state, open_dependencies, max_attempts, run_at, limit_keys,
    updated_at)
SELECT m.task_uuid, s.position, gen_random_uuid(), s.namespace, s.name, s.state, s.open_dependencies, s.max_attempts,
       CASE WHEN s.state = 'enqueued' THEN m.created_at - make_interval(hours => m.priority) END, s.limit_keys,
       m.updated_at
FROM made m CROSS JOIN tasker.steps s
WHERE s.task_uuid = %(task)s
"""


def add_backlog(
    flow: Flow,
    registered: RegisteredTemplate,
    count: int,
    *,
    priority: int = 0,
    apart: str = "10 ms",
    context: bytes = b"{}",
) -> None:
    """Create so many tasks, each a bit older than the one before; the youngest is as old as this call."""
    (row,) = flow.create(registered, priority=priority, context=context)
    for first in range(1, count, _COPIES):
        places = {"first": first, "last": min(first + _COPIES, count) - 1}
        with flow.pool.connection() as connection:
            connection.execute(_COPY, {"task": row.task_uuid, "apart": apart, **places})
