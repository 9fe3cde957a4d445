-- Extends the leases that a worker holds, gives back those it does not know it holds, and returns the tokens that it no
-- longer holds. Unknown leases are those of a claim or a continuation whose reply was lost with its connection: they had
-- not begun, so nothing is counted. Only leases older than p_margin_ms are judged, because a reply may be on its way.
CREATE FUNCTION tasker.extend_leases_v1(p_worker bigint, p_tasks uuid[], p_positions smallint[], p_tokens bigint[],
                                        p_lease_ms integer, p_margin_ms integer) RETURNS bigint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_now  timestamptz := statement_timestamp();
    v_held bigint[];
    v_rows tid[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(tasker.worker_lock_class(), p_worker::integer);
    SELECT array_agg(s.token), array_agg(s.ctid) INTO v_held, v_rows
    FROM unnest(p_tasks, p_positions, p_tokens) AS k(task_uuid, position, token)
    JOIN tasker.steps s ON s.task_uuid = k.task_uuid AND s.position = k.position AND s.token = k.token
    WHERE s.state = 'in_progress';
    -- A step that a commit is updating at this moment needs no extension, and waiting for it could deadlock.
    UPDATE tasker.steps
    SET run_at = v_now + make_interval(secs => p_lease_ms / 1000.0)
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM tasker.steps WHERE ctid = ANY (v_rows) AND state = 'in_progress' AND worker_id = p_worker
        FOR NO KEY UPDATE SKIP LOCKED));
    UPDATE tasker.steps
    SET state = 'enqueued', token = NULL, worker_id = NULL, run_at = tasker.queue_place(task_uuid), updated_at = v_now
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM tasker.steps
        WHERE worker_id = p_worker AND state = 'in_progress' AND NOT token = ANY (p_tokens)
          AND run_at < v_now + make_interval(secs => (p_lease_ms - p_margin_ms) / 1000.0)
        FOR NO KEY UPDATE SKIP LOCKED));
    RETURN ARRAY(SELECT unnest(p_tokens) EXCEPT SELECT unnest(v_held));
END
$$;

-- Locks a worker against its own late sessions, marks it dead and tells what it held. The caller settles each lease
-- with settle_results_v1 in the same transaction.
CREATE FUNCTION tasker.fence_worker_v1(p_worker bigint, p_reason text) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '5s'
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
            'attempt', s.attempts + 1, 'suspect', s.suspect, 'template_id', t.template_id,
            'correlation_id', t.correlation_id, 'parent_correlation_id', t.parent_correlation_id,
            'traceparent', t.traceparent, 'tracestate', t.tracestate, 'context', t.context)), '[]')
        FROM tasker.steps s
        JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
        WHERE s.worker_id = p_worker AND s.state = 'in_progress'));
END
$$;

-- Applies what was decided about a dead worker's leases and returns what that worker has committed in all.
CREATE FUNCTION tasker.settle_results_v1(p jsonb) RETURNS text
LANGUAGE plpgsql
SET lock_timeout = '5s'
AS $$
DECLARE
    v_reply jsonb := tasker.apply_results_v1(p);
BEGIN
    RETURN v_reply || jsonb_build_object('counts', (
        SELECT coalesce(jsonb_agg(jsonb_build_array(
            namespace, event_name, delivery_mode, publisher, published, failed)), '[]')
        FROM tasker.worker_counts
        WHERE worker_id = (p ->> 'worker')::bigint));
END
$$;

-- Gives back leases that ended although their worker lives: it may have begun them, so they run alone next. Nothing
-- is taken in the first p_grace_ms of a server's life, because workers could not extend what they hold while it was away.
CREATE FUNCTION tasker.expire_leases_v1(p_grace_ms integer) RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_count integer;
BEGIN
    IF statement_timestamp() - pg_postmaster_start_time() < make_interval(secs => p_grace_ms / 1000.0) THEN
        RETURN 0;
    END IF;
    UPDATE tasker.steps
    SET state = 'enqueued', suspect = true, token = NULL, worker_id = NULL, run_at = tasker.queue_place(task_uuid),
        updated_at = statement_timestamp()
    WHERE ctid = ANY (ARRAY(
        SELECT s.ctid
        FROM tasker.workers w
        JOIN tasker.steps s ON s.worker_id = w.worker_id
        WHERE s.state = 'in_progress' AND s.run_at <= statement_timestamp()
        LIMIT 1000
        FOR NO KEY UPDATE OF s SKIP LOCKED));
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

-- Cancels a task and every step of it that is not finished. A result that arrives later finds its token gone. Returns
-- null for an unknown task, else its state before and the leases that were running.
CREATE FUNCTION tasker.cancel_task_v1(p_task uuid) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_status text;
    v_leases json;
BEGIN
    SELECT status INTO v_status FROM tasker.tasks WHERE task_uuid = p_task FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF v_status NOT IN ('pending', 'in_progress') THEN
        RETURN json_build_object('status', v_status, 'cancelled', false, 'leases', '[]'::json);
    END IF;
    -- A claim may hold a step at this moment: its lease is seen only after waiting for it.
    PERFORM FROM tasker.steps WHERE task_uuid = p_task ORDER BY position FOR NO KEY UPDATE;
    SELECT coalesce(json_agg(json_build_object('token', token, 'worker_id', worker_id)), '[]') INTO v_leases
    FROM tasker.steps
    WHERE task_uuid = p_task AND state = 'in_progress';
    UPDATE tasker.steps
    SET state = 'cancelled', token = NULL, worker_id = NULL, run_at = NULL, updated_at = statement_timestamp()
    WHERE task_uuid = p_task AND state IN ('pending', 'enqueued', 'in_progress', 'waiting_for_retry');
    UPDATE tasker.tasks
    SET status = 'cancelled', open_steps = 0, completed_at = statement_timestamp(), updated_at = statement_timestamp()
    WHERE task_uuid = p_task;
    RETURN json_build_object('status', v_status, 'cancelled', true, 'leases', v_leases);
END
$$;
