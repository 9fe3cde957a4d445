-- A claim for many namespaces looks at what it takes, and no longer at as many steps in each of them.

-- How many of the oldest p_limit steps that could run are in each of these namespaces; those of one age are as good as
-- each other. A few of each namespace are looked at. The p_limit-th oldest of these is the brink: what is younger is not
-- among those looked for. Only where the last one looked at is older than that can there be more, and more is read.
-- It is planned under the settings of the claim that calls it.
CREATE FUNCTION tasker.oldest_shares_v1(p_namespaces text[], p_limit integer, p_now timestamptz)
RETURNS TABLE (namespace text, share integer)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_few integer := least(p_limit, 2 * p_limit / greatest(cardinality(p_namespaces), 1) + 1);
BEGIN
    RETURN QUERY
    WITH looked AS MATERIALIZED (
        SELECT n.namespace, ARRAY(
            SELECT c.run_at
            FROM tasker.steps c
            WHERE c.namespace = n.namespace AND c.state IN ('enqueued', 'waiting_for_retry') AND c.run_at <= p_now
            ORDER BY c.run_at
            LIMIT v_few) AS places
        FROM unnest(p_namespaces) AS n(namespace)
    ), brink AS MATERIALIZED (
        SELECT coalesce((
            SELECT p
            FROM looked l CROSS JOIN LATERAL unnest(l.places) AS p
            ORDER BY p
            OFFSET p_limit - 1
            LIMIT 1), 'infinity') AS place
    ), candidates AS (
        SELECT l.namespace, p AS place
        FROM looked l CROSS JOIN brink b CROSS JOIN LATERAL unnest(l.places) AS p
        WHERE (l.places[v_few] < b.place) IS NOT TRUE
        UNION ALL
        SELECT l.namespace, m.run_at
        FROM looked l CROSS JOIN brink b
        CROSS JOIN LATERAL (
            SELECT c.run_at
            FROM tasker.steps c
            WHERE c.namespace = l.namespace AND c.state IN ('enqueued', 'waiting_for_retry')
              AND c.run_at <= least(p_now, b.place)
            ORDER BY c.run_at
            LIMIT p_limit) m
        WHERE l.places[v_few] < b.place
    )
    SELECT o.namespace, count(*)::integer
    FROM (SELECT c.namespace FROM candidates c ORDER BY c.place LIMIT p_limit) o
    GROUP BY o.namespace;
END
$$;

-- Leases up to p_limit steps, as before. Those with limits are not in the way of others: see admit_steps_v1. A claim that
-- meets none of them, and no opening, does what it always did.
-- What belongs to a step is looked up by LATERAL and LIMIT, which leave the planner no choice: a table that was full once
-- and is empty except for its pages counts as one row, and reading all of it first then seems as good as a key. Nothing of
-- that is asked for twice, so remembering it (Memoize) costs and does not pay. One plan is right for every claim, and to
-- make one each time took two thirds of a small claim.
CREATE OR REPLACE FUNCTION tasker.claim_steps_v1(
    p_worker bigint, p_namespaces text[], p_limit integer, p_lease_ms integer, p_max_bytes bigint) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = '5s'
