-- Steps that come to be, or not, while their task runs: what is below a decision, and the workers of a batch. Every row
-- is there from the start, and none of those whose existence is open is seen by anybody: its state is `undecided`. The
-- commit of a decision deletes what will never be, and lets the rest wait for its dependencies like any other step. The
-- commit of a batch puts as many rows in the place of its worker as there are ranges.
-- The interfaces of the functions stay as they are: a worker of the release before may call them.

-- `gathers` are the batch workers among a step's dependencies: it gets the results of all their instances.
ALTER TABLE tasker.template_steps
    ADD COLUMN kind text NOT NULL DEFAULT 'standard',
    ADD COLUMN conditional boolean NOT NULL DEFAULT false,
    ADD COLUMN tolerates_failure boolean NOT NULL DEFAULT false,
    ADD COLUMN cancels_siblings boolean NOT NULL DEFAULT false,
    ADD COLUMN gathers smallint[];
-- `definition` is the position of the template's step that an instance of a batch worker is one of; null: its own.
ALTER TABLE tasker.steps
    ADD COLUMN definition smallint,
    ADD COLUMN inputs jsonb,
    ADD COLUMN checkpoint jsonb;
ALTER TABLE tasker.tasks ADD COLUMN identity_hash text, ADD COLUMN start_at timestamptz;

-- The place in the queue of a step that is given back, as before; a task that starts later is as old as its start.
CREATE OR REPLACE FUNCTION tasker.queue_place(p_task uuid) RETURNS timestamptz
LANGUAGE sql STABLE
AS $$
    SELECT greatest(created_at, start_at) - make_interval(hours => priority) - interval '1 ms'
    FROM tasker.tasks
    WHERE task_uuid = p_task
$$;

-- Creates tasks and their steps, all or none, as before. `start_at` is when the first steps may run, where that is
-- later.
CREATE OR REPLACE FUNCTION tasker.create_tasks_v1(p jsonb) RETURNS void
LANGUAGE plpgsql
SET lock_timeout = '5s'
AS $$
DECLARE
    v_now timestamptz := statement_timestamp();
BEGIN
    INSERT INTO tasker.tasks (
        task_uuid, template_id, namespace, name, version, priority, open_steps, context, context_bytes, initiator,
        source_system, reason, tags, correlation_id, parent_correlation_id, idempotency_key, identity_hash, start_at,
        traceparent, tracestate, created_at, updated_at)
    SELECT t.task_uuid, t.template_id, m.namespace, m.name, m.version, t.priority, cardinality(t.step_uuids),
           t.context, t.context_bytes, t.initiator, t.source_system, t.reason, coalesce(t.tags, '{}'),
           t.correlation_id, t.parent_correlation_id, t.idempotency_key, t.identity_hash, t.start_at,
           t.traceparent, t.tracestate, v_now, v_now
    FROM jsonb_to_recordset(p) AS t(
        task_uuid uuid, template_id bigint, priority integer, step_uuids uuid[], context jsonb, context_bytes integer,
        initiator text, source_system text, reason text, tags text[], correlation_id uuid, parent_correlation_id uuid,
        idempotency_key text, identity_hash text, start_at timestamptz, traceparent text, tracestate text)
    JOIN tasker.templates m USING (template_id);

    -- A step without dependencies can run at once. The older and the more urgent a task is, the earlier its run_at.
    INSERT INTO tasker.steps (
        task_uuid, position, step_uuid, namespace, name, state, open_dependencies, max_attempts, run_at, updated_at)
    SELECT t.task_uuid, s.position, t.step_uuids[s.position], m.namespace, s.name,
           CASE WHEN s.conditional THEN 'undecided' WHEN s.dependencies = '{}' THEN 'enqueued' ELSE 'pending' END,
           cardinality(s.dependencies), s.max_attempts,
           CASE WHEN s.dependencies = '{}' THEN greatest(t.start_at, v_now - make_interval(hours => t.priority)) END,
           v_now
    FROM jsonb_to_recordset(p) AS t(
        task_uuid uuid, template_id bigint, priority integer, step_uuids uuid[], start_at timestamptz)
    JOIN tasker.templates m USING (template_id)
    JOIN tasker.template_steps s USING (template_id);
END
$$;

-- The size of what a step has beside the results that it depends on.
CREATE FUNCTION tasker.own_bytes(p_inputs jsonb, p_checkpoint jsonb) RETURNS integer
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN p_inputs IS NULL AND p_checkpoint IS NULL THEN 0
            ELSE coalesce(octet_length(p_inputs::text), 0) + coalesce(octet_length(p_checkpoint::text), 0) END;

