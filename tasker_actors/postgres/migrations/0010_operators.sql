-- What people do to steps and tasks: steps reset, resolved or completed by hand, with who did it and why; and dead letters
-- of tasks, which are notes for those who look into what failed or stands still.

-- A UUIDv7 (RFC 9562): 48 bits of milliseconds, then the random part of a version 4. PostgreSQL has its own from 18 on.
CREATE FUNCTION tasker.new_uuid7() RETURNS uuid
LANGUAGE sql VOLATILE
AS $$
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
            || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$;

-- Who did what to a step, and why. Kept when the task is deleted: it has a retention of its own.
CREATE TABLE tasker.step_audits (
    audit_uuid     uuid PRIMARY KEY,
    task_uuid      uuid NOT NULL,
    position       smallint NOT NULL,
    step_uuid      uuid NOT NULL,
    step_name      text NOT NULL,
    action         text NOT NULL,
    from_state     text NOT NULL,
    to_state       text NOT NULL,
    performed_by   text NOT NULL,
    reason         text NOT NULL,
    metadata       jsonb,
    correlation_id uuid NOT NULL,
    recorded_at    timestamptz NOT NULL
);
CREATE INDEX step_audits_step ON tasker.step_audits (step_uuid, recorded_at);
CREATE INDEX step_audits_recorded_at ON tasker.step_audits (recorded_at);

-- Dead letters of tasks. A task has one that is pending at most.
CREATE TABLE tasker.tasks_dlq (
    dlq_entry_uuid       uuid PRIMARY KEY,
    task_uuid            uuid NOT NULL,
    original_state       text NOT NULL,
    dlq_reason           text NOT NULL,
    dlq_timestamp        timestamptz NOT NULL,
    resolution_status    text NOT NULL DEFAULT 'pending',
    resolution_timestamp timestamptz,
    resolution_notes     text,
    resolved_by          text,
    task_snapshot        jsonb NOT NULL,
    metadata             jsonb,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL
);
CREATE UNIQUE INDEX tasks_dlq_pending ON tasker.tasks_dlq (task_uuid) WHERE resolution_status = 'pending';
CREATE INDEX tasks_dlq_task ON tasker.tasks_dlq (task_uuid, dlq_timestamp);
CREATE INDEX tasks_dlq_timestamp ON tasker.tasks_dlq (dlq_timestamp);

-- `dead_lettered` says that nobody has to look at the failed task again to see whether it needs an entry. Both indexes
-- have only tasks with failed steps, and no column of theirs changes while a task goes well: its updates stay as cheap.
ALTER TABLE tasker.tasks ADD COLUMN dead_lettered boolean NOT NULL DEFAULT false;
CREATE INDEX tasks_failed ON tasker.tasks (task_uuid) WHERE failed_steps > 0;
CREATE INDEX tasks_without_entry ON tasker.tasks (completed_at)
    WHERE failed_steps > 0 AND completed_at IS NOT NULL AND NOT dead_lettered;

-- What a template says about time, beside its definition, which is long.
ALTER TABLE tasker.templates ADD COLUMN lifecycle jsonb GENERATED ALWAYS AS (definition -> 'lifecycle') STORED;

-- Counts again what of a task can still run and what failed for good, and opens it. Who calls holds the lock on it.
CREATE FUNCTION tasker.reopen_task_v1(p_task uuid) RETURNS void
LANGUAGE sql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    UPDATE tasker.tasks t
    SET open_steps = c.open, failed_steps = c.failed, completed_at = NULL, dead_lettered = false,
        status = CASE t.status WHEN 'error' THEN 'in_progress' ELSE t.status END, updated_at = statement_timestamp()
    FROM (
        SELECT count(*) FILTER (WHERE s.state IN ('enqueued', 'in_progress', 'waiting_for_retry')
                                      OR (s.state IN ('pending', 'undecided') AND NOT s.blocked)) AS open,
               count(*) FILTER (WHERE s.state = 'error' AND NOT d.tolerates_failure) AS failed
        FROM tasker.tasks o
        JOIN tasker.steps s ON s.task_uuid = o.task_uuid
        JOIN tasker.template_steps d
          ON d.template_id = o.template_id AND d.position = coalesce(s.definition, s.position)
        WHERE o.task_uuid = p_task) c
    WHERE t.task_uuid = p_task
