-- Stores results and all that follows from them: attempts, durable events, dead letters, blocked and released
-- successors, task states, counts. Everything is derived from the steps whose token still held when they were updated;
-- a result whose lease was lost changes nothing and is named in the reply. The caller holds the lock on the worker.
--
-- p: {worker, lease_ms, continue, continue_bytes, tasks: [uuid], labels: [[namespace, event_name, delivery_mode, publisher]],
--     results: [{token, task, position, attempt, outcome, result, bytes, error, delay_ms, duration_ms,
--                events: [{message, headers, label}], dead_letters: [{message, label}]}],
--     publications: [{namespace, events: [...], dead_letters: [...]}]}
-- outcome: complete | waiting_for_retry | error | returned (given back before it began) | lost (it ran beside others when
-- its worker died: given back uncounted, to run alone next).
-- The order of locks is the same everywhere: worker, then tasks by uuid, then steps.
CREATE FUNCTION tasker.apply_results_v1(p jsonb) RETURNS jsonb
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
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
        SET state = CASE WHEN r.outcome IN ('returned', 'lost') THEN 'enqueued' ELSE r.outcome END,
            attempts = CASE WHEN r.outcome IN ('returned', 'lost') THEN s.attempts ELSE r.attempt END,
            suspect = CASE r.outcome WHEN 'returned' THEN s.suspect
                                     WHEN 'waiting_for_retry'
                                     THEN coalesce(r.error ->> 'error_type' = 'worker_lost', false)
                                     ELSE r.outcome = 'lost' END,
            run_at = CASE WHEN r.outcome IN ('returned', 'lost') THEN tasker.queue_place(r.task)
                          WHEN r.outcome = 'waiting_for_retry' THEN v_now + make_interval(secs => r.delay_ms / 1000.0)
                     END,
            token = NULL, worker_id = NULL, updated_at = v_now,
            result = r.result, error = r.error, result_bytes = coalesce(r.bytes, 0)
        FROM jsonb_to_recordset(p -> 'results') AS r(
            token bigint, task uuid, position smallint, attempt integer, outcome text, result jsonb, bytes integer,
            error jsonb, delay_ms bigint, duration_ms double precision, events jsonb,
            dead_letters jsonb)
        WHERE s.task_uuid = r.task AND s.position = r.position AND s.token = r.token AND s.state = 'in_progress'
        RETURNING r.*, s.namespace
    ), noted AS (
        INSERT INTO tasker.step_attempts (
            task_uuid, position, token, attempt, outcome, worker_id, error, duration_ms, finished_at)
        SELECT task, position, token, attempt, outcome, v_worker, error, duration_ms, v_now
        FROM won
        WHERE outcome <> 'returned'
    )
    SELECT array_agg(token), array_agg(task), array_agg(position), array_agg(outcome), array_agg(namespace),
           array_agg(events), array_agg(dead_letters)
    INTO v_won, v_won_tasks, v_won_places, v_outcomes, v_spaces, v_events, v_letters
    FROM won;

    IF 'error' = ANY (v_outcomes) THEN
        -- Marked once: a step below two failed parents is subtracted from its task's open steps one time only.
        WITH below AS (
            SELECT DISTINCT w.task, unnest(d.descendants) AS position
            FROM unnest(v_won_tasks, v_won_places, v_outcomes) AS w(task, position, outcome)
            JOIN tasker.tasks t ON t.task_uuid = w.task
            JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = w.position
            WHERE w.outcome = 'error'
        ), marked AS (
            UPDATE tasker.steps s
            SET blocked = true
            FROM below
            WHERE s.task_uuid = below.task AND s.position = below.position AND NOT s.blocked AND s.state = 'pending'
            RETURNING s.task_uuid
        )
        SELECT array_agg(task_uuid) INTO v_blocked FROM marked;
    END IF;

    IF 'complete' = ANY (v_outcomes) THEN
        -- The tasks are locked, so nobody else moves their pending steps between this read and its update. The first
        -- `continue` released steps are leased to the caller at once, as far as their inputs fit into one reply.
        WITH reached AS (
            SELECT w.task, x.position, count(*) AS paths, min(w.ordinal) AS ordinal
            FROM unnest(v_won_tasks, v_won_places, v_outcomes) WITH ORDINALITY AS w(task, position, outcome, ordinal)
            JOIN tasker.tasks t ON t.task_uuid = w.task AND t.status IN ('pending', 'in_progress')
            JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = w.position
            CROSS JOIN LATERAL unnest(d.successors) AS x(position)
            WHERE w.outcome = 'complete'
            GROUP BY w.task, x.position
        ), weighed AS (
            SELECT k.task, k.position, k.paths, k.ordinal, s.open_dependencies = k.paths AND NOT s.blocked AS released,
                   (SELECT sum(a.result_bytes)
                    FROM tasker.tasks t
                    JOIN tasker.template_steps d ON d.template_id = t.template_id AND d.position = k.position
                    JOIN tasker.steps a ON a.task_uuid = t.task_uuid AND a.position = ANY (d.ancestors)
                    WHERE t.task_uuid = k.task AND s.open_dependencies = k.paths) AS bytes
            FROM reached k
            JOIN tasker.steps s ON s.task_uuid = k.task AND s.position = k.position
            WHERE s.state = 'pending'
        ), judged AS (
            SELECT task, position, paths, ordinal, released,
                   count(*) FILTER (WHERE released) OVER in_order <= (p ->> 'continue')::integer
                   AND (count(*) FILTER (WHERE released) OVER in_order = 1
                        OR sum(bytes) FILTER (WHERE released) OVER in_order <= (p ->> 'continue_bytes')::bigint)
                       AS continued
            FROM weighed
            WINDOW in_order AS (ORDER BY ordinal, task, position)
        ), moved AS (
            UPDATE tasker.steps s
            SET open_dependencies = s.open_dependencies - j.paths,
                state = CASE WHEN NOT j.released THEN 'pending' WHEN j.continued THEN 'in_progress' ELSE 'enqueued' END,
                token = CASE WHEN j.released AND j.continued THEN nextval('tasker.lease_token') END,
                worker_id = CASE WHEN j.released AND j.continued THEN v_worker END,
                run_at = CASE WHEN NOT j.released THEN NULL
                              WHEN j.continued THEN v_now + v_lease
                              ELSE t.created_at - make_interval(hours => t.priority) END,
                updated_at = v_now
            FROM judged j
            JOIN tasker.tasks t ON t.task_uuid = j.task
            WHERE s.task_uuid = j.task AND s.position = j.position AND s.state = 'pending'
            RETURNING s.task_uuid, s.position, s.state, j.ordinal
        )
        SELECT count(*) FILTER (WHERE state = 'enqueued'),
               array_agg(task_uuid ORDER BY ordinal, position) FILTER (WHERE state = 'in_progress'),
               array_agg(position ORDER BY ordinal, position) FILTER (WHERE state = 'in_progress')
        INTO v_released, v_next_tasks, v_next_steps
        FROM moved;
    END IF;

    -- One update a task: what ended in this batch is subtracted, and zero open steps finish it.
    WITH ended AS (
        SELECT task, sum(closed) AS closed, sum(failed) AS failed
        FROM (
            SELECT w.task, CASE WHEN w.outcome IN ('complete', 'error') THEN 1 ELSE 0 END AS closed,
                   CASE WHEN w.outcome = 'error' THEN 1 ELSE 0 END AS failed
            FROM unnest(v_won_tasks, v_outcomes) AS w(task, outcome)
            WHERE w.outcome NOT IN ('returned', 'lost')
            UNION ALL
            SELECT b.task, 1, 0 FROM unnest(v_blocked) AS b(task)) each
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
        'next_tasks', to_jsonb(coalesce(v_next_tasks, '{}')), 'next_steps', to_jsonb(coalesce(v_next_steps, '{}')));
