-- Tasks that start later, and schedules, which create tasks by the clock.

-- What an executor needs to run steps that were just leased, as before; a task that was to start later has not waited
-- for a worker until then.
CREATE OR REPLACE FUNCTION tasker.leased_steps_v1(p_tasks uuid[], p_positions smallint[]) RETURNS json
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
    RETURN (
    SELECT coalesce(json_agg(json_build_object(
        'token', s.token, 'task_uuid', s.task_uuid, 'position', s.position, 'step_uuid', s.step_uuid,
        'attempt', s.attempts + 1, 'suspect', s.suspect,
        'waited_ms', round(extract(epoch FROM clock_timestamp() - greatest(s.updated_at, t.start_at)) * 1000, 3),
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
              AND n.state IN ('complete', 'resolved_manually')) a) i);
END
$$;

-- Tasks to be created by the clock. `next_fire_at` is when the next one is due, null for a schedule that is paused or
-- never fires again; it moves in the transaction that creates the task. `last_fired_at` is when the last one was due.
CREATE TABLE tasker.schedules (
    name              text PRIMARY KEY,
    namespace         text NOT NULL,
    template          text NOT NULL,
    version           text,
    cron              text NOT NULL,
    timezone          text NOT NULL,
    context           jsonb NOT NULL,
    scheduled_for_key text,
    priority          integer NOT NULL,
    tags              text[] NOT NULL,
    catch_up          text NOT NULL,
    enabled           boolean NOT NULL,
    next_fire_at      timestamptz,
    last_fired_at     timestamptz,
    last_task_uuid    uuid,
    last_error        jsonb,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    CHECK (enabled OR next_fire_at IS NULL)
);
CREATE INDEX schedules_due ON tasker.schedules (next_fire_at) WHERE next_fire_at IS NOT NULL;