-- What an executor needs to run steps that were just leased, as before. `own` is what a row has for itself: the name of
-- an instance, its inputs, the checkpoint where the last slice of work ended. The LIMIT keeps the planner from looking
-- for a step by its template instead of by its key.
CREATE OR REPLACE FUNCTION tasker.leased_steps_v1(p_tasks uuid[], p_positions smallint[]) RETURNS json
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    SELECT coalesce(json_agg(json_build_object(
        'token', s.token, 'task_uuid', s.task_uuid, 'position', s.position, 'step_uuid', s.step_uuid,
        'attempt', s.attempts + 1, 'suspect', s.suspect,
        'waited_ms', round(extract(epoch FROM clock_timestamp() - s.updated_at) * 1000, 3),
        'dependency_results', i.results,
        'dependency_bytes', coalesce(i.bytes, 0) + tasker.own_bytes(s.inputs, s.checkpoint),
        'own', CASE WHEN s.definition IS NOT NULL OR s.inputs IS NOT NULL OR s.checkpoint IS NOT NULL
                    THEN json_build_object('name', s.name, 'definition', s.definition, 'inputs', s.inputs,
                                           'checkpoint', s.checkpoint) END)
        ORDER BY k.ordinal), '[]')
    FROM unnest(p_tasks, p_positions) WITH ORDINALITY AS k(task_uuid, position, ordinal)
    JOIN tasker.steps s ON s.task_uuid = k.task_uuid AND s.position = k.position
    JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
    CROSS JOIN LATERAL (
        SELECT ancestors, gathers
        FROM tasker.template_steps
        WHERE template_id = t.template_id AND position = coalesce(s.definition, s.position)
        LIMIT 1) d
    CROSS JOIN LATERAL (
        SELECT json_object_agg(a.name, a.result) AS results, sum(a.result_bytes) AS bytes
        FROM (
            SELECT f.name, f.result, f.result_bytes
            FROM tasker.steps f
            WHERE f.task_uuid = s.task_uuid AND f.position = ANY (d.ancestors)
              AND f.state IN ('complete', 'resolved_manually')
            UNION ALL
            SELECT n.name, n.result, n.result_bytes
            FROM tasker.steps n
            WHERE d.gathers IS NOT NULL AND n.task_uuid = s.task_uuid AND n.definition = ANY (d.gathers)
              AND n.state IN ('complete', 'resolved_manually')) a) i
$$;

-- Leases up to p_limit steps, as before.
CREATE OR REPLACE FUNCTION tasker.claim_steps_v1(
    p_worker bigint, p_namespaces text[], p_limit integer, p_lease_ms integer, p_max_bytes bigint) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '5s'
SET enable_sort = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_now       timestamptz := statement_timestamp();
    v_namespace text;
    v_quota     integer;
    v_rows      tid[];
    v_found     tid[] := '{}';
    v_tasks     uuid[];
    v_positions smallint[];
    v_next      timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(tasker.worker_lock_class(), p_worker::integer);
    IF NOT EXISTS (SELECT FROM tasker.workers WHERE worker_id = p_worker AND alive) THEN
        RETURN '{"fenced": true}';
    END IF;

    -- How many of the oldest steps are in each namespace is read without locks; then each namespace's share is locked
    -- in its own index order. A single namespace needs no such look.
    FOR v_namespace, v_quota IN
        SELECT p_namespaces[1], p_limit WHERE cardinality(p_namespaces) = 1
        UNION ALL
        SELECT oldest.namespace, count(*)::integer
        FROM (
            SELECT s.namespace
            FROM unnest(p_namespaces) AS n(namespace)
            CROSS JOIN LATERAL (
                SELECT c.namespace, c.run_at
                FROM tasker.steps c
                WHERE c.namespace = n.namespace AND c.state IN ('enqueued', 'waiting_for_retry') AND c.run_at <= v_now
                ORDER BY c.run_at
                LIMIT p_limit) s
            WHERE cardinality(p_namespaces) > 1
            ORDER BY s.run_at
            LIMIT p_limit) oldest
        GROUP BY oldest.namespace
    LOOP
        SELECT array_agg(row_id) INTO v_rows
        FROM (
            SELECT c.ctid AS row_id
            FROM tasker.steps c
            WHERE c.namespace = v_namespace AND c.state IN ('enqueued', 'waiting_for_retry') AND c.run_at <= v_now
            ORDER BY c.run_at
            LIMIT v_quota
            FOR UPDATE SKIP LOCKED) locked;
        v_found := v_found || coalesce(v_rows, '{}');
    END LOOP;

    IF cardinality(v_found) > 0 THEN
        WITH sized AS (
            SELECT s.ctid AS row_id, s.task_uuid, s.position, s.run_at,
                   t.context_bytes + coalesce((
                       SELECT sum(a.result_bytes) FROM tasker.steps a
                       WHERE a.task_uuid = s.task_uuid AND a.position = ANY (d.ancestors)), 0)
                   + CASE WHEN d.gathers IS NULL THEN 0 ELSE coalesce((
                       SELECT sum(n.result_bytes) FROM tasker.steps n
                       WHERE n.task_uuid = s.task_uuid AND n.definition = ANY (d.gathers)), 0) END
                   + tasker.own_bytes(s.inputs, s.checkpoint) AS bytes
            FROM tasker.steps s
            JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
            CROSS JOIN LATERAL (
                SELECT ancestors, gathers
                FROM tasker.template_steps
                WHERE template_id = t.template_id AND position = coalesce(s.definition, s.position)
                LIMIT 1) d
            WHERE s.ctid = ANY (v_found)
        ), fitting AS (
            SELECT row_id, task_uuid, position, place
            FROM (
                SELECT row_id, task_uuid, position, row_number() OVER by_age AS place, sum(bytes) OVER by_age AS total
                FROM sized
                WINDOW by_age AS (ORDER BY run_at, task_uuid, position)) aged
            WHERE place = 1 OR total <= p_max_bytes
        ), leased AS (
            UPDATE tasker.steps s
            SET state = 'in_progress', token = nextval('tasker.lease_token'), worker_id = p_worker,
                run_at = v_now + make_interval(secs => p_lease_ms / 1000.0)
            WHERE s.ctid = ANY (ARRAY(SELECT row_id FROM fitting))
        )
        SELECT array_agg(task_uuid ORDER BY place), array_agg(position ORDER BY place)
        INTO v_tasks, v_positions
        FROM fitting;
        RETURN json_build_object(
            'tasks', tasker.task_facts_v1(v_tasks),
            'steps', tasker.leased_steps_v1(v_tasks, v_positions),
            'more', cardinality(v_found) >= p_limit OR cardinality(v_found) > cardinality(v_tasks));
    END IF;

    SELECT min(s.run_at) INTO v_next
    FROM unnest(p_namespaces) AS n(namespace)
    CROSS JOIN LATERAL (
        SELECT c.run_at
        FROM tasker.steps c
        WHERE c.namespace = n.namespace AND c.state IN ('enqueued', 'waiting_for_retry') AND c.run_at > v_now
        ORDER BY c.run_at
        LIMIT 1) s;
    RETURN json_build_object('next_run_in_ms', ceil(extract(epoch FROM v_next - clock_timestamp()) * 1000));
