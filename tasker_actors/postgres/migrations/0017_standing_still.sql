-- Tasks that stand still, told apart from those that wait for their turn, and brought back whole.

-- What cannot run because of a failure before it, as before. A failed step that is `stopped` bars what is after it, whatever
-- its batch tolerates.
CREATE OR REPLACE FUNCTION tasker.settle_branches_v1(p_task uuid, p_omits smallint[], OUT touched smallint[], OUT closed integer)
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
           array_agg(coalesce(f.failed AND NOT d.tolerates_failure OR f.stopped, false) ORDER BY d.position),
           array_agg(coalesce(d.kind = 'decision' AND NOT f.done, false) ORDER BY d.position),
           array_agg(coalesce(d.kind = 'batchable' AND NOT f.done, false) ORDER BY d.position)
    INTO v_open, v_exists, v_bars, v_decides, v_divides
    FROM tasker.template_steps d
    LEFT JOIN (
        SELECT coalesce(definition, position) AS position, bool_or(state = 'undecided') AS open,
               bool_or(state IN ('error', 'cancelled')) AS failed, bool_or(stopped) AS stopped,
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

-- Counts again what of a task can still run and what failed for good, and opens it, as before; what is `stopped` counts.
CREATE OR REPLACE FUNCTION tasker.reopen_task_v1(p_task uuid) RETURNS void
LANGUAGE sql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    UPDATE tasker.tasks t
    SET open_steps = c.open, failed_steps = c.failed, completed_at = NULL, dead_lettered = false,
        status = CASE t.status WHEN 'error' THEN 'in_progress' ELSE t.status END, updated_at = statement_timestamp()
    FROM (
        SELECT count(*) FILTER (WHERE s.state IN ('enqueued', 'in_progress', 'waiting_for_retry')
                                      OR (s.state IN ('pending', 'undecided') AND NOT s.blocked)) AS open,
               count(*) FILTER (WHERE s.state = 'error' AND (s.stopped OR NOT d.tolerates_failure)) AS failed
        FROM tasker.tasks o
        JOIN tasker.steps s ON s.task_uuid = o.task_uuid
        JOIN tasker.template_steps d
          ON d.template_id = o.template_id AND d.position = coalesce(s.definition, s.position)
        WHERE o.task_uuid = p_task) c
    WHERE t.task_uuid = p_task
$$;

-- How long tasks have stood still, as before: of those with a step that runs, or is among the p_scan oldest that wait in
-- their namespace, or among as many that wait for other tasks or for a place of a limit. Time in a state begins with the
-- last thing that became of the task, and where steps of it run no sooner than the youngest lease. What is due waits for
-- its turn as long as workers run anything of its namespace; of that, and of what waits for a limit or for other tasks,
-- which are looked at themselves, only the whole duration counts. So it does for one of which nothing has begun.
CREATE OR REPLACE FUNCTION tasker.task_staleness_v1(p_minutes jsonb, p_scan integer)
RETURNS TABLE (
    task_uuid uuid, namespace text, name text, current_state text, minutes integer, age_minutes integer,
    threshold integer, share double precision, too_old boolean, priority integer, updated_at timestamptz,
    fails boolean, enters boolean)
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
    WITH running AS (
        SELECT s.task_uuid, s.namespace
        FROM tasker.workers w
        JOIN tasker.steps s ON s.worker_id = w.worker_id AND s.state = 'in_progress'
    ), moving AS (
        SELECT r.task_uuid FROM running r
        UNION
        SELECT c.task_uuid
        FROM (SELECT DISTINCT m.namespace FROM tasker.templates m) n
        CROSS JOIN LATERAL (
            SELECT q.task_uuid
            FROM tasker.steps q
            WHERE q.namespace = n.namespace AND q.state IN ('enqueued', 'waiting_for_retry')
            ORDER BY q.run_at
            LIMIT p_scan) c
        UNION
        SELECT k.task_uuid
        FROM (
            SELECT s.task_uuid
            FROM tasker.steps s
            WHERE s.state || '' = 'enqueued' AND s.run_at IS NULL
            ORDER BY s.namespace, s.parked_by, s.parked_place
            LIMIT p_scan) k
        UNION
        SELECT o.task_uuid
        FROM (SELECT w.task_uuid FROM tasker.waits w WHERE NOT w.ended ORDER BY w.task_uuid LIMIT p_scan) o
    ), seen AS (
        SELECT t.*, m.lifecycle AS said, f.runs, f.retries, f.due,
               extract(epoch FROM statement_timestamp() - greatest(t.updated_at, t.start_at, f.since)) / 60 AS still,
               extract(epoch FROM statement_timestamp() - greatest(t.created_at, t.start_at)) / 60 AS age
        FROM moving o
        JOIN tasker.tasks t ON t.task_uuid = o.task_uuid AND t.status IN ('pending', 'in_progress')
        JOIN tasker.templates m ON m.template_id = t.template_id
        CROSS JOIN LATERAL (
            SELECT bool_or(s.state = 'in_progress') AS runs, bool_or(s.state = 'waiting_for_retry') AS retries,
                   bool_or(s.state = 'enqueued' AND s.run_at <= statement_timestamp()) AS due,
                   max(greatest(s.leased_at, s.updated_at)) FILTER (WHERE s.state = 'in_progress') AS since
            FROM tasker.steps s
            WHERE s.task_uuid = t.task_uuid) f
    ), placed AS (
        SELECT s.*, coalesce((s.said ->> 'max_duration_minutes')::integer, (p_minutes ->> 'duration')::integer) AS most,
               CASE WHEN s.runs THEN 'steps_in_process' WHEN s.due OR NOT s.retries THEN 'waiting_for_dependencies'
                    ELSE 'waiting_for_retry' END AS place,
               s.runs OR s.status = 'in_progress' AND CASE
                   WHEN s.due THEN NOT EXISTS (SELECT FROM running r WHERE r.namespace = s.namespace)
                   ELSE s.retries END AS counts
        FROM seen s
    ), measured AS (
        SELECT p.*, CASE WHEN p.counts THEN coalesce((p.said ->> ('max_' || p.place || '_minutes'))::integer,
                                                     (p_minutes ->> p.place)::integer) END AS least
        FROM placed p
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
