-- name: resolve_step
-- What it did, and whose step it is; no row for an unknown task.
SELECT tasker.resolve_step_v1(%(request)s::jsonb), t.task_uuid::text, t.namespace, t.name, t.correlation_id::text,
       t.traceparent, t.tracestate
FROM tasker.tasks t
WHERE t.task_uuid = %(task)s;

-- name: find_step
-- Which step of which template a row is; what nobody knows yet to exist is none.
SELECT t.template_id, d.name, d.kind
FROM tasker.steps s
JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = coalesce(s.definition, s.position)
WHERE s.task_uuid = %(task)s AND s.step_uuid = %(step)s AND s.state <> 'undecided';

-- name: read_audits
-- Attempts that have a result, and what people did to the step, in order: the newest 1,000. A result is kept once, in
-- the step: the record of what completed it shows it.
SELECT r.audit_uuid, r.workflow_step_uuid, r.transition_uuid, r.task_uuid, r.recorded_at, r.worker_uuid,
       r.correlation_id, r.success, r.execution_time_ms, r.result, r.step_name, r.from_state, r.to_state, r.action,
       r.performed_by, r.reason, r.metadata
FROM (
    SELECT u.*
    FROM (
        SELECT md5(format('%%s %%s %%s', a.task_uuid, a.position, a.token))::uuid::text AS audit_uuid,
               s.step_uuid::text AS workflow_step_uuid,
               md5(format('%%s %%s %%s', a.task_uuid, a.position, a.token))::uuid::text AS transition_uuid,
               s.task_uuid::text, a.finished_at AS recorded_at, a.worker_id::text AS worker_uuid,
               t.correlation_id::text, a.outcome = 'complete' AS success, round(a.duration_ms)::bigint AS execution_time_ms,
               CASE WHEN a.outcome = 'complete' THEN s.result::text ELSE a.error::text END AS result,
               s.name AS step_name, 'in_progress' AS from_state,
               CASE a.outcome WHEN 'lost' THEN 'enqueued' ELSE a.outcome END AS to_state,
               NULL AS action, NULL AS performed_by, NULL AS reason, NULL AS metadata
        FROM tasker.steps s
        JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
        JOIN tasker.step_attempts a ON a.task_uuid = s.task_uuid AND a.position = s.position
        WHERE s.task_uuid = %(task)s AND s.step_uuid = %(step)s
        UNION ALL
        SELECT m.audit_uuid::text, m.step_uuid::text, m.audit_uuid::text, m.task_uuid::text, m.recorded_at, NULL,
               m.correlation_id::text, m.to_state IN ('complete', 'resolved_manually'), NULL,
               CASE WHEN m.to_state = 'complete' THEN s.result::text END, m.step_name, m.from_state, m.to_state,
               m.action, m.performed_by, m.reason, m.metadata::text
        FROM tasker.step_audits m
        JOIN tasker.steps s ON s.task_uuid = m.task_uuid AND s.position = m.position
        WHERE m.task_uuid = %(task)s AND m.step_uuid = %(step)s) u
    ORDER BY u.recorded_at DESC
    LIMIT 1000) r
ORDER BY r.recorded_at;

-- name: reset_task
SELECT tasker.reset_task_v1(%(request)s::jsonb);

-- name: find_failed_tasks
-- By the index of tasks with failed steps; sent unprepared, so that the planner sees which filters are null.
SELECT t.task_uuid::text
FROM tasker.tasks t
WHERE t.failed_steps > 0 AND t.status = 'error'
  AND (%(after)s::uuid IS NULL OR t.task_uuid > %(after)s::uuid)
  AND (%(namespace)s::text IS NULL OR t.namespace = %(namespace)s::text)
  AND (%(name)s::text IS NULL OR t.name = %(name)s::text)
  AND (%(failed_before)s::timestamptz IS NULL OR t.completed_at < %(failed_before)s::timestamptz)
  AND (%(failed_after)s::timestamptz IS NULL OR t.completed_at >= %(failed_after)s::timestamptz)
  AND (%(error_type)s::text IS NULL OR EXISTS (
      SELECT FROM tasker.steps s
      WHERE s.task_uuid = t.task_uuid AND s.state = 'error' AND s.error ->> 'error_type' = %(error_type)s::text))
ORDER BY t.task_uuid
LIMIT %(limit)s;