$$;

-- Does to one step what a person decided, with all that follows, or refuses and changes nothing.
--
-- p: {task, step, action, by, reason, metadata?, result?, bytes?, dynamic?}; action: reset_for_retry | resolve_manually |
-- complete_manually; `dynamic` is what a result of apply_results_v1 has beside that a step is complete, if anything.
-- Returns {refused: why, …}, or what became of it: {from, to, released, finished: the task's final state or null}.
--
-- A step that failed is no failure any more: what it alone blocked waits again, and its task is open. To complete a step
-- is then the same as to commit the result of an attempt, under a token that nobody else has seen, so that the same
-- function does it. The order of locks is the same as there: task, then steps.
CREATE FUNCTION tasker.resolve_step_v1(p jsonb) RETURNS jsonb
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_now      timestamptz := statement_timestamp();
    v_action   text := p ->> 'action';
    v_task     tasker.tasks;
    v_step     tasker.steps;
    v_kind     tasker.template_steps;
    v_token    bigint;
    v_reply    jsonb;
    v_released integer := 0;
    v_others   integer;
    v_to       text := CASE p ->> 'action' WHEN 'reset_for_retry' THEN 'enqueued'
                                           WHEN 'resolve_manually' THEN 'resolved_manually' ELSE 'complete' END;
BEGIN
    SELECT * INTO v_task FROM tasker.tasks WHERE task_uuid = (p ->> 'task')::uuid FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN '{"refused": "unknown_task"}';
    END IF;
    -- A claim may hold the step at this moment: its lease is seen only after waiting for it.
    SELECT * INTO v_step
    FROM tasker.steps
    WHERE task_uuid = v_task.task_uuid AND step_uuid = (p ->> 'step')::uuid AND state <> 'undecided'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN '{"refused": "unknown_step"}';
    END IF;
    SELECT * INTO v_kind
    FROM tasker.template_steps
    WHERE template_id = v_task.template_id AND position = coalesce(v_step.definition, v_step.position);

    v_reply := jsonb_build_object('state', v_step.state, 'status', v_task.status, 'name', v_step.name);
    IF v_step.state IN ('complete', 'resolved_manually', 'cancelled') THEN
        RETURN v_reply || '{"refused": "step_finished"}';
    ELSIF v_step.state = 'in_progress' THEN
        RETURN v_reply || '{"refused": "step_running"}';
    ELSIF v_task.status NOT IN ('pending', 'in_progress', 'error') THEN
        RETURN v_reply || '{"refused": "task_finished"}';
    ELSIF v_step.state = 'pending' THEN
        RETURN v_reply || jsonb_build_object('refused', 'step_waits', 'for', (
            SELECT coalesce(jsonb_agg(s.name ORDER BY s.position), '[]')
            FROM (
                SELECT a.name, a.position
                FROM tasker.steps a
                WHERE a.task_uuid = v_task.task_uuid AND coalesce(a.definition, a.position) = ANY (v_kind.ancestors)
                  AND CASE WHEN v_step.blocked THEN a.state = 'error'
                           ELSE a.state IN ('enqueued', 'in_progress', 'waiting_for_retry') END
                ORDER BY a.position
                LIMIT 10) s));
    ELSIF v_step.state = 'error' AND v_kind.tolerates_failure THEN
        RETURN v_reply || '{"refused": "failure_tolerated"}';
    ELSIF v_step.state = 'enqueued' AND v_action = 'reset_for_retry' THEN
        RETURN v_reply || '{"refused": "step_enqueued"}';
    END IF;

    IF v_action <> 'reset_for_retry' THEN
        v_token := nextval('tasker.lease_token');
    END IF;
    UPDATE tasker.steps
    SET state = CASE WHEN v_token IS NULL THEN 'enqueued' ELSE 'in_progress' END, token = v_token,
        attempts = CASE WHEN v_token IS NULL THEN 0 ELSE attempts END,
        suspect = v_token IS NULL AND coalesce(error ->> 'error_type' = 'worker_lost', false),
        run_at = CASE WHEN v_token IS NULL THEN tasker.queue_place(task_uuid) END, updated_at = v_now
    WHERE task_uuid = v_task.task_uuid AND position = v_step.position;
    IF v_token IS NULL THEN
        v_released := 1;
    END IF;

    IF v_step.state = 'error' THEN
        -- The others of its batch were cancelled because it failed; they run now, unless another one has failed too.
        UPDATE tasker.steps s
        SET state = 'enqueued', run_at = tasker.queue_place(s.task_uuid), updated_at = v_now
        WHERE v_kind.cancels_siblings AND s.task_uuid = v_task.task_uuid AND s.definition = v_step.definition
          AND s.state = 'cancelled' AND NOT EXISTS (
              SELECT FROM tasker.steps o
              WHERE o.task_uuid = s.task_uuid AND o.definition = s.definition AND o.state = 'error');
        GET DIAGNOSTICS v_others = ROW_COUNT;
        v_released := v_released + v_others;
        PERFORM tasker.settle_branches_v1(v_task.task_uuid, '{}');
        PERFORM tasker.reopen_task_v1(v_task.task_uuid);
    END IF;

    v_reply := '{}';
    IF v_token IS NOT NULL THEN
        v_reply := tasker.apply_results_v1(jsonb_build_object(
            'worker', 0, 'lease_ms', 0, 'continue', 0, 'continue_bytes', 0, 'labels', '[]'::jsonb,
            'publications', '[]'::jsonb, 'tasks', jsonb_build_array(v_task.task_uuid), 'results', jsonb_build_array(
                jsonb_build_object(
                    'token', v_token, 'task', v_task.task_uuid, 'position', v_step.position,
                    'attempt', v_step.attempts, 'outcome', 'complete', 'result', p -> 'result',
                    'bytes', coalesce((p ->> 'bytes')::integer, 0), 'delay_ms', 0,
                    'events', '[]'::jsonb, 'dead_letters', '[]'::jsonb)
                || coalesce(p -> 'dynamic', '{}'))));
        v_released := v_released + (v_reply ->> 'released')::integer;
        -- No attempt has ended. Why the step did not complete by itself stays to be seen.
        DELETE FROM tasker.step_attempts
        WHERE task_uuid = v_task.task_uuid AND position = v_step.position AND token = v_token;
        IF v_to = 'resolved_manually' THEN
            UPDATE tasker.steps
            SET state = v_to, result = NULL, result_bytes = 0, error = v_step.error
            WHERE task_uuid = v_task.task_uuid AND position = v_step.position;
        END IF;
    END IF;

    INSERT INTO tasker.step_audits (
        audit_uuid, task_uuid, position, step_uuid, step_name, action, from_state, to_state, performed_by, reason,
        metadata, correlation_id, recorded_at)
    VALUES (tasker.new_uuid7(), v_task.task_uuid, v_step.position, v_step.step_uuid, v_step.name, v_action,
            v_step.state, v_to, p ->> 'by', p ->> 'reason', p -> 'metadata', v_task.correlation_id, v_now);
    -- Whoever dealt with the last failure of a task has answered why it was dead.
    UPDATE tasker.tasks_dlq e
    SET resolution_status = 'manually_resolved', resolution_timestamp = v_now, resolved_by = p ->> 'by',
        resolution_notes = format('%s of step %s: %s', v_action, v_step.name, p ->> 'reason'), updated_at = v_now
    FROM tasker.tasks t
    WHERE t.task_uuid = v_task.task_uuid AND t.failed_steps = 0 AND e.task_uuid = t.task_uuid
      AND e.resolution_status = 'pending' AND e.dlq_reason = 'max_retries_exceeded';
    RETURN jsonb_build_object('from', v_step.state, 'to', v_to, 'released', v_released,
                              'finished', v_reply #> '{finished,0,1}');
END
$$;

-- Resets every step of a task that failed for good, in one transaction: null for an unknown task, else how many, and the
-- task's state before. A failure that its batch tolerates is none.
-- p: {task, by, reason}
CREATE FUNCTION tasker.reset_task_v1(p jsonb) RETURNS jsonb
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_status text;
    v_step   uuid;
    v_count  integer := 0;
BEGIN
    SELECT status INTO v_status FROM tasker.tasks WHERE task_uuid = (p ->> 'task')::uuid FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    FOR v_step IN
        SELECT step_uuid FROM tasker.steps
        WHERE task_uuid = (p ->> 'task')::uuid AND state = 'error'
        ORDER BY position
    LOOP
        IF NOT tasker.resolve_step_v1(p || jsonb_build_object('step', v_step, 'action', 'reset_for_retry')) ? 'refused'
        THEN
            v_count := v_count + 1;
        END IF;
    END LOOP;
    RETURN jsonb_build_object('status', v_status, 'steps', v_count);
END
$$;

-- What an entry keeps of its task: enough to see why it is dead when its steps have changed since. Of the failed steps
-- the first twenty.
CREATE FUNCTION tasker.task_snapshot(p_task uuid, p_more jsonb) RETURNS jsonb
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    SELECT jsonb_build_object(
        'task_uuid', t.task_uuid, 'namespace', t.namespace, 'task_name', t.name, 'version', t.version,
        'current_state', t.status, 'priority', t.priority, 'correlation_id', t.correlation_id,
        'created_at', t.created_at, 'updated_at', t.updated_at, 'completed_at', t.completed_at,
        'task_age_minutes', floor(extract(epoch FROM statement_timestamp() - t.created_at) / 60),
        'detection_time', statement_timestamp(), 'open_steps', t.open_steps, 'failed_steps', t.failed_steps,
        'template_config', (SELECT m.lifecycle FROM tasker.templates m WHERE m.template_id = t.template_id),
        'failures', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'step_uuid', f.step_uuid, 'name', f.name, 'attempts', f.attempts, 'max_attempts', f.max_attempts,
                'error', f.error) ORDER BY f.position), '[]')
            FROM (
                SELECT * FROM tasker.steps s
                WHERE s.task_uuid = t.task_uuid AND s.state = 'error'
                ORDER BY s.position
                LIMIT 20) f)) || p_more
    FROM tasker.tasks t
    WHERE t.task_uuid = p_task