END
$$;

-- Decides, as far as it can be known now, which of a task's undecided steps exist, deletes those that never will, and
-- says of those that wait which ones cannot run because of a failure before them. p_omits are steps that a decision
-- which has just completed did not choose. Tells which steps lost dependencies by it, and how many steps less can still
-- run. In the order of positions what a step depends on has been dealt with before it, so one pass is enough. Hash
-- joins stay on: both sides are of one task, and may have 2,000 rows and more. Who calls holds the lock on the task.
CREATE FUNCTION tasker.settle_branches_v1(p_task uuid, p_omits smallint[], OUT touched smallint[], OUT closed integer)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = on SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_template bigint;
    v_open     boolean[];
    v_exists   boolean[];
    v_bars     boolean[];
    v_decides  boolean[];
    v_divides  boolean[];
    v_step     record;
    v_needed   smallint;
    v_existing integer;
    v_waiting  integer;
    v_waits    boolean;
    v_barred   boolean;
    v_gone     smallint[] := '{}';
    v_chosen   smallint[] := '{}';
    v_turned   smallint[] := '{}';
BEGIN
    closed := 0;
    SELECT template_id INTO v_template FROM tasker.tasks WHERE task_uuid = p_task;
    -- What stands at each position of the template. A decision that is not complete yet says nothing of what is below
    -- it.
    SELECT array_agg(coalesce(f.open, false) ORDER BY d.position),
           array_agg(coalesce(NOT f.open, false) ORDER BY d.position),
           array_agg(coalesce(f.failed AND NOT d.tolerates_failure, false) ORDER BY d.position),
           array_agg(coalesce(d.kind = 'decision' AND NOT f.done, false) ORDER BY d.position),
           array_agg(coalesce(d.kind = 'batchable' AND NOT f.done, false) ORDER BY d.position)
    INTO v_open, v_exists, v_bars, v_decides, v_divides
    FROM tasker.template_steps d
    LEFT JOIN (
        SELECT coalesce(definition, position) AS position, bool_or(state = 'undecided') AS open,
               bool_or(state IN ('error', 'cancelled')) AS failed,
               bool_and(state IN ('complete', 'resolved_manually')) AS done
        FROM tasker.steps
        WHERE task_uuid = p_task
        GROUP BY coalesce(definition, position)) f ON f.position = d.position
    WHERE d.template_id = v_template;

    FOR v_step IN
        SELECT s.position, s.state, s.blocked, d.kind, d.dependencies
        FROM tasker.steps s
        JOIN tasker.template_steps d ON d.template_id = v_template AND d.position = s.position
        WHERE s.task_uuid = p_task AND s.definition IS NULL AND s.state IN ('pending', 'undecided')
        ORDER BY s.position
    LOOP
        v_existing := 0;
        v_waiting := 0;
        v_waits := false;
        v_barred := false;
        FOREACH v_needed IN ARRAY v_step.dependencies LOOP
            v_barred := v_barred OR v_bars[v_needed];
            IF v_exists[v_needed] THEN
                v_existing := v_existing + 1;
                v_waits := v_waits OR v_decides[v_needed]
                           OR (v_divides[v_needed] AND v_step.kind = 'batch_worker');
            ELSIF v_open[v_needed] THEN
                v_waiting := v_waiting + 1;
            END IF;
        END LOOP;
        IF v_step.state = 'undecided' THEN
            IF v_step.position = ANY (p_omits)
               OR v_existing + v_waiting < (CASE v_step.kind WHEN 'deferred_convergence' THEN 1
                                                             ELSE cardinality(v_step.dependencies) END)
            THEN
                v_gone := v_gone || v_step.position;
                v_open[v_step.position] := false;
                closed := closed + CASE WHEN v_step.blocked THEN 0 ELSE 1 END;
                CONTINUE;
            ELSIF (CASE v_step.kind WHEN 'deferred_convergence' THEN v_existing > 0
                                    ELSE v_waiting = 0 AND NOT v_waits END)
            THEN
                v_chosen := v_chosen || v_step.position;
                v_open[v_step.position] := false;
                v_exists[v_step.position] := true;
            END IF;
        END IF;
        IF v_barred <> v_step.blocked THEN
            v_turned := v_turned || v_step.position;
            closed := closed + CASE WHEN v_barred THEN 1 ELSE -1 END;
        END IF;
        v_bars[v_step.position] := v_barred;
    END LOOP;

    DELETE FROM tasker.steps WHERE task_uuid = p_task AND position = ANY (v_gone);
    UPDATE tasker.steps
    SET state = CASE WHEN position = ANY (v_chosen) THEN 'pending' ELSE state END,
        blocked = blocked <> (position = ANY (v_turned)), updated_at = statement_timestamp()
    WHERE task_uuid = p_task AND position = ANY (v_chosen || v_turned);
    WITH less AS (
        UPDATE tasker.steps s
        SET open_dependencies = s.open_dependencies - g.count
        FROM (
            SELECT x.position, count(*) AS count
            FROM tasker.template_steps d
            CROSS JOIN LATERAL unnest(d.successors) AS x(position)
            WHERE d.template_id = v_template AND d.position = ANY (v_gone)
            GROUP BY x.position) g
        WHERE s.task_uuid = p_task AND s.position = g.position AND s.definition IS NULL
        RETURNING s.position
    )
    SELECT coalesce(array_agg(position), '{}') INTO touched FROM less;
