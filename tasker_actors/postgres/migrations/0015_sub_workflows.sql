-- Tasks that steps start, and steps that wait for them. A step that waits is `pending` like one that waits for other
-- steps, holds no lease and has one open dependency in the place of all the tasks. `wait_token` is the lease under which
-- it began to wait, and stays until it waits again; `children` is what it is told of those tasks once all of them are
-- over. So a step waits while it is pending with a token and without children; and one that has a token and no children
-- and is not pending has been ended, or reset, while it waited: nobody needs its tasks any more.
ALTER TABLE tasker.tasks
    ADD COLUMN parent_task_uuid uuid,
    ADD COLUMN depth smallint NOT NULL DEFAULT 0,
    ADD COLUMN awaited boolean NOT NULL DEFAULT false;
ALTER TABLE tasker.steps
    ADD COLUMN wait_token bigint,
    ADD COLUMN children jsonb,
    ADD COLUMN stopped boolean NOT NULL DEFAULT false;
CREATE INDEX steps_abandoned ON tasker.steps (task_uuid, position)
    WHERE wait_token IS NOT NULL AND children IS NULL AND state <> 'pending';

-- For which tasks a step waits, in its own order; `ended` ones are over. Rows of earlier waits stay until the step's task
-- is deleted.
CREATE TABLE tasker.waits (
    task_uuid  uuid NOT NULL,
    position   smallint NOT NULL,
    token      bigint NOT NULL,
    ordinal    integer NOT NULL,
    child_uuid uuid NOT NULL,
    ended      boolean NOT NULL DEFAULT false,
    PRIMARY KEY (task_uuid, position, token, ordinal)
);
CREATE INDEX waits_open ON tasker.waits (task_uuid, position, token) WHERE NOT ended;
CREATE INDEX waits_open_child ON tasker.waits (child_uuid) WHERE NOT ended;

-- What a step is told of the tasks that it waited for, in its order. The results are those of the last steps: of those
-- that exist, the ones that nothing depends on. They are given as long as those of all the tasks together stay below
-- 256 KiB (null: not given). The error of a failed one is that of its first step that failed for good.
CREATE FUNCTION tasker.children_v1(p_task uuid, p_position smallint, p_token bigint) RETURNS jsonb
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'task_uuid', c.task_uuid, 'namespace', c.namespace, 'name', c.name, 'version', c.version, 'status', c.status,
        'results', CASE WHEN c.total <= 262144 THEN (
            SELECT coalesce(jsonb_object_agg(s.name, s.result), '{}')
            FROM tasker.steps s
            WHERE s.task_uuid = c.task_uuid AND s.state IN ('complete', 'resolved_manually')
              AND coalesce(s.definition, s.position) <> ALL (c.inner_steps)) END,
        'error', c.error) ORDER BY c.ordinal), '[]')
    FROM (
        SELECT w.ordinal, t.task_uuid, t.namespace, t.name, t.version, t.status, i.inner_steps, e.error,
               sum(b.bytes) OVER (ORDER BY w.ordinal) AS total
        FROM tasker.waits w
        JOIN tasker.tasks t ON t.task_uuid = w.child_uuid
        CROSS JOIN LATERAL (
            SELECT coalesce(array_agg(DISTINCT x.position), '{}') AS inner_steps
            FROM tasker.steps s
            JOIN tasker.template_steps d
              ON d.template_id = t.template_id AND d.position = coalesce(s.definition, s.position)
            CROSS JOIN LATERAL unnest(d.dependencies) AS x(position)
            WHERE s.task_uuid = t.task_uuid) i
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(s.result_bytes), 0) AS bytes
            FROM tasker.steps s
            WHERE s.task_uuid = t.task_uuid AND s.state IN ('complete', 'resolved_manually')
              AND coalesce(s.definition, s.position) <> ALL (i.inner_steps)) b
        LEFT JOIN LATERAL (
            SELECT jsonb_build_object('step_name', s.name, 'error_type', s.error ->> 'error_type',
                                      'message', left(s.error ->> 'message', 1000)) AS error
            FROM tasker.steps s
            WHERE t.status = 'error' AND s.task_uuid = t.task_uuid AND s.state = 'error'
            ORDER BY s.position
            LIMIT 1) e ON true
        WHERE w.task_uuid = p_task AND w.position = p_position AND w.token = p_token) c