$$;

-- Makes entries for tasks that have failed, the oldest first, up to p_limit of them, and tells how many it looked at.
-- One that somebody holds at this moment is for the next round; one that was cancelled needs no entry.
CREATE FUNCTION tasker.enter_failed_tasks_v1(p_limit integer) RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off
SET lock_timeout = '5s'
AS $$
DECLARE
    v_now   timestamptz := statement_timestamp();
    v_tasks uuid[];
BEGIN
    SELECT array_agg(task_uuid) INTO v_tasks
    FROM (
        SELECT task_uuid
        FROM tasker.tasks
        WHERE failed_steps > 0 AND completed_at IS NOT NULL AND NOT dead_lettered
        ORDER BY completed_at
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED) failed;
    UPDATE tasker.tasks SET dead_lettered = true WHERE task_uuid = ANY (v_tasks);
    INSERT INTO tasker.tasks_dlq (
        dlq_entry_uuid, task_uuid, original_state, dlq_reason, dlq_timestamp, task_snapshot, created_at, updated_at)
    SELECT tasker.new_uuid7(), task_uuid, status, 'max_retries_exceeded', v_now, tasker.task_snapshot(task_uuid, '{}'),
           v_now, v_now
    FROM tasker.tasks
    WHERE task_uuid = ANY (v_tasks) AND status = 'error'
    ON CONFLICT DO NOTHING;
    RETURN coalesce(cardinality(v_tasks), 0);