END
$$;

-- Puts the instances of a batch in the place of its worker, ready to run, and tells how many: none if the worker does
-- not exist in this task. They come after all other steps; what waits for the worker waits for each of them. p_batch:
-- {worker: position, instances: [{step_uuid, name, inputs}]}
CREATE FUNCTION tasker.create_batch_v1(p_task uuid, p_batch jsonb) RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_worker smallint := (p_batch ->> 'worker')::smallint;
    v_last   smallint;
    v_count  integer;
BEGIN
    SELECT max(position) INTO v_last FROM tasker.steps WHERE task_uuid = p_task;
    WITH worker AS (
        DELETE FROM tasker.steps
        WHERE task_uuid = p_task AND position = v_worker AND state = 'pending'
        RETURNING namespace, max_attempts
    )
    INSERT INTO tasker.steps (
        task_uuid, position, definition, step_uuid, namespace, name, state, open_dependencies, max_attempts, inputs,
        run_at, updated_at)
    SELECT p_task, v_last + i.ordinality, v_worker, (i.value ->> 'step_uuid')::uuid, w.namespace, i.value ->> 'name',
           'enqueued', 0, w.max_attempts, i.value -> 'inputs',
           greatest(t.created_at, t.start_at) - make_interval(hours => t.priority), statement_timestamp()
    FROM worker w
    JOIN tasker.tasks t ON t.task_uuid = p_task
    CROSS JOIN LATERAL jsonb_array_elements(p_batch -> 'instances') WITH ORDINALITY AS i;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count > 1 THEN
        UPDATE tasker.steps s
        SET open_dependencies = s.open_dependencies + v_count - 1
        FROM tasker.tasks t
        JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = v_worker
        WHERE t.task_uuid = p_task AND s.task_uuid = p_task AND s.position = ANY (d.successors);
    END IF;
    RETURN v_count;
END
$$;

-- Cancels the other instances of a batch of which one failed for good, and returns the leases that ended. A claim may
-- hold one of them at this moment: its lease is seen only after waiting for it.
CREATE FUNCTION tasker.cancel_siblings_v1(
    p_task uuid, p_definition smallint, OUT leases jsonb, OUT closed integer)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
BEGIN
    PERFORM FROM tasker.steps
    WHERE task_uuid = p_task AND definition = p_definition
      AND state IN ('pending', 'enqueued', 'in_progress', 'waiting_for_retry')
    ORDER BY position FOR NO KEY UPDATE;
    SELECT coalesce(jsonb_agg(jsonb_build_array(token, worker_id)), '[]') INTO leases
    FROM tasker.steps
    WHERE task_uuid = p_task AND definition = p_definition AND state = 'in_progress';
    UPDATE tasker.steps
    SET state = 'cancelled', token = NULL, worker_id = NULL, run_at = NULL, updated_at = statement_timestamp()
    WHERE task_uuid = p_task AND definition = p_definition
      AND state IN ('pending', 'enqueued', 'in_progress', 'waiting_for_retry');
    GET DIAGNOSTICS closed = ROW_COUNT;
END
$$;

