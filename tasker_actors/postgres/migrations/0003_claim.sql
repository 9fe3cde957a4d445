-- The class of the advisory lock on a worker: claim and commit share it, settling a dead worker takes it alone.
CREATE FUNCTION tasker.worker_lock_class() RETURNS integer
LANGUAGE sql IMMUTABLE
RETURN 1952540523;

-- The place of a task's steps in the queue: the older and the more urgent a task is, the earlier.
CREATE FUNCTION tasker.queue_place(p_task uuid) RETURNS timestamptz
LANGUAGE sql STABLE
AS $$ SELECT created_at - make_interval(hours => priority) FROM tasker.tasks WHERE task_uuid = p_task $$;

-- What an executor needs to run steps that were just leased. Results of all ancestors are given by name, because a
-- handler may name any of them. The settings force lookups by key: the planner takes an array or a function for many
-- rows and would read whole tables as soon as their statistics are old.
CREATE FUNCTION tasker.leased_steps_v1(p_tasks uuid[], p_positions smallint[]) RETURNS json
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    SELECT coalesce(json_agg(json_build_object(
        'token', s.token, 'task_uuid', s.task_uuid, 'position', s.position, 'step_uuid', s.step_uuid,
        'attempt', s.attempts + 1, 'suspect', s.suspect,
        'waited_ms', round(extract(epoch FROM clock_timestamp() - s.updated_at) * 1000, 3),
        'dependency_results', i.results, 'dependency_bytes', coalesce(i.bytes, 0))
        ORDER BY k.ordinal), '[]')
    FROM unnest(p_tasks, p_positions) WITH ORDINALITY AS k(task_uuid, position, ordinal)
    JOIN tasker.steps s ON s.task_uuid = k.task_uuid AND s.position = k.position
    JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
    JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = s.position
    CROSS JOIN LATERAL (
        SELECT json_object_agg(a.name, a.result) AS results, sum(a.result_bytes) AS bytes
        FROM tasker.steps a
        WHERE a.task_uuid = s.task_uuid AND a.position = ANY (d.ancestors)
          AND a.state IN ('complete', 'resolved_manually')) i
$$;

-- The facts of tasks that a worker needs once for all their steps.
CREATE FUNCTION tasker.task_facts_v1(p_tasks uuid[]) RETURNS json
LANGUAGE sql STABLE
SET enable_seqscan = off
AS $$
    SELECT coalesce(json_agg(json_build_object(
        'task_uuid', task_uuid, 'template_id', template_id, 'context', context, 'bytes', context_bytes,
        'correlation_id', correlation_id, 'parent_correlation_id', parent_correlation_id,
        'traceparent', traceparent, 'tracestate', tracestate)), '[]')
    FROM tasker.tasks
    WHERE task_uuid = ANY (p_tasks)
$$;

-- Leases up to p_limit steps, oldest and most urgent first, whose input together stays under p_max_bytes (one step
-- always fits). Steps that another session holds are passed over, so two workers never wait for each other here.
-- statement_timestamp() and not clock_timestamp(): only the first is a bound that an index scan can use. Without sorts
-- the oldest steps are read in the order of the index, and no more of them than are wanted; with statistics of an emptied
-- table the planner would read the whole backlog and sort it.
CREATE FUNCTION tasker.claim_steps_v1(
    p_worker bigint, p_namespaces text[], p_limit integer, p_lease_ms integer, p_max_bytes bigint) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '5s'
SET enable_sort = off SET enable_bitmapscan = off
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
                       WHERE a.task_uuid = s.task_uuid AND a.position = ANY (d.ancestors)), 0) AS bytes
            FROM tasker.steps s
            JOIN tasker.tasks t ON t.task_uuid = s.task_uuid
            JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = s.position
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
