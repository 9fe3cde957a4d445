-- Limits by key: how many steps of a key may be leased at a time, or begin in a period, in this whole database.
--
-- How many places of a key are taken is counted from the leases themselves, so no counter can be wrong after a crash.
-- Only claims give places, and a claim holds the locks of its keys until its leases are committed. A step that gets no
-- place is parked: it has no run_at, so that no claim meets it, and stands with others of its key in the order in which
-- they would run. Where a place may be free, and somebody may stand there, a row of limit_openings says so: written by
-- the transaction that ends a lease, dated for a rate, read by the next claim. An opening is a hint: one too many costs
-- a look. That none is missing follows from the locks: who takes an opening waits for every claim of that key that was
-- on its way, and sees what it parked; a claim that comes later sees the place.

-- A key is the letter of its kind, the number of its limit, a colon, and for a limit by a field of the context that
-- field's value. What was registered last counts.
CREATE TABLE tasker.limits (
    limit_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace      text NOT NULL,
    scope          text NOT NULL,
    name           text NOT NULL,
    kind           text NOT NULL,
    field          text[],
    max_concurrent integer,
    rate           integer,
    period_seconds integer,
    registered_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (namespace, scope, name, kind),
    CHECK (kind = 'concurrency' AND max_concurrent IS NOT NULL
           OR kind = 'rate' AND rate IS NOT NULL AND period_seconds IS NOT NULL)
);