-- What follows from results that say more than how their step ended; see apply_results_v1. Tells which steps may be
-- able to run by it, how many steps less can still run in which task, how many were released, and which leases were
-- cancelled.
CREATE FUNCTION tasker.apply_dynamic_v1(
    p jsonb, p_won bigint[], OUT touched_tasks uuid[], OUT touched_steps smallint[], OUT closed_tasks uuid[],
    OUT closed_steps integer[], OUT released integer, OUT cancelled jsonb)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_result  record;
    v_settled record;
    v_ended   record;
    v_count   integer;
BEGIN
    released := 0;
    cancelled := '[]';
    -- Once a task, with what all its decisions in this batch left out.
    FOR v_result IN
        SELECT r.task, coalesce(array_agg(x.position::smallint) FILTER (WHERE x.position IS NOT NULL), '{}') AS omits
        FROM jsonb_to_recordset(p -> 'results') AS r(token bigint, task uuid, outcome text, dynamic jsonb)
        LEFT JOIN LATERAL jsonb_array_elements_text(r.dynamic -> 'omits') AS x(position) ON true
        WHERE r.token = ANY (p_won)
          AND (r.dynamic ? 'omits'
               OR (r.outcome = 'error' AND r.dynamic ->> 'on_failure' IS DISTINCT FROM 'continue_on_failure'
                   AND r.dynamic IS NOT NULL))
        GROUP BY r.task
        ORDER BY r.task
    LOOP
        v_settled := tasker.settle_branches_v1(v_result.task, v_result.omits);
        closed_tasks := closed_tasks || v_result.task;
        closed_steps := closed_steps || v_settled.closed;
        touched_tasks := touched_tasks || array_fill(v_result.task, ARRAY[cardinality(v_settled.touched)]);
        touched_steps := touched_steps || v_settled.touched;
    END LOOP;

    FOR v_result IN
        SELECT r.task, r.position, r.outcome, r.dynamic -> 'batch' AS batch, r.dynamic ->> 'on_failure' AS on_failure,
               s.definition
        FROM jsonb_to_recordset(p -> 'results') AS r(
            token bigint, task uuid, position smallint, outcome text, dynamic jsonb)
        JOIN tasker.steps s ON s.task_uuid = r.task AND s.position = r.position
        WHERE r.dynamic IS NOT NULL AND r.token = ANY (p_won)
    LOOP
        IF v_result.outcome = 'yielded' THEN
            touched_tasks := touched_tasks || v_result.task;
            touched_steps := touched_steps || v_result.position;
        ELSIF v_result.outcome = 'complete' AND v_result.batch ? 'instances' THEN
            v_count := tasker.create_batch_v1(v_result.task, v_result.batch);
            IF v_count > 0 THEN
                released := released + v_count;
                closed_tasks := closed_tasks || v_result.task;
                closed_steps := closed_steps || (1 - v_count);
            END IF;
        ELSIF v_result.outcome = 'complete' AND v_result.batch ? 'placeholders' THEN
            UPDATE tasker.steps s
            SET inputs = i.inputs
            FROM jsonb_to_recordset(v_result.batch -> 'placeholders') AS i(position smallint, inputs jsonb)
            WHERE s.task_uuid = v_result.task AND s.position = i.position AND s.state = 'pending';
        ELSIF v_result.outcome = 'error' AND v_result.on_failure = 'fail_fast' AND v_result.definition IS NOT NULL THEN
            v_ended := tasker.cancel_siblings_v1(v_result.task, v_result.definition);
            cancelled := cancelled || v_ended.leases;
            closed_tasks := closed_tasks || v_result.task;
            closed_steps := closed_steps || v_ended.closed;
        END IF;
    END LOOP;
END
$$;

-- Stores results and all that follows from them, as before. Beside the keys of 0004 a result may have `dynamic`, an
-- object that says it means more than how its step ended, with these keys or none: `omits` (of a decision or a batch:
-- positions of steps that it did not choose), `batch` ({worker, instances} or {placeholders}), `checkpoint` with the
-- outcome `yielded` (a slice of the work is done: the attempt goes on from there), `on_failure` (the strategy of a
-- batch worker that failed for good). A step that failed for good is dynamic too where its template has conditional
-- steps: what is below it is then found by the steps that exist, not by the template; and so is an instance of a
-- batch worker. The order of locks is the same: worker, then tasks by uuid, then steps.
CREATE OR REPLACE FUNCTION tasker.apply_results_v1(p jsonb) RETURNS jsonb
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_now        timestamptz := statement_timestamp();
    v_worker     bigint := (p ->> 'worker')::bigint;
    v_lease      interval := make_interval(secs => (p ->> 'lease_ms')::double precision / 1000);
    v_tasks      uuid[];
    v_won        bigint[];
    v_won_tasks  uuid[];
    v_won_places smallint[];
    v_outcomes   text[];
    v_dynamic    boolean[];
    v_special    boolean;
    v_more       record;
    v_touched    uuid[];
    v_touched_at smallint[];
    v_closed_in  uuid[];
    v_closed     integer[];
    v_cancelled  jsonb := '[]';
    v_created    integer := 0;
    v_spaces     text[];
    v_events     jsonb[];
    v_letters    jsonb[];
    v_blocked    uuid[];
    v_released   integer := 0;
    v_next_tasks uuid[];
    v_next_steps smallint[];
    v_finished   jsonb;
    v_space      text;
    v_messages   jsonb[];
    v_headers    jsonb[];
