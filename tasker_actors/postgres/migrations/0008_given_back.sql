-- The place in the queue of a step that is given back: where it was, and before its equals. Tasks of one request have one
-- moment of creation. Without this the steps of a killed worker would stand anywhere among those of a thousand tasks
-- that were created with theirs, and wait for all of them.
CREATE OR REPLACE FUNCTION tasker.queue_place(p_task uuid) RETURNS timestamptz
LANGUAGE sql STABLE
AS $$
    SELECT created_at - make_interval(hours => priority) - interval '1 ms' FROM tasker.tasks WHERE task_uuid = p_task
$$;
