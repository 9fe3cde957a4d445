-- name: enter_failed_tasks
SELECT tasker.enter_failed_tasks_v1(%(limit)s);

-- name: close_entries
SELECT tasker.close_entries_v1();

-- name: stale_tasks
-- What is past its time and has no entry that somebody has to look at. Who closed one knows that the task stands still:
-- there is another one only if it has gone on since. That it takes too long in all is said once.
SELECT s.task_uuid::text, s.current_state, s.minutes, s.threshold, s.age_minutes, s.too_old, s.fails, s.enters,
       to_char(s.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS seen
FROM tasker.task_staleness_v1(%(minutes)s::jsonb, %(scan)s) s
WHERE s.share >= 1 AND (s.fails OR s.enters) AND NOT EXISTS (
    SELECT
    FROM tasker.tasks_dlq e
    WHERE e.task_uuid = s.task_uuid
      AND (e.resolution_status = 'pending'
           OR NOT s.fails AND e.dlq_timestamp >= CASE
               WHEN s.too_old THEN statement_timestamp() - make_interval(mins => s.age_minutes - s.threshold + 1)
               ELSE s.updated_at END))
ORDER BY s.share DESC
LIMIT %(limit)s;

-- name: enter_task
-- What it did, and whose it is; no row for an unknown task.
SELECT tasker.enter_task_v1(%(request)s::jsonb), t.task_uuid::text, t.namespace, t.name, t.correlation_id::text,
       t.traceparent, t.tracestate
FROM tasker.tasks t
WHERE t.task_uuid = %(task)s;

-- name: read_entries
-- The newest first. Sent unprepared, so that the planner sees which filters are null.
SELECT e.dlq_entry_uuid::text, e.task_uuid::text, e.original_state, e.dlq_reason, e.dlq_timestamp, e.resolution_status,
       e.resolution_timestamp, e.resolution_notes, e.resolved_by, e.task_snapshot::text, e.metadata::text, e.created_at,
       e.updated_at
FROM tasker.tasks_dlq e
WHERE (%(status)s::text IS NULL OR e.resolution_status = %(status)s::text)
  AND (%(task)s::uuid IS NULL OR e.task_uuid = %(task)s::uuid)
  AND (%(entry)s::uuid IS NULL OR e.dlq_entry_uuid = %(entry)s::uuid)
ORDER BY e.dlq_timestamp DESC, e.dlq_entry_uuid DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: update_entry
-- What is null stays as it is; metadata are added to those that are there. An entry that was closed stays closed, as it
-- was closed and by whom: to open it again there could be another one that is pending. More notes can be written.
UPDATE tasker.tasks_dlq
SET resolution_status = coalesce(%(status)s::text, resolution_status),
    resolution_notes = coalesce(%(notes)s::text, resolution_notes),
    resolved_by = CASE WHEN resolution_status = 'pending' OR resolved_by IS NULL THEN coalesce(%(by)s::text, resolved_by)
                       ELSE resolved_by END,
    metadata = CASE WHEN %(metadata)s::jsonb IS NULL THEN metadata
                    WHEN jsonb_typeof(metadata) = 'object' AND jsonb_typeof(%(metadata)s::jsonb) = 'object'
                    THEN metadata || %(metadata)s::jsonb
                    ELSE %(metadata)s::jsonb END,
    resolution_timestamp = CASE WHEN resolution_status <> 'pending' OR %(status)s::text IS NULL
                                     OR %(status)s::text = 'pending' THEN resolution_timestamp
                                ELSE statement_timestamp() END,
    updated_at = statement_timestamp()
WHERE dlq_entry_uuid = %(entry)s
  AND (%(status)s::text IS NULL OR resolution_status = 'pending' OR resolution_status = %(status)s::text);

-- name: entry_status
SELECT resolution_status FROM tasker.tasks_dlq WHERE dlq_entry_uuid = %s;

-- name: entry_figures
SELECT dlq_reason, count(*) AS total_entries, count(*) FILTER (WHERE resolution_status = 'pending') AS pending,
       count(*) FILTER (WHERE resolution_status = 'manually_resolved') AS manually_resolved,
       count(*) FILTER (WHERE resolution_status = 'permanently_failed') AS permanent_failures,
       count(*) FILTER (WHERE resolution_status = 'cancelled') AS cancelled,
       min(dlq_timestamp) AS oldest_entry, max(dlq_timestamp) AS newest_entry,
       (avg(extract(epoch FROM resolution_timestamp - dlq_timestamp) / 60))::double precision
           AS avg_resolution_time_minutes
FROM tasker.tasks_dlq
GROUP BY dlq_reason
ORDER BY dlq_reason;

-- name: investigation_queue
-- The most pressing first: by the reason, and a point for each minute that it waits.
SELECT e.dlq_entry_uuid::text, e.task_uuid::text, e.original_state, e.dlq_reason, e.dlq_timestamp,
       (extract(epoch FROM statement_timestamp() - e.dlq_timestamp) / 60)::double precision AS minutes_in_dlq,
       coalesce(t.namespace, e.task_snapshot ->> 'namespace') AS namespace_name,
       coalesce(t.name, e.task_snapshot ->> 'task_name') AS task_name, t.status AS current_state,
       floor(extract(epoch FROM statement_timestamp() - t.updated_at) / 60)::integer AS time_in_state_minutes,
       (CASE e.dlq_reason WHEN 'dependency_cycle_detected' THEN 100 WHEN 'max_retries_exceeded' THEN 80
                          WHEN 'worker_unavailable' THEN 60 WHEN 'staleness_timeout' THEN 40 ELSE 20 END
        + extract(epoch FROM statement_timestamp() - e.dlq_timestamp) / 60)::double precision AS priority_score
FROM tasker.tasks_dlq e
LEFT JOIN tasker.tasks t ON t.task_uuid = e.task_uuid
WHERE e.resolution_status = 'pending'
ORDER BY priority_score DESC, e.dlq_entry_uuid
LIMIT %(limit)s;

-- name: staleness
-- What stands still longest in the measure of what it may, before it gets an entry.
SELECT s.task_uuid::text, s.namespace AS namespace_name, s.name AS task_name, s.current_state,
       CASE WHEN s.too_old THEN s.age_minutes ELSE s.minutes END AS time_in_state_minutes,
       s.age_minutes AS task_age_minutes, s.threshold AS staleness_threshold_minutes,
       CASE WHEN s.share >= 1 THEN 'stale' WHEN s.share >= 0.8 THEN 'warning' ELSE 'healthy' END AS health_status,
       s.priority
FROM tasker.task_staleness_v1(%(minutes)s::jsonb, %(scan)s) s
ORDER BY s.share DESC, s.task_uuid
LIMIT %(limit)s;

-- name: entries_to_forget
-- What is closed and old; entries that somebody has to look at stay, unless their task is gone.
DELETE FROM tasker.tasks_dlq
WHERE ctid = ANY (ARRAY(
    SELECT e.ctid
    FROM tasker.tasks_dlq e
    WHERE e.dlq_timestamp < %(cutoff)s
      AND (e.resolution_timestamp < %(cutoff)s
           OR NOT EXISTS (SELECT FROM tasker.tasks t WHERE t.task_uuid = e.task_uuid))
    ORDER BY e.dlq_timestamp
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED));

-- name: audits_to_forget
DELETE FROM tasker.step_audits
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM tasker.step_audits
    WHERE recorded_at < %(cutoff)s
    ORDER BY recorded_at
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED));