$$;

-- Creates the tasks that results start, in the transaction that stores these results, and tells how many. One without a
-- priority has that of the task whose step starts it. The caller holds the locks on those tasks.
CREATE FUNCTION tasker.start_tasks_v1(p jsonb, p_won bigint[]) RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_tasks   jsonb;
    v_uuids   uuid[];
    v_parents uuid[];
BEGIN
    SELECT jsonb_agg(s.value || jsonb_build_object(
               'priority', coalesce((s.value ->> 'priority')::integer, t.priority))),
           array_agg((s.value ->> 'task_uuid')::uuid), array_agg(t.task_uuid)
    INTO v_tasks, v_uuids, v_parents
    FROM jsonb_to_recordset(p -> 'results') AS r(token bigint, task uuid, dynamic jsonb)
    JOIN tasker.tasks t ON t.task_uuid = r.task
    CROSS JOIN LATERAL jsonb_array_elements(r.dynamic -> 'starts') AS s
    WHERE r.token = ANY (p_won);
    IF v_tasks IS NULL THEN
        RETURN 0;
    END IF;
    BEGIN
        PERFORM tasker.create_tasks_v1(v_tasks);
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'a task with the identity of one that the step starts is there already'
            USING ERRCODE = 'unique_violation';
    END;
    UPDATE tasker.tasks c
    SET parent_task_uuid = t.task_uuid, depth = t.depth + 1
    FROM unnest(v_uuids, v_parents) AS k(child, parent)
    JOIN tasker.tasks t ON t.task_uuid = k.parent
    WHERE c.task_uuid = k.child;
    RETURN cardinality(v_uuids);
END
$$;

-- Lets steps wait for the tasks that their results name, which only ever are tasks that their own task has started: no
-- task can come to wait for itself. The caller holds the locks on all these tasks too, so that none of them ends between
-- the look at it and the note that somebody waits for it.
CREATE FUNCTION tasker.begin_waits_v1(p jsonb, p_won bigint[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_stranger text;
BEGIN
    SELECT c.value INTO v_stranger
    FROM jsonb_to_recordset(p -> 'results') AS r(token bigint, task uuid, dynamic jsonb)
    CROSS JOIN LATERAL jsonb_array_elements_text(r.dynamic -> 'waits') AS c
    LEFT JOIN tasker.tasks t ON t.task_uuid = c.value::uuid AND t.parent_task_uuid = r.task
    WHERE r.token = ANY (p_won) AND t.task_uuid IS NULL
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the step waits for task %, which its own task has not started', v_stranger
            USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO tasker.waits (task_uuid, position, token, ordinal, child_uuid, ended)
    SELECT r.task, r.position, r.token, c.ordinality, t.task_uuid, t.completed_at IS NOT NULL
    FROM jsonb_to_recordset(p -> 'results') AS r(token bigint, task uuid, position smallint, dynamic jsonb)
    CROSS JOIN LATERAL jsonb_array_elements_text(r.dynamic -> 'waits') WITH ORDINALITY AS c
    JOIN tasker.tasks t ON t.task_uuid = c.value::uuid
    WHERE r.token = ANY (p_won);
    UPDATE tasker.tasks t
    SET awaited = true
    FROM jsonb_to_recordset(p -> 'results') AS r(token bigint, dynamic jsonb)
    CROSS JOIN LATERAL jsonb_array_elements_text(r.dynamic -> 'waits') AS c
    WHERE r.token = ANY (p_won) AND t.task_uuid = c.value::uuid AND NOT t.awaited;
    UPDATE tasker.steps s
    SET wait_token = r.token, open_dependencies = CASE WHEN o.waits THEN 1 ELSE 0 END,
        children = CASE WHEN NOT o.waits THEN tasker.children_v1(s.task_uuid, s.position, r.token) END
    FROM jsonb_to_recordset(p -> 'results') AS r(token bigint, task uuid, position smallint, dynamic jsonb)
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM tasker.waits w
            WHERE w.task_uuid = r.task AND w.position = r.position AND w.token = r.token AND NOT w.ended) AS waits) o
    WHERE r.token = ANY (p_won) AND r.dynamic ? 'waits' AND s.task_uuid = r.task AND s.position = r.position;
