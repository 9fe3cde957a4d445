-- name: create_tasks
-- The function takes statement_timestamp() for created_at, so it is the same moment here.
SELECT tasker.create_tasks_v1(%s::jsonb), statement_timestamp();

-- name: database_time
-- What delays count from: clocks of clients and supervisors differ.
SELECT statement_timestamp();

-- name: cancel_task
-- What it did, and whose it is.
SELECT tasker.cancel_task_v1(t.task_uuid), t.task_uuid::text, t.namespace, t.name, t.correlation_id::text, t.traceparent,
       t.tracestate
FROM tasker.tasks t
WHERE t.task_uuid = %(task_uuid)s;

-- name: begin_listing
-- The page and what is read for it come from one snapshot, and a filter without an index cannot read for ever.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL statement_timeout = '10s';

-- name: find_templates
-- Few rows, whatever the number of tasks. Asked for first, because the planner must see the ids to know whether tasks of
-- these templates are rare.
SELECT coalesce(array_agg(template_id), '{}')
FROM tasker.templates
WHERE (%(namespace)s::text IS NULL OR namespace = %(namespace)s::text)
  AND (%(name)s::text IS NULL OR name = %(name)s::text)
  AND (%(version)s::text IS NULL OR version = %(version)s::text);

-- name: list_tasks
-- Sent unprepared, so that the planner sees which filters are null and drops them. Ids are UUIDv7, so the primary key
-- is the order of creation; the bounds on it let a filter by time end the scan. A filter that has one value is said as
-- an equation too: only then does the index on it give tasks in the order of the page. The indexes are on expressions,
-- so the filters are.
SELECT t.task_uuid::text, t.context_bytes, t.status, c.*
FROM tasker.tasks t
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE s.state = 'pending'), count(*) FILTER (WHERE s.state = 'enqueued'),
           count(*) FILTER (WHERE s.state = 'in_progress'), count(*) FILTER (WHERE s.state = 'waiting_for_retry'),
           count(*) FILTER (WHERE s.state = 'complete'), count(*) FILTER (WHERE s.state = 'error'),
           count(*) FILTER (WHERE s.state = 'cancelled'), count(*) FILTER (WHERE s.state = 'resolved_manually'),
           count(*) FILTER (WHERE CASE s.state WHEN 'enqueued' THEN coalesce(t.start_at <= statement_timestamp(), true)
                                               WHEN 'waiting_for_retry' THEN s.run_at <= statement_timestamp() END),
           count(*) FILTER (WHERE s.state = 'pending' AND s.blocked)
    FROM tasker.steps s
    WHERE s.task_uuid = t.task_uuid AND s.state <> 'undecided') c
WHERE (%(below)s::uuid IS NULL OR t.task_uuid < %(below)s::uuid)
  AND (%(above)s::uuid IS NULL OR t.task_uuid >= %(above)s::uuid)
  AND (%(templates)s::bigint[] IS NULL OR t.template_id + 0 = ANY (%(templates)s::bigint[]))
  AND (%(templates)s::bigint[] IS NULL OR cardinality(%(templates)s::bigint[]) > 1
       OR t.template_id + 0 = (%(templates)s::bigint[])[1])
  AND (%(stored)s::text[] IS NULL OR t.status || '' = ANY (%(stored)s::text[]))
  AND (%(stored)s::text[] IS NULL OR cardinality(%(stored)s::text[]) > 1 OR t.status || '' = (%(stored)s::text[])[1])
  AND (%(has_states)s::text[] IS NULL OR EXISTS (
      SELECT FROM tasker.steps h WHERE h.task_uuid = t.task_uuid AND h.state = ANY (%(has_states)s::text[])))
  AND (%(correlation_id)s::uuid IS NULL OR t.correlation_id = %(correlation_id)s::uuid)
  AND (%(tag)s::text IS NULL OR (t.tags @> ARRAY[%(tag)s::text] AND t.tags <> '{}'))
  AND (%(created_after)s::timestamptz IS NULL OR t.created_at >= %(created_after)s::timestamptz)
  AND (%(created_before)s::timestamptz IS NULL OR t.created_at < %(created_before)s::timestamptz)
ORDER BY t.task_uuid DESC
LIMIT %(limit)s;

