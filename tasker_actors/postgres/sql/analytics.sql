-- name: analysed_from
-- The smallest id of the tasks that are looked at: the newest ones of the period, as many as may be. Asked for first,
-- because the planner must see it to know how few they are.
SELECT t.task_uuid::text, t.created_at
FROM tasker.tasks t
WHERE t.task_uuid >= %(above)s::uuid
ORDER BY t.task_uuid DESC
LIMIT 1 OFFSET %(passed)s;

-- name: task_figures
-- Ends of the ids of tasks, so that both are ranges of primary keys.
SELECT count(*) AS total, count(*) FILTER (WHERE t.completed_at IS NULL) AS active,
       count(*) FILTER (WHERE t.status = 'complete') AS completed, count(*) FILTER (WHERE t.status = 'error') AS failed,
       coalesce(avg(extract(epoch FROM t.completed_at - t.created_at)), 0)::double precision AS average_duration
FROM tasker.tasks t
WHERE t.task_uuid >= %(above)s::uuid;

-- name: attempt_figures
SELECT count(*) FILTER (WHERE a.outcome = 'complete') AS completed,
       coalesce(avg(a.duration_ms) / 1000, 0)::double precision AS average_duration
FROM tasker.step_attempts a
WHERE a.task_uuid >= %(above)s::uuid;

-- name: slow_steps
-- Instances of a batch under the name of their template's step. Unprepared, like the others here: the planner must see
-- the id.
SELECT t.namespace AS namespace_name, t.name AS task_name, t.version, d.name AS step_name,
       (avg(a.duration_ms) / 1000)::double precision AS average_duration_seconds,
       max(a.duration_ms) / 1000 AS max_duration_seconds, count(*) AS execution_count,
       count(*) FILTER (WHERE a.outcome <> 'complete') AS error_count, max(a.finished_at) AS last_executed_at
FROM tasker.step_attempts a
JOIN tasker.tasks t ON t.task_uuid = a.task_uuid
JOIN tasker.steps s ON s.task_uuid = a.task_uuid AND s.position = a.position
JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = coalesce(s.definition, s.position)
WHERE a.task_uuid >= %(above)s::uuid AND a.duration_ms IS NOT NULL
GROUP BY t.namespace, t.name, t.version, d.name
HAVING count(*) >= %(least)s
ORDER BY avg(a.duration_ms) DESC
LIMIT %(limit)s;

-- name: slow_tasks
SELECT t.namespace AS namespace_name, t.name AS task_name, t.version,
       avg(extract(epoch FROM t.completed_at - t.created_at))::double precision AS average_duration_seconds,
       max(extract(epoch FROM t.completed_at - t.created_at))::double precision AS max_duration_seconds,
       count(*) AS execution_count, avg(c.steps)::double precision AS average_step_count,
       count(*) FILTER (WHERE t.status = 'error') AS error_count, max(t.completed_at) AS last_executed_at
FROM tasker.tasks t
CROSS JOIN LATERAL (SELECT count(*) AS steps FROM tasker.steps s WHERE s.task_uuid = t.task_uuid) c
WHERE t.task_uuid >= %(above)s::uuid AND t.completed_at IS NOT NULL
GROUP BY t.namespace, t.name, t.version
HAVING count(*) >= %(least)s
ORDER BY avg(t.completed_at - t.created_at) DESC
LIMIT %(limit)s;

-- name: task_states
SELECT t.status, count(*) FROM tasker.tasks t WHERE t.task_uuid >= %(above)s::uuid GROUP BY t.status;

-- name: step_states
SELECT s.state, count(*)
FROM tasker.steps s
WHERE s.task_uuid >= %(above)s::uuid AND s.state <> 'undecided'
GROUP BY s.state;