END
$$;

-- Lets go on what waited for nothing but these tasks, which are over. Rows of waits are written by whoever holds the lock
-- on the task that is waited for; steps are locked in the order of their keys, because one transaction may end tasks of
-- many waiting steps and another one others of the same steps. What is still open is read after that: of two
-- transactions that end the last two tasks of a step the second one sees both.
CREATE FUNCTION tasker.wake_waiting_v1(p_ended uuid[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_tasks     uuid[];
    v_positions smallint[];
    v_tokens    bigint[];
BEGIN
    WITH over AS (
        UPDATE tasker.waits SET ended = true
        WHERE child_uuid = ANY (p_ended) AND NOT ended
        RETURNING task_uuid, position, token
    )
    SELECT array_agg(task_uuid), array_agg(position), array_agg(token)
    INTO v_tasks, v_positions, v_tokens
    FROM (SELECT DISTINCT task_uuid, position, token FROM over) o;
    PERFORM
    FROM unnest(v_tasks, v_positions, v_tokens) AS k(task_uuid, position, token)
    JOIN tasker.steps s ON s.task_uuid = k.task_uuid AND s.position = k.position
    WHERE s.state = 'pending' AND s.wait_token = k.token
    ORDER BY s.task_uuid, s.position
    FOR NO KEY UPDATE OF s;
    UPDATE tasker.steps s
    SET state = 'enqueued', open_dependencies = 0, run_at = tasker.queue_place(s.task_uuid),
        children = tasker.children_v1(s.task_uuid, s.position, s.wait_token), updated_at = statement_timestamp()
    FROM unnest(v_tasks, v_positions, v_tokens) AS k(task_uuid, position, token)
    WHERE s.task_uuid = k.task_uuid AND s.position = k.position AND s.wait_token = k.token
      AND s.state = 'pending' AND s.children IS NULL
      AND NOT EXISTS (
          SELECT FROM tasker.waits w
          WHERE w.task_uuid = k.task_uuid AND w.position = k.position AND w.token = k.token AND NOT w.ended);
END
$$;

-- However a task ends that somebody waits for, two triggers see it. The first notes it for the transaction; the second
-- one, when that is about to commit and has taken all its other locks, deals with everything noted at once, because only
-- then can the waiting steps be locked in order. A task that nobody waits for costs the look at one column.
CREATE FUNCTION tasker.note_ended_task() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM set_config('tasker.ended_tasks',
                       concat_ws(',', nullif(current_setting('tasker.ended_tasks', true), ''), NEW.task_uuid), true);
    RETURN NULL;
END
$$;
CREATE FUNCTION tasker.wake_waiting_steps() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    v_ended text := nullif(current_setting('tasker.ended_tasks', true), '');
BEGIN
    IF v_ended IS NOT NULL THEN
        PERFORM set_config('tasker.ended_tasks', '', true);
        PERFORM tasker.wake_waiting_v1(string_to_array(v_ended, ',')::uuid[]);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tasks_note_ended AFTER UPDATE OF completed_at ON tasker.tasks
    FOR EACH ROW WHEN (NEW.awaited AND NEW.completed_at IS NOT NULL AND OLD.completed_at IS NULL)
    EXECUTE FUNCTION tasker.note_ended_task();
CREATE CONSTRAINT TRIGGER tasks_wake_waiting AFTER UPDATE OF completed_at ON tasker.tasks
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.awaited AND NEW.completed_at IS NOT NULL AND OLD.completed_at IS NULL)
    EXECUTE FUNCTION tasker.wake_waiting_steps();

-- What follows from results that say more than how their step ended, as before, and two more keys of `dynamic`: `starts`,
-- tasks to create as create_tasks_v1 takes them, and, with the outcome `yielded`, `waits`: the ids of the tasks that the
-- step waits for before it goes on.
CREATE OR REPLACE FUNCTION tasker.apply_dynamic_v1(
    p jsonb, p_won bigint[], OUT touched_tasks uuid[], OUT touched_steps smallint[], OUT closed_tasks uuid[],
    OUT closed_steps integer[], OUT released integer, OUT cancelled jsonb)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_indexscan = on SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = auto SET lock_timeout = '5s'
AS $$
DECLARE
    v_result  record;
    v_settled record;
    v_ended   record;
    v_count   integer;
BEGIN
    released := 0;
    cancelled := '[]';
    IF p @? '$.results[*].dynamic.starts' THEN
        released := tasker.start_tasks_v1(p, p_won);
    END IF;
    IF p @? '$.results[*].dynamic.waits' THEN
        PERFORM tasker.begin_waits_v1(p, p_won);
    END IF;
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

-- What an executor needs to run steps that were just leased, as before, with the tasks that a step has waited for. A task
-- that was to start later has not waited for a worker until then.
-- PL/pgSQL keeps the plan for the life of the connection, where a function in SQL is planned again in each transaction:
-- a twelfth of the time that the server had for a step. Left to itself it would plan anew for each set of steps, which took
-- a third of the commit of a single step; there is nothing to choose.
CREATE OR REPLACE FUNCTION tasker.leased_steps_v1(p_tasks uuid[], p_positions smallint[]) RETURNS json
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_memoize = off
SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN (
    SELECT coalesce(json_agg(json_build_object(
        'token', s.token, 'task_uuid', s.task_uuid, 'position', s.position, 'step_uuid', s.step_uuid,
        'attempt', s.attempts + 1, 'suspect', s.suspect,
        'waited_ms', round(extract(epoch FROM clock_timestamp() - greatest(s.updated_at, t.start_at)) * 1000, 3),
        'dependency_results', i.results,
        'dependency_bytes', coalesce(i.bytes, 0) + tasker.own_bytes(s.inputs, s.checkpoint)
                            + coalesce(octet_length(s.children::text), 0),
        'own', CASE WHEN s.definition IS NOT NULL OR s.inputs IS NOT NULL OR s.checkpoint IS NOT NULL
                         OR s.children IS NOT NULL
                    THEN json_build_object('name', s.name, 'definition', s.definition, 'inputs', s.inputs,
                                           'checkpoint', s.checkpoint, 'children', s.children) END)
        ORDER BY k.ordinal), '[]')
    FROM unnest(p_tasks, p_positions) WITH ORDINALITY AS k(task_uuid, position, ordinal)
    CROSS JOIN LATERAL (
        SELECT * FROM tasker.steps WHERE task_uuid = k.task_uuid AND position = k.position LIMIT 1) s
    CROSS JOIN LATERAL (SELECT template_id, start_at FROM tasker.tasks WHERE task_uuid = s.task_uuid LIMIT 1) t
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
              AND n.state IN ('complete', 'resolved_manually')) a) i);
