-- name: prune_cutoff
-- Ages are by the server's clock, and one prune has one cut-off.
SELECT statement_timestamp() - %s;

-- name: begin_prune
SET LOCAL lock_timeout = '5s';

-- name: lock_finished_tasks
-- In the order of the index on completed_at; what somebody else is pruning or changing is passed over. A task that another
-- one has started stays until that is finished: a step there may wait for it, or come to.
SELECT t.task_uuid
FROM tasker.tasks t
WHERE t.completed_at < %(cutoff)s
  AND (SELECT p.completed_at IS NULL FROM tasker.tasks p WHERE p.task_uuid = t.parent_task_uuid) IS NOT TRUE
ORDER BY t.completed_at
LIMIT %(batch)s
FOR UPDATE OF t SKIP LOCKED;

-- name: delete_attempts_of
DELETE FROM tasker.step_attempts WHERE task_uuid = ANY (%s::uuid[]);

-- name: delete_waits_of
DELETE FROM tasker.waits WHERE task_uuid = ANY (%s::uuid[]);

-- name: delete_steps_of
DELETE FROM tasker.steps WHERE task_uuid = ANY (%s::uuid[]);

-- name: delete_tasks
DELETE FROM tasker.tasks WHERE task_uuid = ANY (%s::uuid[]);

-- name: attempt_pages
SELECT pg_relation_size('tasker.step_attempts') / current_setting('block_size')::integer;

-- name: delete_old_attempts
-- A range of pages at a time: there is no index on finished_at, and so the table is read once in all.
DELETE FROM tasker.step_attempts
WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid AND finished_at < %(cutoff)s;

-- name: old_dead_letters
-- The next batch by primary key; enqueued_at rises with it, but for transactions that were open at the same time.
SELECT msg_id, enqueued_at < %(cutoff)s FROM {letters} WHERE msg_id > %(after)s ORDER BY msg_id LIMIT %(batch)s

-- name: prune_dead_letters
DELETE FROM {letters} WHERE msg_id = ANY (%(msg_ids)s::bigint[])
