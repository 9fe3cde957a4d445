-- Who cancelled a task, and why, where somebody said so.
ALTER TABLE tasker.tasks ADD COLUMN cancelled_by text, ADD COLUMN cancel_reason text;

-- Cancels a task as cancel_task_v1 does, and keeps who did it and why. To cancel it again changes nothing.
CREATE FUNCTION tasker.cancel_task_v2(p_task uuid, p_by text, p_reason text) RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET lock_timeout = '5s'
AS $$
DECLARE
    v_reply text := tasker.cancel_task_v1(p_task);
BEGIN
    IF (v_reply::jsonb ->> 'cancelled')::boolean THEN
        UPDATE tasker.tasks SET cancelled_by = p_by, cancel_reason = p_reason WHERE task_uuid = p_task;
    END IF;
    RETURN v_reply;
END
$$;
