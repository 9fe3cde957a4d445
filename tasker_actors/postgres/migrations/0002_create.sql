-- Creates tasks and their steps, all or none. p is an array of objects with the columns of tasks, `step_uuids` in the
-- order of positions among them. A repeated idempotency key is a unique violation of tasks_idempotency_key.
CREATE FUNCTION tasker.create_tasks_v1(p jsonb) RETURNS void
LANGUAGE plpgsql
SET lock_timeout = '5s'
AS $$
DECLARE
    v_now timestamptz := statement_timestamp();
BEGIN
    INSERT INTO tasker.tasks (
        task_uuid, template_id, namespace, name, version, priority, open_steps, context, context_bytes, initiator,
        source_system, reason, tags, correlation_id, parent_correlation_id, idempotency_key, traceparent, tracestate,
        created_at, updated_at)
    SELECT t.task_uuid, t.template_id, m.namespace, m.name, m.version, t.priority, cardinality(t.step_uuids),
           t.context, t.context_bytes, t.initiator, t.source_system, t.reason, coalesce(t.tags, '{}'),
           t.correlation_id, t.parent_correlation_id, t.idempotency_key, t.traceparent, t.tracestate, v_now, v_now
    FROM jsonb_to_recordset(p) AS t(
        task_uuid uuid, template_id bigint, priority integer, step_uuids uuid[], context jsonb, context_bytes integer,
        initiator text, source_system text, reason text, tags text[], correlation_id uuid, parent_correlation_id uuid,
        idempotency_key text, traceparent text, tracestate text)
    JOIN tasker.templates m USING (template_id);

    -- A step without dependencies can run at once. The older and the more urgent a task is, the earlier its run_at.
    INSERT INTO tasker.steps (
        task_uuid, position, step_uuid, namespace, name, state, open_dependencies, max_attempts, run_at, updated_at)
    SELECT t.task_uuid, s.position, t.step_uuids[s.position], m.namespace, s.name,
           CASE WHEN s.dependencies = '{}' THEN 'enqueued' ELSE 'pending' END,
           cardinality(s.dependencies), s.max_attempts,
           CASE WHEN s.dependencies = '{}' THEN v_now - make_interval(hours => t.priority) END, v_now
    FROM jsonb_to_recordset(p) AS t(task_uuid uuid, template_id bigint, priority integer, step_uuids uuid[])
    JOIN tasker.templates m USING (template_id)
    JOIN tasker.template_steps s USING (template_id);
END
$$;