END
$$;

-- The facts of tasks that a worker needs once for all their steps, as before. `depth` is how many tasks are above one.
CREATE OR REPLACE FUNCTION tasker.task_facts_v1(p_tasks uuid[]) RETURNS json
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    RETURN (SELECT coalesce(json_agg(json_build_object(
        'task_uuid', task_uuid, 'template_id', template_id, 'context', context, 'bytes', context_bytes,
        'correlation_id', correlation_id, 'parent_correlation_id', parent_correlation_id,
        'traceparent', traceparent, 'tracestate', tracestate, 'depth', depth)), '[]')
    FROM tasker.tasks
    WHERE task_uuid = ANY (p_tasks));
END
$$;

-- Stores a worker's batch once, whatever happens to its connection, as before.
CREATE OR REPLACE FUNCTION tasker.commit_batch_v1(p jsonb) RETURNS text
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
    -- Steps that wait for tasks which end here are let go by the trigger, after this: somebody has to look for them.
    IF nullif(current_setting('tasker.ended_tasks', true), '') IS NOT NULL THEN
        v_new := v_new || jsonb_build_object('released', (v_new ->> 'released')::integer + 1);
    END IF;
    UPDATE tasker.worker_commits
    SET seq = v_seq, reply = (v_new - 'next_tasks' - 'next_steps')::text
    WHERE worker_id = v_worker;
    -- Put together as text: to make jsonb of the steps only to print it again would cost a seventh of the commit.
    RETURN left((v_new - 'next_tasks' - 'next_steps')::text, -1) || ', "steps": ' || tasker.leased_steps_v1(
        ARRAY(SELECT t::uuid FROM jsonb_array_elements_text(v_new -> 'next_tasks') AS t),
        ARRAY(SELECT s::smallint FROM jsonb_array_elements_text(v_new -> 'next_steps') AS s))::text || '}';