END
$$;

-- Commits a worker's batch exactly once. `seq` numbers the worker's commits: a batch that is sent again because the
-- outcome of the first try is unknown finds its number taken and gets the kept reply (without the steps that were
-- continued: what a worker does not know it holds is given back by extend_leases_v1).
CREATE FUNCTION tasker.commit_batch_v1(p jsonb) RETURNS text
LANGUAGE plpgsql
SET lock_timeout = '5s'
AS $$
DECLARE
    v_worker bigint := (p ->> 'worker')::bigint;
    v_seq    bigint := (p ->> 'seq')::bigint;
    v_last   bigint;
    v_reply  text;
    v_new    jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(tasker.worker_lock_class(), v_worker::integer);
    IF NOT EXISTS (SELECT FROM tasker.workers WHERE worker_id = v_worker AND alive) THEN
        RETURN '{"fenced": true}';
    END IF;
    SELECT seq, reply INTO v_last, v_reply FROM tasker.worker_commits WHERE worker_id = v_worker FOR UPDATE;
    IF v_last = v_seq THEN
        RETURN v_reply;
    END IF;
    IF v_last IS DISTINCT FROM v_seq - 1 THEN
        RAISE EXCEPTION 'worker % sent commit % after commit %', v_worker, v_seq, v_last
            USING ERRCODE = 'internal_error';
    END IF;

    v_new := tasker.apply_results_v1(p);
    UPDATE tasker.worker_commits
    SET seq = v_seq, reply = (v_new - 'next_tasks' - 'next_steps')::text
    WHERE worker_id = v_worker;
    -- Put together as text: to make jsonb of the steps only to print it again would cost a seventh of the commit.
    RETURN left((v_new - 'next_tasks' - 'next_steps')::text, -1) || ', "steps": ' || tasker.leased_steps_v1(
        ARRAY(SELECT t::uuid FROM jsonb_array_elements_text(v_new -> 'next_tasks') AS t),
        ARRAY(SELECT s::smallint FROM jsonb_array_elements_text(v_new -> 'next_steps') AS s))::text || '}';
END
$$;