END
$$;

-- Closes entries that answer themselves: of tasks that came to their end after all, or were cancelled. What a person sent
-- here is for a person to close.
CREATE FUNCTION tasker.close_entries_v1() RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_count integer;
BEGIN
    UPDATE tasker.tasks_dlq e
    SET resolution_status = CASE t.status WHEN 'cancelled' THEN 'cancelled' ELSE 'manually_resolved' END,
        resolution_timestamp = statement_timestamp(), updated_at = statement_timestamp(),
        resolution_notes = format('the task is %s', t.status)
    FROM tasker.tasks t
    WHERE e.resolution_status = 'pending' AND e.dlq_reason <> 'manual_dlq' AND t.task_uuid = e.task_uuid
      AND t.status IN ('complete', 'cancelled');
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

-- How long tasks have stood still, of those with a step that runs or is among the p_scan oldest that wait in their
-- namespace: tasks that go on have such a step always. Time in a state begins with the last thing that became of the
-- task. One of which nothing has begun waits for its turn: only its whole duration counts.
-- p_minutes: {waiting_for_dependencies, waiting_for_retry, steps_in_process, duration}, for templates that say nothing.
CREATE FUNCTION tasker.task_staleness_v1(p_minutes jsonb, p_scan integer)
RETURNS TABLE (
    task_uuid uuid, namespace text, name text, current_state text, minutes integer, age_minutes integer,
    threshold integer, share double precision, too_old boolean, priority integer, updated_at timestamptz,
    fails boolean, enters boolean)
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    WITH moving AS (
        SELECT s.task_uuid
        FROM tasker.workers w
        JOIN tasker.steps s ON s.worker_id = w.worker_id AND s.state = 'in_progress'
        UNION
        SELECT c.task_uuid
        FROM (SELECT DISTINCT m.namespace FROM tasker.templates m) n
        CROSS JOIN LATERAL (
            SELECT q.task_uuid
            FROM tasker.steps q
            WHERE q.namespace = n.namespace AND q.state IN ('enqueued', 'waiting_for_retry')
            ORDER BY q.run_at
            LIMIT p_scan) c
    ), seen AS (
        SELECT t.*, m.lifecycle AS said, f.runs, f.retries, f.due,
               extract(epoch FROM statement_timestamp() - greatest(t.updated_at, t.start_at)) / 60 AS still,
               extract(epoch FROM statement_timestamp() - greatest(t.created_at, t.start_at)) / 60 AS age
        FROM moving o
        JOIN tasker.tasks t ON t.task_uuid = o.task_uuid AND t.status IN ('pending', 'in_progress')
        JOIN tasker.templates m ON m.template_id = t.template_id
        CROSS JOIN LATERAL (
            SELECT bool_or(s.state = 'in_progress') AS runs, bool_or(s.state = 'waiting_for_retry') AS retries,
                   bool_or(s.state = 'enqueued' AND s.run_at <= statement_timestamp()) AS due
            FROM tasker.steps s
            WHERE s.task_uuid = t.task_uuid) f
    ), placed AS (
        SELECT s.*, coalesce((s.said ->> 'max_duration_minutes')::integer, (p_minutes ->> 'duration')::integer) AS most,
               CASE WHEN s.runs THEN 'steps_in_process' WHEN s.due THEN 'waiting_for_dependencies'
                    WHEN s.retries THEN 'waiting_for_retry' END AS place
        FROM seen s
    ), measured AS (
        SELECT p.*, CASE WHEN p.runs OR p.status = 'in_progress' THEN coalesce(
                   (p.said ->> ('max_' || p.place || '_minutes'))::integer, (p_minutes ->> p.place)::integer) END AS least
        FROM placed p
        WHERE p.place IS NOT NULL
    )
    SELECT m.task_uuid, m.namespace, m.name, m.place, floor(m.still)::integer, floor(m.age)::integer,
           CASE WHEN m.too_old THEN m.most ELSE m.least END,
           greatest(m.still / m.least, m.age / m.most)::double precision, m.too_old, m.priority, m.updated_at,
           coalesce(m.said ->> 'staleness_action', 'dlq') = 'error'
           OR coalesce(m.said ->> 'staleness_action', 'dlq') = 'dlq'
              AND coalesce((m.said ->> 'auto_fail_on_timeout')::boolean, false),
           coalesce(m.said ->> 'staleness_action', 'dlq') = 'dlq'
           AND coalesce((m.said ->> 'auto_dlq_on_timeout')::boolean, true)
    FROM (
        SELECT n.*, coalesce(n.age / n.most > n.still / n.least, n.least IS NULL) AS too_old
        FROM measured n
        WHERE coalesce(n.least, n.most) IS NOT NULL) m