END
$$;

-- Does to one step what a person decided, as before. A step that waits for tasks can be reset and ended like one that
-- waits for a retry: it lets go of them. A reset step that had waited begins anew, unless all of its tasks came to a good
-- end by now or are on their way: then it goes on with these.
CREATE OR REPLACE FUNCTION tasker.resolve_step_v1(p jsonb) RETURNS jsonb
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
    v_children jsonb;
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
    ELSIF v_step.state = 'pending' AND (v_step.wait_token IS NULL OR v_step.children IS NOT NULL) THEN
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
    ELSIF v_step.state = 'error' AND v_kind.tolerates_failure AND NOT v_step.stopped THEN
        RETURN v_reply || '{"refused": "failure_tolerated"}';
    ELSIF v_step.state = 'enqueued' AND v_action = 'reset_for_retry' THEN
        RETURN v_reply || '{"refused": "step_enqueued"}';
    END IF;

    IF v_action <> 'reset_for_retry' THEN
        v_token := nextval('tasker.lease_token');
    ELSIF v_step.children IS NOT NULL THEN
        -- What became of the tasks since. One that is deleted by now is as it was.
        v_children := tasker.children_v1(v_task.task_uuid, v_step.position, v_step.wait_token);
        IF jsonb_array_length(v_children) < jsonb_array_length(v_step.children) THEN
            v_children := v_step.children;
        END IF;
        IF v_children @? '$[*] ? (@.status == "error" || @.status == "cancelled")' THEN
            v_children := NULL;
        END IF;
    END IF;
    UPDATE tasker.steps
    SET state = CASE WHEN v_token IS NULL THEN 'enqueued' ELSE 'in_progress' END, token = v_token,
        attempts = CASE WHEN v_token IS NULL THEN 0 ELSE attempts END, open_dependencies = 0, stopped = false,
        wait_token = CASE WHEN v_step.children IS NULL OR v_token IS NOT NULL OR v_children IS NOT NULL
                          THEN wait_token END,
        children = CASE WHEN v_token IS NULL THEN v_children ELSE children END,
        suspect = v_token IS NULL AND coalesce(error ->> 'error_type' = 'worker_lost', false),
        run_at = CASE WHEN v_token IS NULL THEN tasker.queue_place(task_uuid) END, updated_at = v_now
    WHERE task_uuid = v_task.task_uuid AND position = v_step.position;
    IF v_token IS NULL THEN
        v_released := 1;
    END IF;

    IF v_step.state = 'error' THEN
        -- The others of its batch were cancelled because it failed; they run now, unless another one has failed too.
        UPDATE tasker.steps s
        SET state = 'enqueued', open_dependencies = 0, run_at = tasker.queue_place(s.task_uuid), updated_at = v_now
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

-- Enters a task among the dead, as before. A step that waits for tasks could still run, so it fails like the others. What
-- waits for one that fails here waits on, also where its batch goes on without failed ones: it is `stopped`, which says
-- that nothing has gone on without it, so it can be reset.
CREATE OR REPLACE FUNCTION tasker.enter_task_v1(p jsonb) RETURNS jsonb
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
        SET state = 'error', stopped = true, token = NULL, worker_id = NULL, run_at = NULL, updated_at = v_now,
            error = jsonb_build_object(
                'error_type', 'staleness_timeout', 'error_code', NULL, 'retryable', false,
                'message', format('the task stood still for %s minutes, at most %s are allowed',
                                  p #>> '{more,time_in_state_minutes}', p #>> '{more,threshold_minutes}'))
        WHERE task_uuid = v_task.task_uuid
          AND (state IN ('enqueued', 'in_progress', 'waiting_for_retry')
               OR (state = 'pending' AND wait_token IS NOT NULL AND children IS NULL));
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
