-- The lease under which a suspect began to run alone. Who settles its worker without having seen the inside of its
-- process, because the supervisor died too or is on another machine, knows from this which suspect has begun: the one
-- that is charged. Nothing has to be reset: under its next lease a step has another token.
-- `unseen` steps were held in such a death. One of them may have ended a whole supervisor: as a suspect it runs alone in
-- one.
ALTER TABLE tasker.steps ADD COLUMN begun_token bigint, ADD COLUMN unseen boolean NOT NULL DEFAULT false;

-- Notes that a suspect begins, and that nothing else does in its worker until it is committed. Tells `begun`, `lost` if
-- its lease is, and `later` while another suspect runs in the same supervisor and either of the two may end that.
CREATE FUNCTION tasker.begin_alone_v1(p_worker bigint, p_task uuid, p_position smallint, p_token bigint) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '5s' SET jit = off
AS $$
DECLARE
    v_supervisor uuid;
    v_unseen     boolean;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(tasker.worker_lock_class(), p_worker::integer);
    SELECT supervisor_id INTO v_supervisor FROM tasker.workers WHERE worker_id = p_worker AND alive;
    PERFORM pg_advisory_xact_lock(hashtextextended(v_supervisor::text, 0));
    -- A token stands in a row only while the step is in progress. Naming that state would let the planner read all leases.
    SELECT unseen INTO v_unseen
    FROM tasker.steps
    WHERE task_uuid = p_task AND position = p_position AND token = p_token;
    IF v_unseen IS NULL THEN
        RETURN 'lost';
    END IF;
    IF EXISTS (
        SELECT FROM tasker.workers w
        JOIN tasker.steps s ON s.worker_id = w.worker_id
        WHERE w.supervisor_id = v_supervisor AND w.worker_id <> p_worker AND w.alive
          AND s.state = 'in_progress' AND s.suspect AND s.begun_token = s.token AND (s.unseen OR v_unseen))
    THEN
        RETURN 'later';
    END IF;
    UPDATE tasker.steps
    SET begun_token = p_token
    WHERE task_uuid = p_task AND position = p_position AND token = p_token;
    RETURN CASE WHEN FOUND THEN 'begun' ELSE 'lost' END;
END
$$;

-- Locks a worker against its own late sessions, marks it dead and tells what it held. The caller settles each lease
-- with settle_results_v1 in the same transaction. The contexts of tasks are not among it: hundreds of leases of tasks with
-- large contexts would not fit into one value.
CREATE FUNCTION tasker.fence_worker_v2(p_worker bigint, p_reason text) RETURNS text
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
            'unseen', s.unseen,
            'template_id', t.template_id,
            'correlation_id', t.correlation_id, 'parent_correlation_id', t.parent_correlation_id,
            'traceparent', t.traceparent, 'tracestate', t.tracestate)), '[]')
        FROM tasker.steps s
        JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
        WHERE s.worker_id = p_worker AND s.state = 'in_progress'));
END
$$;
