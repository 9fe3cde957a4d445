-- name: create_tasks
-- The function takes statement_timestamp() for created_at, so it is the same moment here.
SELECT tasker.create_tasks_v1(%s::jsonb), statement_timestamp();

-- name: database_time
-- What delays count from: clocks of clients and supervisors differ.
SELECT statement_timestamp();

-- name: cancel_task
-- What it did, and whose it is.
SELECT tasker.cancel_task_v2(t.task_uuid, %(by)s, %(reason)s), t.task_uuid::text, t.namespace, t.name, t.correlation_id::text, t.traceparent,
       t.tracestate
FROM tasker.tasks t
WHERE t.task_uuid = %(task_uuid)s;

-- name: read_tasks
-- The newest first. JSON goes out as the text that PostgreSQL has, so that no number changes on the way. Who did not say
-- who, where from and why is shown as unknown: the original's clients take no null there. Under `steps` its three times
-- have no zone, as its clients read them, unlike all others. OFFSET 0 keeps the planner from comparing each step of
-- a task with each of its template, which it takes for two: each is looked up by its key.
SELECT t.task_uuid::text, t.name, t.namespace, t.version, t.status, t.created_at, t.updated_at, t.completed_at,
       CASE WHEN %(budget)s::bigint IS NULL
                 OR sum(t.context_bytes) OVER (ORDER BY t.task_uuid DESC) <= %(budget)s::bigint
            THEN t.context::text END AS context,
       coalesce(t.initiator, 'unknown') AS initiator, coalesce(t.source_system, 'unknown') AS source_system,
       coalesce(t.reason, 'unknown') AS reason, t.priority, t.tags, t.correlation_id::text,
       t.parent_correlation_id::text, t.start_at, t.cancelled_by, t.cancel_reason, c.*
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
           count(*) FILTER (WHERE r.is_ready) AS ready,
           count(*) FILTER (WHERE s.state = 'pending' AND s.blocked) AS blocked,
           coalesce(json_agg(json_build_object(
               'step_uuid', s.step_uuid, 'workflow_step_uuid', s.step_uuid, 'task_uuid', s.task_uuid,
               'named_step_uuid', substr(encode(sha256(convert_to(t.template_id || ' ' || d.position, 'UTF8')), 'hex'),
                                         1, 32)::uuid,
               'name', s.name, 'status', s.state, 'current_state', s.state, 'attempts', s.attempts,
               'max_attempts', s.max_attempts, 'blocked', s.blocked,
               'dependencies_satisfied', s.open_dependencies = 0,
               'retry_eligible', s.attempts < s.max_attempts AND s.state IN (
                   'pending', 'enqueued', 'in_progress', 'waiting_for_retry'),
               'ready_for_execution', r.is_ready, 'total_parents', p.total, 'completed_parents', p.done,
               'retry_at', to_char(r.retry_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'next_retry_at', to_char(r.retry_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
               'backoff_request_seconds', ceil(extract(epoch FROM r.retry_at - s.updated_at))::integer,
               'last_failure_at', to_char(a.failed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
               'last_attempted_at', to_char(
                   CASE WHEN s.state = 'in_progress' THEN greatest(a.began_at, s.updated_at) ELSE a.began_at END
                   AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
               'updated_at', to_char(s.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'error', s.error) ORDER BY s.position)::text, '[]') AS steps
    FROM tasker.steps s
    CROSS JOIN LATERAL (
        SELECT d.position, d.dependencies, d.gathers
        FROM tasker.template_steps d
        WHERE d.template_id = t.template_id AND d.position = coalesce(s.definition, s.position)
        OFFSET 0) d
    CROSS JOIN LATERAL (
        SELECT CASE s.state WHEN 'enqueued' THEN coalesce(t.start_at <= statement_timestamp(), true)
                            WHEN 'waiting_for_retry' THEN s.run_at <= statement_timestamp()
                            ELSE false END AS is_ready,
               CASE WHEN s.state = 'waiting_for_retry' THEN s.run_at END AS retry_at) r
    CROSS JOIN LATERAL (
        SELECT count(*) AS total, count(*) FILTER (WHERE n.state IN ('complete', 'resolved_manually')) AS done
        FROM (
            SELECT n.state FROM tasker.steps n
            WHERE d.dependencies <> '{}' AND n.task_uuid = s.task_uuid AND n.position = ANY (d.dependencies)
              AND n.state <> 'undecided'
            UNION ALL
            SELECT n.state FROM tasker.steps n
            WHERE d.gathers IS NOT NULL AND n.task_uuid = s.task_uuid AND n.definition = ANY (d.gathers)) n) p
    CROSS JOIN LATERAL (
        SELECT max(m.finished_at) FILTER (WHERE m.outcome <> 'complete') AS failed_at,
               max(m.finished_at - make_interval(secs => coalesce(m.duration_ms, 0) / 1000)) AS began_at
        FROM tasker.step_attempts m
        WHERE (s.attempts > 0 OR s.error IS NOT NULL) AND m.task_uuid = s.task_uuid AND m.position = s.position) a
    WHERE s.task_uuid = t.task_uuid AND s.state <> 'undecided') c
WHERE t.task_uuid = ANY (%(tasks)s::uuid[])
ORDER BY t.task_uuid DESC;

-- name: task_exists
SELECT FROM tasker.tasks WHERE task_uuid = %s;

-- name: read_steps
-- In the order of positions, with those of the declared dependencies that exist. Results are given as long as all of
-- them together stay below the budget (null: no limit). What it says beside the result is what read_tasks says too.
SELECT w.step_uuid::text, w.step_uuid::text AS workflow_step_uuid, w.task_uuid::text,
       substr(encode(sha256(convert_to(w.template_id || ' ' || w.defined_at, 'UTF8')), 'hex'), 1, 32)::uuid::text
           AS named_step_uuid,
       w.namespace, w.name, w.state AS status, w.state AS current_state, w.attempts, w.max_attempts, w.blocked,
       w.open_dependencies = 0 AS dependencies_satisfied,
       w.attempts < w.max_attempts AND w.state IN ('pending', 'enqueued', 'in_progress', 'waiting_for_retry')
           AS retry_eligible,
       CASE w.state WHEN 'enqueued' THEN coalesce(w.start_at <= statement_timestamp(), true)
                    WHEN 'waiting_for_retry' THEN w.run_at <= statement_timestamp()
                    ELSE false END AS ready_for_execution,
       p.total AS total_parents, p.done AS completed_parents, w.retry_at, w.retry_at AS next_retry_at,
       ceil(extract(epoch FROM w.retry_at - w.updated_at))::integer AS backoff_request_seconds,
       a.failed_at AS last_failure_at,
       CASE WHEN w.state = 'in_progress' THEN greatest(a.began_at, w.updated_at) ELSE a.began_at END AS last_attempted_at,
       -- Instances of a batch come to be later than their task; their ids are UUIDv7.
       CASE WHEN w.definition IS NULL THEN w.created_at
            ELSE to_timestamp(('x' || substr(replace(w.step_uuid::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0)
       END AS created_at,
       w.updated_at, CASE WHEN w.state IN ('complete', 'resolved_manually') THEN w.updated_at END AS completed_at,
       w.error::text AS error, 'worker-' || w.worker_id AS worker_id, w.dependencies, w.result_bytes,
       CASE WHEN w.fits THEN w.result::text END AS result, w.result IS NOT NULL AND NOT w.fits AS result_omitted
FROM (
    SELECT s.*, t.template_id, t.created_at, t.start_at, d.position AS defined_at, d.dependencies AS needed, d.gathers,
           CASE WHEN s.state = 'waiting_for_retry' THEN s.run_at END AS retry_at,
           %(budget)s::bigint IS NULL
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
    CROSS JOIN LATERAL (
        SELECT d.template_id, d.position, d.dependencies, d.gathers
        FROM tasker.template_steps d
        WHERE d.template_id = t.template_id AND d.position = coalesce(s.definition, s.position)
        OFFSET 0) d
    WHERE s.task_uuid = %(task)s AND s.state <> 'undecided'
      AND (%(step)s::uuid IS NULL OR s.step_uuid = %(step)s::uuid)) w
CROSS JOIN LATERAL (
    SELECT count(*) AS total, count(*) FILTER (WHERE n.state IN ('complete', 'resolved_manually')) AS done
    FROM (
        SELECT n.state FROM tasker.steps n
        WHERE n.task_uuid = w.task_uuid AND n.position = ANY (w.needed) AND n.state <> 'undecided'
        UNION ALL
        SELECT n.state FROM tasker.steps n
        WHERE w.gathers IS NOT NULL AND n.task_uuid = w.task_uuid AND n.definition = ANY (w.gathers)) n) p
CROSS JOIN LATERAL (
    SELECT max(m.finished_at) FILTER (WHERE m.outcome <> 'complete') AS failed_at,
           max(m.finished_at - make_interval(secs => coalesce(m.duration_ms, 0) / 1000)) AS began_at
    FROM tasker.step_attempts m
    WHERE m.task_uuid = w.task_uuid AND m.position = w.position) a
ORDER BY w.position;

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