BEGIN
    -- Locked in a statement of its own: what the next statements read is then final.
    SELECT array_agg(t::uuid) INTO v_tasks FROM jsonb_array_elements_text(p -> 'tasks') AS t;
    PERFORM FROM tasker.tasks WHERE task_uuid = ANY (v_tasks) ORDER BY task_uuid FOR NO KEY UPDATE;

    WITH won AS (
        UPDATE tasker.steps s
        SET state = CASE WHEN r.outcome IN ('returned', 'lost') THEN 'enqueued'
                         WHEN r.outcome = 'yielded' THEN 'pending'
                         ELSE r.outcome END,
            attempts = CASE WHEN r.outcome IN ('returned', 'lost', 'yielded') THEN s.attempts ELSE r.attempt END,
            suspect = CASE r.outcome WHEN 'returned' THEN s.suspect
                                     WHEN 'waiting_for_retry'
                                     THEN coalesce(r.error ->> 'error_type' = 'worker_lost', false)
                                     ELSE r.outcome = 'lost' END,
            run_at = CASE WHEN r.outcome IN ('returned', 'lost') THEN tasker.queue_place(r.task)
                          WHEN r.outcome = 'waiting_for_retry' THEN v_now + make_interval(secs => r.delay_ms / 1000.0)
                     END,
            token = NULL, worker_id = NULL, updated_at = v_now,
            result = r.result, error = r.error, result_bytes = coalesce(r.bytes, 0),
            checkpoint = coalesce(r.dynamic -> 'checkpoint', s.checkpoint)
        FROM jsonb_to_recordset(p -> 'results') AS r(
            token bigint, task uuid, position smallint, attempt integer, outcome text, result jsonb, bytes integer,
            error jsonb, delay_ms bigint, duration_ms double precision, events jsonb,
            dead_letters jsonb, dynamic jsonb)
        WHERE s.task_uuid = r.task AND s.position = r.position AND s.token = r.token AND s.state = 'in_progress'
        RETURNING r.token, r.task, coalesce(s.definition, s.position) AS definition, r.position, r.attempt, r.outcome,
                  r.error, r.duration_ms, r.events, r.dead_letters, r.dynamic, s.namespace
    ), noted AS (
        INSERT INTO tasker.step_attempts (
            task_uuid, position, token, attempt, outcome, worker_id, error, duration_ms, finished_at)
        SELECT task, position, token, attempt, outcome, v_worker, error, duration_ms, v_now
        FROM won
        WHERE outcome NOT IN ('returned', 'yielded')
    )
    SELECT array_agg(token), array_agg(task), array_agg(definition),
           array_agg(CASE WHEN outcome = 'error' AND dynamic ->> 'on_failure' = 'continue_on_failure' THEN 'tolerated'
                          ELSE outcome END),
           array_agg(namespace), array_agg(events), array_agg(dead_letters), array_agg(dynamic IS NOT NULL)
    INTO v_won, v_won_tasks, v_won_places, v_outcomes, v_spaces, v_events, v_letters, v_dynamic
    FROM won;

    v_special := true = ANY (v_dynamic);
    IF v_special THEN
        v_more := tasker.apply_dynamic_v1(p, v_won);
        v_touched := v_more.touched_tasks;
        v_touched_at := v_more.touched_steps;
        v_closed_in := v_more.closed_tasks;
        v_closed := v_more.closed_steps;
        v_created := v_more.released;
        v_cancelled := v_more.cancelled;
    END IF;

    IF 'error' = ANY (v_outcomes) THEN
        -- Marked once: a step below two failed parents is subtracted from its task's open steps one time only.
        WITH below AS (
            SELECT DISTINCT w.task, unnest(d.descendants) AS position
            FROM unnest(v_won_tasks, v_won_places, v_outcomes, v_dynamic) AS w(task, position, outcome, dynamic)
            JOIN tasker.tasks t ON t.task_uuid = w.task
            JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = w.position
            WHERE w.outcome = 'error' AND NOT w.dynamic
        ), marked AS (
            UPDATE tasker.steps s
            SET blocked = true
            FROM below
            WHERE s.task_uuid = below.task AND s.position = below.position AND NOT s.blocked AND s.state = 'pending'
            RETURNING s.task_uuid
        )
        SELECT array_agg(task_uuid) INTO v_blocked FROM marked;
    END IF;

    IF v_outcomes && ARRAY['complete', 'tolerated', 'yielded'] THEN
        -- The tasks are locked, so nobody else moves their pending steps between this read and its update. The first
        -- `continue` released steps are leased to the caller at once, as far as their inputs fit into one reply. What
        -- is touched may run although nothing that it needs was completed now: by a decision that left out the last
        -- step it waited for, or because it is a step that goes on from its checkpoint.
        WITH reached AS (
            SELECT e.task, e.position, sum(e.paths) AS paths, min(e.ordinal) AS ordinal
            FROM (
                SELECT w.task, x.position, 1 AS paths, w.ordinal
                FROM unnest(v_won_tasks, v_won_places, v_outcomes) WITH ORDINALITY
                    AS w(task, position, outcome, ordinal)
                JOIN tasker.tasks t ON t.task_uuid = w.task AND t.status IN ('pending', 'in_progress')
                JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = w.position
                CROSS JOIN LATERAL unnest(d.successors) AS x(position)
                WHERE w.outcome IN ('complete', 'tolerated')
                UNION ALL
                SELECT k.task, k.position, 0, k.ordinal
                FROM unnest(v_touched, v_touched_at) WITH ORDINALITY AS k(task, position, ordinal)) e
            GROUP BY e.task, e.position
        ), weighed AS (
            SELECT k.task, k.position, k.paths, k.ordinal, s.state,
                   s.open_dependencies = k.paths AND NOT s.blocked AND s.state = 'pending' AS released,
                   coalesce((
                       SELECT sum(a.result_bytes)
                       FROM tasker.tasks t
                       JOIN tasker.template_steps d
                         ON d.template_id = t.template_id AND d.position = coalesce(s.definition, s.position)
                       JOIN tasker.steps a ON a.task_uuid = t.task_uuid AND a.position = ANY (d.ancestors)
                       WHERE t.task_uuid = k.task AND s.open_dependencies = k.paths), 0)
                   + CASE WHEN v_special THEN tasker.own_bytes(s.inputs, s.checkpoint) + coalesce((
                       SELECT sum(n.result_bytes)
                       FROM tasker.tasks t
                       JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = s.position
                       JOIN tasker.steps n ON n.task_uuid = t.task_uuid AND n.definition = ANY (d.gathers)
                       WHERE t.task_uuid = k.task AND s.open_dependencies = k.paths), 0) ELSE 0 END AS bytes
            FROM reached k
            JOIN tasker.steps s ON s.task_uuid = k.task AND s.position = k.position
            WHERE s.state IN ('pending', 'undecided')
        ), judged AS (
            SELECT task, position, paths, ordinal, released, state,
                   count(*) FILTER (WHERE released) OVER in_order <= (p ->> 'continue')::integer
                   AND (count(*) FILTER (WHERE released) OVER in_order = 1
                        OR sum(bytes) FILTER (WHERE released) OVER in_order <= (p ->> 'continue_bytes')::bigint)
                       AS continued
            FROM weighed
            WINDOW in_order AS (ORDER BY ordinal, task, position)
        ), moved AS (
            UPDATE tasker.steps s
            SET open_dependencies = s.open_dependencies - j.paths,
                state = CASE WHEN NOT j.released THEN s.state WHEN j.continued THEN 'in_progress' ELSE 'enqueued' END,
                token = CASE WHEN j.released AND j.continued THEN nextval('tasker.lease_token') END,
                worker_id = CASE WHEN j.released AND j.continued THEN v_worker END,
                run_at = CASE WHEN NOT j.released THEN NULL
                              WHEN j.continued THEN v_now + v_lease
                              ELSE greatest(t.created_at, t.start_at) - make_interval(hours => t.priority) END,
                updated_at = v_now
            FROM judged j
            JOIN tasker.tasks t ON t.task_uuid = j.task
            WHERE s.task_uuid = j.task AND s.position = j.position AND s.state = j.state
            RETURNING s.task_uuid, s.position, s.state, j.ordinal
        )
        SELECT count(*) FILTER (WHERE state = 'enqueued'),
               array_agg(task_uuid ORDER BY ordinal, position) FILTER (WHERE state = 'in_progress'),
               array_agg(position ORDER BY ordinal, position) FILTER (WHERE state = 'in_progress')
        INTO v_released, v_next_tasks, v_next_steps
        FROM moved;
    END IF;

    v_released := v_released + v_created;

    -- One update a task: what ended in this batch is subtracted, and zero open steps finish it.
    WITH ended AS (
        SELECT task, sum(closed) AS closed, sum(failed) AS failed
        FROM (
            SELECT w.task, CASE WHEN w.outcome IN ('complete', 'error', 'tolerated') THEN 1 ELSE 0 END AS closed,
                   CASE WHEN w.outcome = 'error' THEN 1 ELSE 0 END AS failed
            FROM unnest(v_won_tasks, v_outcomes) AS w(task, outcome)
            WHERE w.outcome NOT IN ('returned', 'lost')
            UNION ALL
            SELECT b.task, 1, 0 FROM unnest(v_blocked) AS b(task)
            UNION ALL
            SELECT m.task, m.closed, 0 FROM unnest(v_closed_in, v_closed) AS m(task, closed)) each
        GROUP BY task
    ), updated AS (
        UPDATE tasker.tasks t
        SET open_steps = t.open_steps - e.closed,
            failed_steps = t.failed_steps + e.failed,
            status = CASE WHEN t.open_steps > e.closed THEN 'in_progress'
                          WHEN t.failed_steps + e.failed > 0 THEN 'error'
                          ELSE 'complete' END,
            completed_at = CASE WHEN t.open_steps = e.closed THEN v_now END,
            updated_at = v_now
        FROM ended e
        WHERE t.task_uuid = e.task AND t.status IN ('pending', 'in_progress')
        RETURNING t.task_uuid, t.status
    )
    SELECT jsonb_agg(jsonb_build_array(task_uuid, status)) FILTER (WHERE status IN ('complete', 'error'))
    INTO v_finished
    FROM updated;

    -- Events outside a step come with their namespace; from here on they are like those of a step that won.
    IF jsonb_array_length(p -> 'publications') > 0 THEN
        SELECT v_spaces || array_agg(o ->> 'namespace'), v_events || array_agg(o -> 'events'),
               v_letters || array_agg(o -> 'dead_letters')
        INTO v_spaces, v_events, v_letters
        FROM jsonb_array_elements(p -> 'publications') AS o;
    END IF;

    FOR v_space, v_messages, v_headers IN
        SELECT w.namespace, array_agg(e.value -> 'message' ORDER BY w.ordinal, e.ordinality),
               array_agg(e.value -> 'headers' ORDER BY w.ordinal, e.ordinality)
        FROM unnest(v_spaces, v_events) WITH ORDINALITY AS w(namespace, events, ordinal)
        CROSS JOIN LATERAL jsonb_array_elements(w.events) WITH ORDINALITY AS e
        GROUP BY w.namespace
    LOOP
        PERFORM pgmq.send_batch(v_space || '_domain_events', v_messages, v_headers);
    END LOOP;
    FOR v_space, v_messages IN
        SELECT w.namespace, array_agg(e.value -> 'message' ORDER BY w.ordinal, e.ordinality)
        FROM unnest(v_spaces, v_letters) WITH ORDINALITY AS w(namespace, letters, ordinal)
        CROSS JOIN LATERAL jsonb_array_elements(w.letters) WITH ORDINALITY AS e
        GROUP BY w.namespace
    LOOP
        PERFORM pgmq.send_batch(v_space || '_domain_events_dlq', v_messages);
    END LOOP;

    INSERT INTO tasker.worker_counts AS c (
        worker_id, namespace, event_name, delivery_mode, publisher, published, failed)
    SELECT v_worker, p #>> ARRAY['labels', e.label, '0'], p #>> ARRAY['labels', e.label, '1'],
           p #>> ARRAY['labels', e.label, '2'], p #>> ARRAY['labels', e.label, '3'], sum(e.published), sum(e.failed)
    FROM (
        SELECT x ->> 'label' AS label, 1 AS published, 0 AS failed
        FROM unnest(v_events) AS w(events) CROSS JOIN LATERAL jsonb_array_elements(w.events) AS x
        UNION ALL
        SELECT x ->> 'label', 0, 1
        FROM unnest(v_letters) AS w(letters) CROSS JOIN LATERAL jsonb_array_elements(w.letters) AS x) e
    GROUP BY e.label
    ON CONFLICT (worker_id, namespace, event_name, delivery_mode, publisher) DO UPDATE
    SET published = c.published + excluded.published, failed = c.failed + excluded.failed;

    RETURN jsonb_build_object(
        'won', to_jsonb(coalesce(v_won, '{}')), 'finished', coalesce(v_finished, '[]'), 'released', v_released,
        'cancelled', v_cancelled,
        'next_tasks', to_jsonb(coalesce(v_next_tasks, '{}')), 'next_steps', to_jsonb(coalesce(v_next_steps, '{}')));
