-- Locks a worker against its own late sessions, marks it dead and tells what it held, as before. The task of each lease is
-- looked up by its key whatever the statistics say: see claim_steps_v1.
CREATE OR REPLACE FUNCTION tasker.fence_worker_v2(p_worker bigint, p_reason text) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '5s' SET jit = off
AS $$
DECLARE
    v_was_alive boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(tasker.worker_lock_class(), p_worker::integer);
    SELECT alive INTO v_was_alive FROM tasker.workers WHERE worker_id = p_worker;
    UPDATE tasker.workers
    SET alive = false, ended_at = statement_timestamp(), last_reason = p_reason, state = 'dead'
    WHERE worker_id = p_worker AND alive;
    RETURN json_build_object('was_alive', coalesce(v_was_alive, false), 'leases', (
        SELECT coalesce(json_agg(json_build_object(
            'token', s.token, 'task_uuid', s.task_uuid, 'position', s.position, 'step_uuid', s.step_uuid,
            'attempt', s.attempts + 1, 'suspect', s.suspect, 'begun', coalesce(s.begun_token = s.token, false),
            'unseen', s.unseen, 'name', s.name, 'definition', s.definition,
            'template_id', t.template_id,
            'correlation_id', t.correlation_id, 'parent_correlation_id', t.parent_correlation_id,
            'traceparent', t.traceparent, 'tracestate', t.tracestate)), '[]')
        FROM tasker.steps s
        CROSS JOIN LATERAL (
            SELECT template_id, correlation_id, parent_correlation_id, traceparent, tracestate
            FROM tasker.tasks
            WHERE task_uuid = s.task_uuid
            LIMIT 1) t
        WHERE s.worker_id = p_worker AND s.state = 'in_progress'));
END
$$;