$$;

-- Enters a task among the dead, and fails it first where that is wanted: what of it could still run becomes a failed
-- step, which can be reset like any other. Null for an unknown task; else whether there is a new entry, and the leases
-- that ended. With `seen` (when the task was last changed) nothing is done to one that has gone on since.
-- p: {task, reason, state, fails, enters, seen?, more, metadata?}
CREATE FUNCTION tasker.enter_task_v1(p jsonb) RETURNS jsonb
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_now    timestamptz := statement_timestamp();
    v_task   tasker.tasks;
    v_leases jsonb := '[]';
    v_failed integer := 0;
    v_entry  uuid;
BEGIN
    SELECT * INTO v_task FROM tasker.tasks WHERE task_uuid = (p ->> 'task')::uuid FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF p ? 'seen' AND (v_task.updated_at <> (p ->> 'seen')::timestamptz
                       OR v_task.status NOT IN ('pending', 'in_progress')) THEN
        RETURN jsonb_build_object('entry', NULL, 'failed', 0, 'leases', v_leases);
    END IF;
    IF (p ->> 'fails')::boolean THEN
        PERFORM FROM tasker.steps WHERE task_uuid = v_task.task_uuid ORDER BY position FOR NO KEY UPDATE;
        SELECT coalesce(jsonb_agg(jsonb_build_object('token', token, 'worker_id', worker_id)), '[]') INTO v_leases
        FROM tasker.steps
        WHERE task_uuid = v_task.task_uuid AND state = 'in_progress';
        UPDATE tasker.steps
        SET state = 'error', token = NULL, worker_id = NULL, run_at = NULL, updated_at = v_now,
            error = jsonb_build_object(
                'error_type', 'staleness_timeout', 'error_code', NULL, 'retryable', false,
                'message', format('the task stood still for %s minutes, at most %s are allowed',
                                  p #>> '{more,time_in_state_minutes}', p #>> '{more,threshold_minutes}'))
        WHERE task_uuid = v_task.task_uuid AND state IN ('enqueued', 'in_progress', 'waiting_for_retry');
        GET DIAGNOSTICS v_failed = ROW_COUNT;
        -- What waits, waits for one of these.
        UPDATE tasker.steps
        SET blocked = true
        WHERE task_uuid = v_task.task_uuid AND state IN ('pending', 'undecided') AND NOT blocked;
        UPDATE tasker.tasks
        SET status = 'error', open_steps = 0, failed_steps = failed_steps + v_failed, completed_at = v_now,
            dead_lettered = true, updated_at = v_now
        WHERE task_uuid = v_task.task_uuid;
    END IF;
    IF (p ->> 'enters')::boolean THEN
        INSERT INTO tasker.tasks_dlq (
            dlq_entry_uuid, task_uuid, original_state, dlq_reason, dlq_timestamp, task_snapshot, metadata, created_at,
            updated_at)
        VALUES (tasker.new_uuid7(), v_task.task_uuid, coalesce(p ->> 'state', v_task.status), p ->> 'reason', v_now,
                tasker.task_snapshot(v_task.task_uuid, coalesce(p -> 'more', '{}')), p -> 'metadata', v_now, v_now)
        ON CONFLICT DO NOTHING
        RETURNING dlq_entry_uuid INTO v_entry;
    END IF;
    RETURN jsonb_build_object('entry', v_entry, 'failed', v_failed, 'leases', v_leases);
END
$$;