-- name: read_tasks
-- The newest first. JSON goes out as the text that PostgreSQL has, so that no number changes on the way.
SELECT t.task_uuid::text, t.name, t.namespace, t.version, t.status, t.created_at, t.updated_at, t.completed_at,
       t.context::text AS context, t.initiator, t.source_system, t.reason, t.priority, t.tags,
       t.correlation_id::text, t.parent_correlation_id::text, t.start_at, c.*
FROM tasker.tasks t
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE s.state = 'pending') AS pending,
           count(*) FILTER (WHERE s.state = 'enqueued') AS enqueued,
           count(*) FILTER (WHERE s.state = 'in_progress') AS in_progress,
           count(*) FILTER (WHERE s.state = 'waiting_for_retry') AS waiting_for_retry,
           count(*) FILTER (WHERE s.state = 'complete') AS complete,
           count(*) FILTER (WHERE s.state = 'error') AS error,
           count(*) FILTER (WHERE s.state = 'cancelled') AS cancelled,
           count(*) FILTER (WHERE s.state = 'resolved_manually') AS resolved_manually,
           count(*) FILTER (WHERE CASE s.state WHEN 'enqueued' THEN coalesce(t.start_at <= statement_timestamp(), true)
                                               WHEN 'waiting_for_retry' THEN s.run_at <= statement_timestamp() END)
               AS ready,
           count(*) FILTER (WHERE s.state = 'pending' AND s.blocked) AS blocked,
           coalesce(json_agg(json_build_object(
               'step_uuid', s.step_uuid, 'name', s.name, 'status', s.state, 'attempts', s.attempts,
               'max_attempts', s.max_attempts, 'blocked', s.blocked,
               'retry_at', CASE WHEN s.state = 'waiting_for_retry'
                                THEN to_char(s.run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END,
               'updated_at', to_char(s.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'error', s.error) ORDER BY s.position)::text, '[]') AS steps
    FROM tasker.steps s
    WHERE s.task_uuid = t.task_uuid AND s.state <> 'undecided') c
WHERE t.task_uuid = ANY (%s::uuid[])
ORDER BY t.task_uuid DESC;

-- name: task_exists
SELECT FROM tasker.tasks WHERE task_uuid = %s;

-- name: read_steps
-- In the order of positions, with those of the declared dependencies that exist. Results are given as long as all of
-- them together stay below the budget (null: no limit).
SELECT r.step_uuid::text, r.task_uuid::text, r.namespace, r.name, r.state AS status, r.attempts, r.max_attempts,
       r.blocked, CASE WHEN r.state = 'waiting_for_retry' THEN r.run_at END AS retry_at, r.updated_at,
       r.error::text AS error, 'worker-' || r.worker_id AS worker_id, r.dependencies, r.result_bytes,
       CASE WHEN r.fits THEN r.result::text END AS result, r.result IS NOT NULL AND NOT r.fits AS result_omitted
FROM (
    SELECT s.*, %(budget)s::bigint IS NULL
                OR sum(s.result_bytes) OVER (ORDER BY s.position) <= %(budget)s::bigint AS fits,
           ARRAY(SELECT n.name
                 FROM tasker.template_steps n
                 WHERE n.template_id = d.template_id AND n.position = ANY (d.dependencies)
                   AND (NOT n.conditional OR EXISTS (
                       SELECT FROM tasker.steps e
                       WHERE e.task_uuid = s.task_uuid AND coalesce(e.definition, e.position) = n.position
                         AND e.state <> 'undecided'))
                 ORDER BY n.position) AS dependencies
    FROM tasker.steps s
    JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
    JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = coalesce(s.definition, s.position)
    WHERE s.task_uuid = %(task)s AND s.state <> 'undecided'
      AND (%(step)s::uuid IS NULL OR s.step_uuid = %(step)s::uuid)) r
ORDER BY r.position;

-- name: read_attempts
-- The newest 1,000: a step may have had ten thousand.
SELECT r.attempt, r.outcome, r.error, r.worker_id, r.duration_ms, r.finished_at
FROM (
    SELECT a.attempt, a.outcome, a.error::text, 'worker-' || a.worker_id AS worker_id, a.duration_ms, a.finished_at, a.token
    FROM tasker.steps s
    JOIN tasker.step_attempts a ON a.task_uuid = s.task_uuid AND a.position = s.position
    WHERE s.task_uuid = %(task)s AND s.step_uuid = %(step)s
    ORDER BY a.finished_at DESC, a.token DESC
    LIMIT 1000) r
ORDER BY r.finished_at, r.token;