CREATE TABLE tasker.limit_openings (
    limit_key  text COLLATE "C" NOT NULL,
    opening_id bigint GENERATED ALWAYS AS IDENTITY,
    namespace  text NOT NULL,
    opens_at   timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (limit_key, opening_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX limit_openings_due ON tasker.limit_openings (namespace, opens_at);

-- How many steps began in each twentieth of a rate's period. Those of the last 21 twentieths cover the period whatever
-- the moment, so no period ever has more than the rate.
CREATE TABLE tasker.limit_starts (
    limit_key text COLLATE "C" NOT NULL,
    slot_at   timestamptz NOT NULL,
    count     integer NOT NULL,
    PRIMARY KEY (limit_key, slot_at)
) WITH (fillfactor = 70);

ALTER TABLE tasker.template_steps ADD COLUMN limits bigint[];
-- parked_place is what run_at was before a step was parked; both are null unless it is, or was until it ended otherwise.
-- leased_at is when a claim last took the step; a lease without a claim began with the last change of the step.
ALTER TABLE tasker.steps
    ADD COLUMN limit_keys text[],
    ADD COLUMN parked_by text COLLATE "C",
    ADD COLUMN parked_place timestamptz,
    ADD COLUMN leased_at timestamptz;
-- `state || ''` keeps looks for those who stand out of the index of what can run, where they are anywhere among many.
CREATE INDEX steps_parked ON tasker.steps (namespace, parked_by, parked_place)
    WHERE state || '' = 'enqueued' AND run_at IS NULL;
CREATE INDEX steps_limited ON tasker.steps (namespace) WHERE state = 'in_progress' AND limit_keys IS NOT NULL;
-- The same for retries.
CREATE INDEX steps_retrying ON tasker.steps (namespace, run_at) WHERE state || '' = 'waiting_for_retry';

-- The class of the advisory locks on keys. Where two keys have one lock they wait for each other, and nothing else.
CREATE FUNCTION tasker.limit_lock_class() RETURNS integer
LANGUAGE sql IMMUTABLE
RETURN 1952540524;

CREATE FUNCTION tasker.limit_id(p_key text) RETURNS bigint
LANGUAGE sql IMMUTABLE
RETURN substr(split_part(p_key, ':', 1), 2)::bigint;

-- The keys of a step with these limits. A field that the context does not have, or has as null, has the value `null`. A
-- long value is cut, and told apart by its hash.
CREATE FUNCTION tasker.limit_keys_v1(p_limits bigint[], p_task uuid) RETURNS text[]
LANGUAGE sql STABLE
SET enable_seqscan = off SET jit = off
AS $$
    SELECT array_agg(left(l.kind, 1) || l.limit_id || ':'
                     || CASE WHEN l.field IS NULL THEN '' WHEN v.value IS NULL THEN 'null'
                             WHEN octet_length(v.value) <= 200 THEN v.value
                             ELSE left(v.value, 100) || '#' || encode(sha256(convert_to(v.value, 'UTF8')), 'hex') END
                     ORDER BY n.ordinality)
    FROM tasker.tasks t
    CROSS JOIN unnest(p_limits) WITH ORDINALITY AS n(limit_id, ordinality)
    JOIN tasker.limits l ON l.limit_id = n.limit_id
    CROSS JOIN LATERAL (SELECT t.context #>> l.field AS value) v
    WHERE t.task_uuid = p_task
$$;

-- The twentieth of a period in which a moment lies.
CREATE FUNCTION tasker.limit_slot(p_moment timestamptz, p_period_seconds integer) RETURNS timestamptz
LANGUAGE sql STABLE
RETURN to_timestamp(floor(extract(epoch FROM p_moment) * 20 / p_period_seconds) * p_period_seconds / 20);

-- How many steps of each key may begin now, and for an exhausted rate when that may change. `used` are leases, or for a
-- rate what began in its last period. A key of which nothing is known has no limit. Starts ahead of the clock, which
-- was set back then, count no longer than one period.
CREATE FUNCTION tasker.limit_room_v1(p_keys text[], p_now timestamptz)
RETURNS TABLE (limit_key text, used bigint, room integer, opens_at timestamptz)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT k.key, coalesce(u.used, r.used, 0),
           CASE l.kind WHEN 'concurrency' THEN l.max_concurrent - coalesce(u.used, 0)
                       WHEN 'rate' THEN l.rate - coalesce(r.used, 0)
                       ELSE 2147483647 END::integer,
           CASE WHEN r.used >= l.rate
                THEN r.first + make_interval(secs => l.period_seconds * 21 / 20.0 + 0.001) END
    FROM unnest(p_keys) AS k(key)
    LEFT JOIN tasker.limits l ON l.limit_id = tasker.limit_id(k.key)
    LEFT JOIN (
        SELECT x.key, count(*) AS used
        FROM (
            SELECT DISTINCT d.namespace
            FROM unnest(p_keys) AS q(key)
            JOIN tasker.limits d ON d.limit_id = tasker.limit_id(q.key)
            WHERE d.kind = 'concurrency') n
        JOIN tasker.steps s
          ON s.namespace = n.namespace AND s.state = 'in_progress' AND s.limit_keys IS NOT NULL
        CROSS JOIN LATERAL unnest(s.limit_keys) AS x(key)
        WHERE x.key = ANY (p_keys)
        GROUP BY x.key) u ON u.key = k.key AND l.kind = 'concurrency'
    LEFT JOIN LATERAL (
        SELECT sum(c.count)::bigint AS used, min(c.slot_at) AS first
        FROM tasker.limit_starts c
        WHERE l.kind = 'rate' AND c.limit_key = k.key
          AND c.slot_at > tasker.limit_slot(p_now, l.period_seconds)
                          - make_interval(secs => l.period_seconds * 1.025)
          AND c.slot_at < tasker.limit_slot(p_now, l.period_seconds) + make_interval(secs => l.period_seconds)) r
      ON true;
END
$$;

-- When the next opening of these namespaces is due that is not due yet.
CREATE FUNCTION tasker.next_opening(p_namespaces text[], p_now timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN (
        SELECT min(o.opens_at)
        FROM unnest(p_namespaces) AS n(namespace)
        CROSS JOIN LATERAL (
            SELECT w.opens_at
            FROM tasker.limit_openings w
            WHERE w.namespace = n.namespace AND w.opens_at > p_now
            ORDER BY w.opens_at
            LIMIT 1) o);
END
$$;

-- Opens the places of a lease that ended, however it ended. Several ends in one transaction open a key once.
CREATE FUNCTION tasker.open_limits() RETURNS trigger
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    INSERT INTO tasker.limit_openings (limit_key, namespace)
    SELECT k, OLD.namespace
    FROM unnest(OLD.limit_keys) AS k
    WHERE k LIKE 'c%' AND (
        SELECT o.xmin = pg_current_xact_id()::xid
        FROM tasker.limit_openings o
        WHERE o.limit_key = k
        ORDER BY o.opening_id DESC
        LIMIT 1) IS NOT TRUE;
    RETURN NULL;
END
$$;

-- A trigger, so that it holds for every way in which a lease can end; steps without limits do not call it.
CREATE TRIGGER open_limits AFTER UPDATE OF state ON tasker.steps
FOR EACH ROW WHEN (OLD.limit_keys IS NOT NULL AND OLD.state = 'in_progress' AND NEW.state <> 'in_progress')
EXECUTE FUNCTION tasker.open_limits();

-- Chooses which steps with limits a claim may lease: of the candidates that it met and locked, and of those that stand
-- parked where there is an opening, the oldest and most urgent first. Candidates without a place are parked. Returns the
-- keys whose locks it took, and whether a claim should follow at once; who calls it leases what was admitted, or some of
-- it, and then calls reopen_limits_v1.
--
-- Locks of keys come after those on candidates, all at once and in one order, and whatever else is locked is passed over
-- where somebody holds it, so claims wait for each other's keys and for nothing else.
CREATE FUNCTION tasker.admit_steps_v1(
    p_namespaces text[], p_limit integer, p_candidates tid[], OUT admitted tid[], OUT keys text[], OUT again boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off
SET enable_bitmapscan = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_now    timestamptz := statement_timestamp();
    v_opened text[];
    v_names  text[];
    v_rooms  integer[];
    v_step   record;
    v_key    text;
    v_place  integer;
    v_full   text;
    v_parked tid[] := '{}';
    v_at     text[] := '{}';
    v_crowd  boolean := false;
BEGIN
    admitted := '{}';
    again := false;
    WITH taken AS (
        DELETE FROM tasker.limit_openings
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM tasker.limit_openings
            WHERE namespace = ANY (p_namespaces) AND opens_at <= v_now
            ORDER BY opens_at
            LIMIT 100
            FOR UPDATE SKIP LOCKED))
        RETURNING limit_key
    )
    SELECT coalesce(array_agg(DISTINCT k), '{}') INTO v_opened
    FROM (
        SELECT limit_key FROM taken
        UNION ALL
        SELECT unnest(s.limit_keys) FROM tasker.steps s WHERE s.ctid = ANY (p_candidates)) AS each(k);

    -- Who stands there may need other keys too. One whose keys are not all locked now is for the next claim.
    SELECT array_agg(DISTINCT each.key) INTO keys
    FROM (
        SELECT unnest(v_opened)
        UNION ALL
        SELECT unnest(h.limit_keys)
        FROM unnest(v_opened) AS o(key)
        JOIN tasker.limits l ON l.limit_id = tasker.limit_id(o.key)
        CROSS JOIN LATERAL (
            SELECT w.limit_keys
            FROM tasker.steps w
            WHERE w.namespace = l.namespace AND w.parked_by = o.key AND w.state || '' = 'enqueued' AND w.run_at IS NULL
            ORDER BY w.parked_place
            LIMIT p_limit) h) AS each(key);
    PERFORM pg_advisory_xact_lock(tasker.limit_lock_class(), locks.number)
    FROM (SELECT DISTINCT hashtext(k) AS number FROM unnest(keys) AS k ORDER BY number) locks;

    -- Whoever has waited for a lock begins its steps now, and not when its claim began.
    v_now := clock_timestamp();
    SELECT array_agg(limit_key), array_agg(room) INTO v_names, v_rooms FROM tasker.limit_room_v1(keys, v_now);
    FOR v_step IN
        SELECT *
        FROM (
            SELECT s.ctid AS row_id, s.limit_keys, s.run_at AS place, NULL::text AS parked_by
            FROM tasker.steps s
            WHERE s.ctid = ANY (p_candidates)
            UNION ALL
            SELECT h.*
            FROM unnest(v_names, v_rooms) AS r(key, room)
            JOIN tasker.limits l ON l.limit_id = tasker.limit_id(r.key)
            CROSS JOIN LATERAL (
                SELECT w.ctid, w.limit_keys, w.parked_place, w.parked_by
                FROM tasker.steps w
                WHERE w.namespace = l.namespace AND w.parked_by = r.key AND w.state || '' = 'enqueued' AND w.run_at IS NULL
                ORDER BY w.parked_place
                LIMIT least(r.room + 10, p_limit)
                FOR UPDATE SKIP LOCKED) h
            WHERE r.room > 0 AND r.key = ANY (v_opened)) each
        ORDER BY place
    LOOP
        v_full := NULL;
        FOREACH v_key IN ARRAY v_step.limit_keys LOOP
            v_place := array_position(v_names, v_key);
            IF v_place IS NULL OR v_rooms[v_place] <= 0 THEN
                v_full := v_key;
                EXIT;
            END IF;
        END LOOP;
        IF v_full IS NULL AND cardinality(admitted) < p_limit THEN
            admitted := admitted || v_step.row_id;
            FOREACH v_key IN ARRAY v_step.limit_keys LOOP
                v_place := array_position(v_names, v_key);
                v_rooms[v_place] := v_rooms[v_place] - 1;
            END LOOP;
        ELSIF v_place IS NOT NULL AND v_full IS DISTINCT FROM v_step.parked_by AND v_full IS NOT NULL THEN
            v_parked := v_parked || v_step.row_id;
            v_at := v_at || v_full;
            v_crowd := v_crowd OR v_step.parked_by IS NULL;
        END IF;
    END LOOP;

    UPDATE tasker.steps s
    SET state = 'enqueued', run_at = NULL, parked_by = p.key, parked_place = coalesce(s.run_at, s.parked_place)
    FROM unnest(v_parked, v_at) AS p(row_id, key)
    WHERE s.ctid = p.row_id;
    IF v_crowd THEN
        again := tasker.park_crowd_v1(p_namespaces, admitted);
    END IF;
END
$$;

-- Parks what has limits among the first 1,000 steps of each namespace that could run, but for those given: where one got
-- no place there may be a hundred thousand, and those without limits must not wait until claims have met them all. Tells
-- whether there was one.
CREATE FUNCTION tasker.park_crowd_v1(p_namespaces text[], p_but tid[]) RETURNS boolean
LANGUAGE sql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off
SET lock_timeout = '5s'
AS $$
    WITH parked AS (
        UPDATE tasker.steps
        SET state = 'enqueued', parked_by = limit_keys[1], parked_place = run_at, run_at = NULL
        WHERE ctid = ANY (ARRAY(
            SELECT c.ctid
            FROM tasker.steps c
            WHERE c.limit_keys IS NOT NULL AND c.ctid = ANY (ARRAY(
                SELECT h.row_id
                FROM unnest(p_namespaces) AS n(namespace)
                CROSS JOIN LATERAL (
                    SELECT f.ctid AS row_id
                    FROM tasker.steps f
                    WHERE f.namespace = n.namespace AND f.state IN ('enqueued', 'waiting_for_retry')
                      AND f.run_at <= statement_timestamp()
                    ORDER BY f.run_at
                    LIMIT 1000) h)) AND NOT c.ctid = ANY (p_but)
              AND c.state IN ('enqueued', 'waiting_for_retry') AND c.run_at IS NOT NULL
            FOR UPDATE SKIP LOCKED))
        RETURNING namespace, parked_by
    ), opened AS (
        INSERT INTO tasker.limit_openings (limit_key, namespace)
        SELECT DISTINCT parked_by, namespace FROM parked
        RETURNING true
    )
    SELECT EXISTS (SELECT FROM opened)
$$;

-- Ends what admit_steps_v1 began, when the given steps are leased: counts them as begun where they have a rate, and opens
-- the keys where somebody stands and there is a place, now or at the moment when a rate lets the next one go. After a
-- claim that got nothing, because somebody else holds those who stand there, `now` is a bit later. Tells whether one is
-- open now. The time is that of the clock: the claim may have waited for its locks.
CREATE FUNCTION tasker.reopen_limits_v1(p_keys text[], p_tasks uuid[], p_positions smallint[]) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off
SET enable_bitmapscan = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_soon timestamptz := v_now + CASE WHEN p_tasks IS NULL THEN interval '20 ms' ELSE interval '0' END;
    v_open boolean;
BEGIN
    INSERT INTO tasker.limit_starts AS c (limit_key, slot_at, count)
    SELECT k, tasker.limit_slot(v_now, l.period_seconds), count(*)
    FROM unnest(p_tasks, p_positions) AS p(task_uuid, position)
    JOIN tasker.steps s ON s.task_uuid = p.task_uuid AND s.position = p.position
    CROSS JOIN LATERAL unnest(s.limit_keys) AS k
    JOIN tasker.limits l ON l.limit_id = tasker.limit_id(k)
    WHERE l.kind = 'rate'
    GROUP BY k, l.period_seconds
    ON CONFLICT (limit_key, slot_at) DO UPDATE SET count = c.count + excluded.count;
    DELETE FROM tasker.limit_starts c
    USING unnest(p_keys) AS k
    JOIN tasker.limits l ON l.limit_id = tasker.limit_id(k) AND l.kind = 'rate'
    WHERE c.limit_key = k AND c.slot_at < v_now - make_interval(secs => l.period_seconds * 1.2);

    WITH stood AS (
        SELECT r.limit_key, d.namespace, r.room, r.opens_at
        FROM tasker.limit_room_v1(p_keys, v_now) r
        JOIN tasker.limits d ON d.limit_id = tasker.limit_id(r.limit_key)
        CROSS JOIN LATERAL (  -- EXISTS would be planned as a join that reads everybody who stands anywhere
            SELECT FROM tasker.steps w
            WHERE w.namespace = d.namespace AND w.parked_by = r.limit_key AND w.state || '' = 'enqueued'
              AND w.run_at IS NULL
            LIMIT 1) w
    ), opened AS (
        INSERT INTO tasker.limit_openings (limit_key, namespace, opens_at)
        SELECT s.limit_key, s.namespace, CASE WHEN s.room > 0 THEN v_soon ELSE s.opens_at END
        FROM stood s
        WHERE s.room > 0 OR (s.opens_at IS NOT NULL AND NOT EXISTS (
            SELECT FROM tasker.limit_openings o WHERE o.limit_key = s.limit_key AND o.opens_at > v_now))
        RETURNING opens_at
    )
    SELECT coalesce(bool_or(opens_at <= v_now), false) INTO v_open FROM opened;
    RETURN v_open;
END
$$;

-- Opens every key where somebody stands, a place is free and no opening says so, and tells how many: after the numbers of
-- a limit were changed, and for what nobody thought of. Forgets what began long ago.
CREATE FUNCTION tasker.repair_limits_v1() RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_now   timestamptz := statement_timestamp();
    v_count integer;
BEGIN
    DELETE FROM tasker.limit_starts WHERE slot_at < v_now - interval '9 days';
    WITH RECURSIVE stood AS (
        (SELECT s.namespace, s.parked_by
         FROM tasker.steps s
         WHERE s.state || '' = 'enqueued' AND s.run_at IS NULL AND s.parked_by IS NOT NULL
         ORDER BY s.namespace, s.parked_by
         LIMIT 1)
        UNION ALL
        SELECT n.namespace, n.parked_by
        FROM stood o
        CROSS JOIN LATERAL (
            SELECT s.namespace, s.parked_by
            FROM tasker.steps s
            WHERE s.state || '' = 'enqueued' AND s.run_at IS NULL
              AND (s.namespace, s.parked_by) > (o.namespace, o.parked_by)
            ORDER BY s.namespace, s.parked_by
            LIMIT 1) n
    )
    INSERT INTO tasker.limit_openings (limit_key, namespace, opens_at)
    SELECT s.parked_by, s.namespace, CASE WHEN r.room > 0 THEN v_now ELSE r.opens_at END
    FROM tasker.limit_room_v1(ARRAY(SELECT parked_by FROM stood), v_now) r
    JOIN stood s ON s.parked_by = r.limit_key
    WHERE (r.room > 0 OR r.opens_at IS NOT NULL) AND NOT EXISTS (
        SELECT FROM tasker.limit_openings o
        WHERE o.limit_key = r.limit_key AND (r.room <= 0 OR o.opens_at <= v_now));
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

-- Creates tasks and their steps, all or none, as before. The limits of a step are known from here on.
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
        task_uuid, position, step_uuid, namespace, name, state, open_dependencies, max_attempts, run_at, limit_keys,
        updated_at)
    SELECT t.task_uuid, s.position, t.step_uuids[s.position], m.namespace, s.name,
           CASE WHEN s.conditional THEN 'undecided' WHEN s.dependencies = '{}' THEN 'enqueued' ELSE 'pending' END,
           cardinality(s.dependencies), s.max_attempts,
           CASE WHEN s.dependencies = '{}' THEN greatest(t.start_at, v_now - make_interval(hours => t.priority)) END,
           CASE WHEN s.limits IS NOT NULL THEN tasker.limit_keys_v1(s.limits, t.task_uuid) END, v_now
    FROM jsonb_to_recordset(p) AS t(
        task_uuid uuid, template_id bigint, priority integer, step_uuids uuid[], start_at timestamptz)
    JOIN tasker.templates m USING (template_id)
    JOIN tasker.template_steps s USING (template_id);
END
$$;

-- Puts the instances of a batch in the place of its worker, as before; each has the worker's limits. More than fit into a
-- task, whose positions are smallints, are refused.
CREATE OR REPLACE FUNCTION tasker.create_batch_v1(p_task uuid, p_batch jsonb) RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_worker smallint := (p_batch ->> 'worker')::smallint;
    v_last   smallint;
    v_count  integer;
BEGIN
    SELECT max(position) INTO v_last FROM tasker.steps WHERE task_uuid = p_task;
    IF v_last + jsonb_array_length(p_batch -> 'instances') > 32767 THEN
        RAISE EXCEPTION 'a task has at most 32,767 steps: it has % already, and the batch would add %',
                        v_last, jsonb_array_length(p_batch -> 'instances')
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    WITH worker AS (
        DELETE FROM tasker.steps
        WHERE task_uuid = p_task AND position = v_worker AND state = 'pending'
        RETURNING namespace, max_attempts, limit_keys
    )
    INSERT INTO tasker.steps (
        task_uuid, position, definition, step_uuid, namespace, name, state, open_dependencies, max_attempts, inputs,
        run_at, limit_keys, updated_at)
    SELECT p_task, v_last + i.ordinality, v_worker, (i.value ->> 'step_uuid')::uuid, w.namespace, i.value ->> 'name',
           'enqueued', 0, w.max_attempts, i.value -> 'inputs',
           greatest(t.created_at, t.start_at) - make_interval(hours => t.priority), w.limit_keys,
           statement_timestamp()
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

-- What a worker is told of a leased step whose inputs have more than 256 MiB: their size, so that it fails the step. One
-- answer with all of them could not be made (PostgreSQL has at most 1 GB in a value), or not be held by a worker, and
-- nothing behind this step would ever run.
CREATE FUNCTION tasker.overfed_step_v1(p_task uuid, p_position smallint, p_bytes bigint) RETURNS json
LANGUAGE sql STABLE
SET enable_seqscan = off SET jit = off
AS $$
    SELECT json_build_array(json_build_object(
        'token', token, 'task_uuid', task_uuid, 'position', position, 'step_uuid', step_uuid, 'attempt', attempts + 1,
        'suspect', suspect, 'waited_ms', 0, 'dependency_bytes', p_bytes, 'overfed', true,
        'own', json_build_object('name', name, 'definition', definition)))
    FROM tasker.steps
    WHERE task_uuid = p_task AND position = p_position
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
    v_namespace text;
    v_quota     integer;
    v_rows      tid[];
    v_bounded   tid[];
    v_found     tid[] := '{}';
    v_limited   tid[] := '{}';
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
        SELECT array_agg(row_id) FILTER (WHERE NOT has_limits), array_agg(row_id) FILTER (WHERE has_limits)
        INTO v_rows, v_bounded
        FROM (
            SELECT c.ctid AS row_id, c.limit_keys IS NOT NULL AS has_limits
            FROM tasker.steps c
            WHERE c.namespace = v_namespace AND c.state IN ('enqueued', 'waiting_for_retry') AND c.run_at <= v_now
            ORDER BY c.run_at
            LIMIT v_quota
            FOR UPDATE SKIP LOCKED) locked;
        v_found := v_found || coalesce(v_rows, '{}');
        v_limited := v_limited || coalesce(v_bounded, '{}');
    END LOOP;

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

-- How many limits there are, among those of leases that ended, that somebody waits for a place of. `p_limits` has the
-- keys of each lease as the text of an array.
CREATE FUNCTION tasker.awaited_limits_v1(p_limits text[]) RETURNS integer
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_indexscan = on SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    RETURN (
        SELECT count(*)
        FROM (SELECT DISTINCT k FROM unnest(p_limits) AS l(keys) CROSS JOIN LATERAL unnest(l.keys::text[]) AS k) f
        JOIN tasker.limits d ON d.limit_id = tasker.limit_id(f.k)
        CROSS JOIN LATERAL (
            SELECT FROM tasker.steps w
            WHERE w.namespace = d.namespace AND w.parked_by = f.k AND w.state || '' = 'enqueued' AND w.run_at IS NULL
            LIMIT 1) w
        WHERE d.max_concurrent IS NOT NULL);
END
$$;

-- Stores results and all that follows from them, as before. A step with limits is never continued, because places are
-- given by claims alone; with those who wait for a place that a lease had, it is among what was released.
-- Rows to update are found by their keys, and by nothing else, from the first call on and whatever the statistics say: an
-- index can only be read by bitmaps, which need a condition, and `state || ''` keeps the partial index of all leases out of
-- it, which looks small. So one plan is right for good, and none is made in each commit.
CREATE OR REPLACE FUNCTION tasker.apply_results_v1(p jsonb) RETURNS jsonb
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_indexscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET enable_memoize = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_now        timestamptz := statement_timestamp();
    v_worker     bigint := (p ->> 'worker')::bigint;
    v_lease      interval := make_interval(secs => (p ->> 'lease_ms')::double precision / 1000);
    v_continue   integer := (p ->> 'continue')::integer;
    v_bytes      bigint := (p ->> 'continue_bytes')::bigint;
    v_tasks      uuid[];
    v_won        bigint[];
    v_won_tasks  uuid[];
    v_won_places smallint[];
    v_templates  bigint[];
    v_outcomes   text[];
    v_dynamic    boolean[];
    v_special    boolean;
    v_more       record;
    v_touched    uuid[];
    v_touched_at smallint[];
    v_closed_in  uuid[];
    v_closed     integer[];
    v_ended      uuid[];
    v_ends       integer[];
    v_failures   integer[];
    v_cancelled  jsonb := '[]';
    v_created    integer := 0;
    v_limits     text[];
    v_freed      integer := 0;
    v_spaces     text[];
    v_events     jsonb[];
    v_letters    jsonb[];
    v_nothing    jsonb[];
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
        WHERE s.task_uuid = r.task AND s.position = r.position AND s.token = r.token
          AND s.state || '' = 'in_progress'
        RETURNING r.token, r.task, coalesce(s.definition, s.position) AS definition, r.position, r.attempt, r.outcome,
                  r.error, r.duration_ms, r.events, r.dead_letters, r.dynamic, s.namespace,
                  s.limit_keys::text AS limit_keys, (
                      SELECT t.template_id
                      FROM tasker.tasks t
                      WHERE t.task_uuid = r.task AND t.status IN ('pending', 'in_progress')) AS template
    ), noted AS (
        INSERT INTO tasker.step_attempts (
            task_uuid, position, token, attempt, outcome, worker_id, error, duration_ms, finished_at)
        SELECT task, position, token, attempt, outcome, v_worker, error, duration_ms, v_now
        FROM won
        WHERE outcome NOT IN ('returned', 'yielded')
    )
    SELECT array_agg(token), array_agg(task), array_agg(definition), array_agg(template),
           array_agg(CASE WHEN outcome = 'error' AND dynamic ->> 'on_failure' = 'continue_on_failure' THEN 'tolerated'
                          ELSE outcome END),
           array_agg(namespace), array_agg(events), array_agg(dead_letters), array_agg(dynamic IS NOT NULL),
           array_agg(limit_keys) FILTER (WHERE limit_keys IS NOT NULL)
    INTO v_won, v_won_tasks, v_won_places, v_templates, v_outcomes, v_spaces, v_events, v_letters, v_dynamic, v_limits
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
            FROM unnest(v_won_tasks, v_won_places, v_templates, v_outcomes, v_dynamic)
                AS w(task, position, template, outcome, dynamic)
            CROSS JOIN LATERAL (
                SELECT descendants
                FROM tasker.template_steps
                WHERE template_id = w.template AND position = w.position
                LIMIT 1) d
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
            SELECT e.task, e.position, min(e.template) AS template, sum(e.paths) AS paths, min(e.ordinal) AS ordinal
            FROM (
                SELECT w.task, x.position, w.template, 1 AS paths, w.ordinal
                FROM unnest(v_won_tasks, v_won_places, v_templates, v_outcomes) WITH ORDINALITY
                    AS w(task, position, template, outcome, ordinal)
                CROSS JOIN LATERAL (
                    SELECT successors
                    FROM tasker.template_steps
                    WHERE template_id = w.template AND position = w.position
                    LIMIT 1) d
                CROSS JOIN LATERAL unnest(d.successors) AS x(position)
                WHERE w.outcome IN ('complete', 'tolerated')
                UNION ALL
                SELECT k.task, k.position, (SELECT template_id FROM tasker.tasks WHERE task_uuid = k.task), 0, k.ordinal
                FROM unnest(v_touched, v_touched_at) WITH ORDINALITY AS k(task, position, ordinal)) e
            GROUP BY e.task, e.position
        ), weighed AS (
            SELECT s.row_id, k.task, k.position, k.paths, k.ordinal, s.state, s.limit_keys IS NULL AS free,
                   s.open_dependencies = k.paths AND NOT s.blocked AND s.state = 'pending' AS released,
                   coalesce((
                       SELECT sum(a.result_bytes)
                       FROM tasker.steps a
                       WHERE s.open_dependencies = k.paths AND a.task_uuid = k.task AND a.position = ANY (d.ancestors)
                   ), 0)
                   + CASE WHEN v_special THEN tasker.own_bytes(s.inputs, s.checkpoint) + coalesce((
                       SELECT sum(n.result_bytes)
                       FROM tasker.steps n
                       WHERE s.open_dependencies = k.paths AND n.task_uuid = k.task AND n.definition = ANY (d.gathers)
                   ), 0) ELSE 0 END AS bytes
            FROM reached k
            CROSS JOIN LATERAL (
                SELECT ctid AS row_id, definition, position, state, blocked, open_dependencies, limit_keys, inputs,
                       checkpoint
                FROM tasker.steps
                WHERE task_uuid = k.task AND position = k.position
                LIMIT 1) s
            CROSS JOIN LATERAL (
                SELECT ancestors, gathers
                FROM tasker.template_steps
                WHERE template_id = k.template AND position = coalesce(s.definition, s.position)
                LIMIT 1) d
            WHERE s.state IN ('pending', 'undecided')
        ), judged AS (
            SELECT row_id, task, paths, ordinal, released, state,
                   free AND count(*) FILTER (WHERE released AND free) OVER in_order <= v_continue
                   AND sum(bytes) FILTER (WHERE released AND free) OVER in_order <= v_bytes AS continued
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
                              ELSE (
                                  SELECT greatest(t.created_at, t.start_at) - make_interval(hours => t.priority)
                                  FROM tasker.tasks t
                                  WHERE t.task_uuid = j.task) END,
                updated_at = v_now
            FROM judged j
            WHERE s.ctid = j.row_id AND s.state = j.state
            RETURNING s.task_uuid, s.position, s.state, j.ordinal
        )
        SELECT count(*) FILTER (WHERE state = 'enqueued'),
               array_agg(task_uuid ORDER BY ordinal, position) FILTER (WHERE state = 'in_progress'),
               array_agg(position ORDER BY ordinal, position) FILTER (WHERE state = 'in_progress')
        INTO v_released, v_next_tasks, v_next_steps
        FROM moved;
    END IF;

    -- Whoever waits for a place that this commit freed is told of it like of a step that it released.
    IF v_limits IS NOT NULL THEN
        v_freed := tasker.awaited_limits_v1(v_limits);
    END IF;
    v_released := v_released + v_created + v_freed;

    -- One update a task: what ended in this batch is subtracted, and zero open steps finish it. No join, so that the
    -- tasks are read by their keys whatever the planner thinks of the table.
    SELECT array_agg(task), array_agg(closed), array_agg(failed)
    INTO v_ended, v_ends, v_failures
    FROM (
        SELECT task, sum(closed)::integer AS closed, sum(failed)::integer AS failed
        FROM (
            SELECT w.task, CASE WHEN w.outcome IN ('complete', 'error', 'tolerated') THEN 1 ELSE 0 END AS closed,
                   CASE WHEN w.outcome = 'error' THEN 1 ELSE 0 END AS failed
            FROM unnest(v_won_tasks, v_outcomes) AS w(task, outcome)
            WHERE w.outcome NOT IN ('returned', 'lost')
            UNION ALL
            SELECT b.task, 1, 0 FROM unnest(v_blocked) AS b(task)
            UNION ALL
            SELECT m.task, m.closed, 0 FROM unnest(v_closed_in, v_closed) AS m(task, closed)) each
        GROUP BY task) ended;
    WITH updated AS (
        UPDATE tasker.tasks t
        SET (open_steps, failed_steps, status, completed_at, updated_at) = (
            SELECT t.open_steps - v_ends[i], t.failed_steps + v_failures[i],
                   CASE WHEN t.open_steps > v_ends[i] THEN 'in_progress'
                        WHEN t.failed_steps + v_failures[i] > 0 THEN 'error'
                        ELSE 'complete' END,
                   CASE WHEN t.open_steps = v_ends[i] THEN v_now END, v_now
            FROM array_position(v_ended, t.task_uuid) AS i)
        WHERE t.task_uuid = ANY (v_ended) AND t.status IN ('pending', 'in_progress')
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

    -- A statement takes a tenth of a millisecond even where it finds nothing; most commits have no dead letters.
    v_nothing := array_fill('[]'::jsonb, ARRAY[coalesce(cardinality(v_events), 0)]);
    IF v_events <> v_nothing THEN
        FOR v_space, v_messages, v_headers IN
            SELECT w.namespace, array_agg(e.value -> 'message' ORDER BY w.ordinal, e.ordinality),
                   array_agg(e.value -> 'headers' ORDER BY w.ordinal, e.ordinality)
            FROM unnest(v_spaces, v_events) WITH ORDINALITY AS w(namespace, events, ordinal)
            CROSS JOIN LATERAL jsonb_array_elements(w.events) WITH ORDINALITY AS e
            GROUP BY w.namespace
        LOOP
            PERFORM pgmq.send_batch(v_space || '_domain_events', v_messages, v_headers);
        END LOOP;
    END IF;
    IF v_letters <> v_nothing THEN
        FOR v_space, v_messages IN
            SELECT w.namespace, array_agg(e.value -> 'message' ORDER BY w.ordinal, e.ordinality)
            FROM unnest(v_spaces, v_letters) WITH ORDINALITY AS w(namespace, letters, ordinal)
            CROSS JOIN LATERAL jsonb_array_elements(w.letters) WITH ORDINALITY AS e
            GROUP BY w.namespace
        LOOP
            PERFORM pgmq.send_batch(v_space || '_domain_events_dlq', v_messages);
        END LOOP;
    END IF;

    IF v_events <> v_nothing OR v_letters <> v_nothing THEN
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
    END IF;

    RETURN jsonb_build_object(
        'won', to_jsonb(coalesce(v_won, '{}')), 'finished', coalesce(v_finished, '[]'), 'released', v_released,
        'cancelled', v_cancelled,
        'next_tasks', to_jsonb(coalesce(v_next_tasks, '{}')), 'next_steps', to_jsonb(coalesce(v_next_steps, '{}')));
END
$$;