SET enable_sort = off SET enable_bitmapscan = off SET enable_memoize = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_now       timestamptz := statement_timestamp();
    v_names     text[];
    v_shares    integer[];
    v_found     tid[];
    v_limited   tid[];
    v_admission record;
    v_keys      text[];
    v_again     boolean := false;
    v_tasks     uuid[];
    v_positions smallint[];
    v_bytes     bigint;
    v_next      timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(tasker.worker_lock_class(), p_worker::integer);
    IF NOT EXISTS (SELECT FROM tasker.workers WHERE worker_id = p_worker AND alive) THEN
        RETURN '{"fenced": true}';
    END IF;

    -- A retry that is due takes the place that the age and the priority of its task give it, not one behind a backlog. More
    -- of them than this claim can lease: the most urgent need not be the first that was due.
    UPDATE tasker.steps
    SET state = 'enqueued', run_at = tasker.queue_place(task_uuid)
    WHERE ctid = ANY (ARRAY(
        SELECT r.row_id
        FROM unnest(p_namespaces) AS n(namespace)
        CROSS JOIN LATERAL (
            SELECT c.ctid AS row_id
            FROM tasker.steps c
            WHERE c.namespace = n.namespace AND c.state || '' = 'waiting_for_retry' AND c.run_at <= v_now
            ORDER BY c.run_at
            LIMIT greatest(p_limit, 100)
            FOR UPDATE SKIP LOCKED) r));

    -- How many of the oldest steps are in each namespace is read without locks; then each namespace's share is locked
    -- in its own index order. A single namespace needs no such look.
    IF cardinality(p_namespaces) = 1 THEN
        v_names := p_namespaces;
        v_shares := ARRAY[p_limit];
    ELSE
        SELECT array_agg(namespace), array_agg(share) INTO v_names, v_shares
        FROM tasker.oldest_shares_v1(p_namespaces, p_limit, v_now);
    END IF;
    SELECT coalesce(array_agg(row_id) FILTER (WHERE NOT has_limits), '{}'),
           coalesce(array_agg(row_id) FILTER (WHERE has_limits), '{}')
    INTO v_found, v_limited
    FROM unnest(v_names, v_shares) AS n(namespace, share)
    CROSS JOIN LATERAL (
        SELECT c.ctid AS row_id, c.limit_keys IS NOT NULL AS has_limits
        FROM tasker.steps c
        WHERE c.namespace = n.namespace AND c.state IN ('enqueued', 'waiting_for_retry') AND c.run_at <= v_now
        ORDER BY c.run_at
        LIMIT n.share
        FOR UPDATE SKIP LOCKED) locked;

    IF cardinality(v_limited) > 0 OR EXISTS (
        SELECT FROM tasker.limit_openings WHERE namespace = ANY (p_namespaces) AND opens_at <= v_now)
    THEN
        v_admission := tasker.admit_steps_v1(p_namespaces, p_limit, v_limited);
        v_again := v_admission.again OR cardinality(v_found) + cardinality(v_limited) >= p_limit;
        v_keys := v_admission.keys;
        v_found := v_found || v_admission.admitted;
    END IF;

    IF cardinality(v_found) > 0 THEN
        WITH sized AS (
            SELECT s.ctid AS row_id, s.task_uuid, s.position, coalesce(s.run_at, s.parked_place) AS run_at,
                   t.context_bytes + coalesce((
                       SELECT sum(a.result_bytes) FROM tasker.steps a
                       WHERE a.task_uuid = s.task_uuid AND a.position = ANY (d.ancestors)), 0)
                   + CASE WHEN d.gathers IS NULL THEN 0 ELSE coalesce((
                       SELECT sum(n.result_bytes) FROM tasker.steps n
                       WHERE n.task_uuid = s.task_uuid AND n.definition = ANY (d.gathers)), 0) END
                   + tasker.own_bytes(s.inputs, s.checkpoint) + coalesce(octet_length(s.children::text), 0) AS bytes
            FROM tasker.steps s
            CROSS JOIN LATERAL (
                SELECT template_id, context_bytes FROM tasker.tasks WHERE task_uuid = s.task_uuid LIMIT 1) t
            CROSS JOIN LATERAL (
                SELECT ancestors, gathers
                FROM tasker.template_steps
                WHERE template_id = t.template_id AND position = coalesce(s.definition, s.position)
                LIMIT 1) d
            WHERE s.ctid = ANY (v_found)
        ), fitting AS (
            SELECT row_id, task_uuid, position, place, bytes
            FROM (
                SELECT row_id, task_uuid, position, bytes, row_number() OVER by_age AS place,
                       sum(bytes) OVER by_age AS total
                FROM sized
                WINDOW by_age AS (ORDER BY run_at, task_uuid, position)) aged
            WHERE (place = 1 OR total <= least(p_max_bytes, 268435456)) AND place <= p_limit
        ), leased AS (
            UPDATE tasker.steps s
            SET state = 'in_progress', token = nextval('tasker.lease_token'), worker_id = p_worker, leased_at = v_now,
                run_at = v_now + make_interval(secs => p_lease_ms / 1000.0), parked_by = NULL, parked_place = NULL
            WHERE s.ctid = ANY (ARRAY(SELECT row_id FROM fitting))
        )
        SELECT array_agg(task_uuid ORDER BY place), array_agg(position ORDER BY place),
               min(bytes) FILTER (WHERE place = 1)
        INTO v_tasks, v_positions, v_bytes
        FROM fitting;
    END IF;
    IF v_keys IS NOT NULL THEN
        v_again := tasker.reopen_limits_v1(v_keys, v_tasks, v_positions) OR v_again;
        -- A worker that got fewer steps than it has room for must know when a rate lets the next one go.
        v_next := tasker.next_opening(p_namespaces, v_now);
    END IF;
    IF cardinality(v_found) > 0 THEN
        RETURN json_build_object(
            'tasks', tasker.task_facts_v1(v_tasks),
            'steps', CASE WHEN v_bytes > 268435456 THEN tasker.overfed_step_v1(v_tasks[1], v_positions[1], v_bytes)
                          ELSE tasker.leased_steps_v1(v_tasks, v_positions) END,
            'more', cardinality(v_found) >= p_limit OR cardinality(v_found) > cardinality(v_tasks) OR v_again,
            'next_run_in_ms', ceil(extract(epoch FROM v_next - clock_timestamp()) * 1000));
    END IF;

    SELECT least(min(s.run_at), tasker.next_opening(p_namespaces, v_now)) INTO v_next
    FROM unnest(p_namespaces) AS n(namespace)
    CROSS JOIN LATERAL (
        SELECT c.run_at
        FROM tasker.steps c
        WHERE c.namespace = n.namespace AND c.state IN ('enqueued', 'waiting_for_retry') AND c.run_at > v_now
        ORDER BY c.run_at
        LIMIT 1) s;
    RETURN json_build_object(
        'more', v_again, 'next_run_in_ms', ceil(extract(epoch FROM v_next - clock_timestamp()) * 1000));
END
$$;