END
$$;

-- Locks a worker against its own late sessions, marks it dead and tells what it held, as before, with the row's own
-- name.
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
        JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
        WHERE s.worker_id = p_worker AND s.state = 'in_progress'));
END
$$;

-- Cancels a task and every step of it that is not finished, as before; what was undecided will never be.
CREATE OR REPLACE FUNCTION tasker.cancel_task_v1(p_task uuid) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET lock_timeout = '5s' SET jit = off
AS $$
DECLARE
    v_status text;
    v_leases json;
    v_open   boolean;
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
    SELECT coalesce(json_agg(json_build_object('token', token, 'worker_id', worker_id))
                    FILTER (WHERE state = 'in_progress'), '[]'),
           bool_or(state = 'undecided')
    INTO v_leases, v_open
    FROM tasker.steps
    WHERE task_uuid = p_task AND state IN ('in_progress', 'undecided');
    IF v_open THEN
        DELETE FROM tasker.steps WHERE task_uuid = p_task AND state = 'undecided';
    END IF;
    UPDATE tasker.steps
    SET state = 'cancelled', token = NULL, worker_id = NULL, run_at = NULL, updated_at = statement_timestamp()
    WHERE task_uuid = p_task AND state IN ('pending', 'enqueued', 'in_progress', 'waiting_for_retry');
    UPDATE tasker.tasks
    SET status = 'cancelled', open_steps = 0, completed_at = statement_timestamp(), updated_at = statement_timestamp()
    WHERE task_uuid = p_task;
    RETURN json_build_object('status', v_status, 'cancelled', true, 'leases', v_leases);
END
$$;
