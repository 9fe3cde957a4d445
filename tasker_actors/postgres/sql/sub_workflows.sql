-- name: abandoned_tasks
-- Tasks that a step waited for which was ended or reset meanwhile, unless another step of its task waits for them too.
SELECT DISTINCT w.child_uuid::text
FROM tasker.steps s
JOIN tasker.waits w ON w.task_uuid = s.task_uuid AND w.position = s.position AND w.token = s.wait_token AND NOT w.ended
WHERE s.wait_token IS NOT NULL AND s.children IS NULL AND s.state <> 'pending'
  AND NOT EXISTS (
      SELECT FROM tasker.waits o
      JOIN tasker.steps h ON h.task_uuid = o.task_uuid AND h.position = o.position
      WHERE o.child_uuid = w.child_uuid AND NOT o.ended AND h.state = 'pending' AND h.wait_token = o.token)
LIMIT 100;

-- name: forget_abandoned
-- Once all those tasks are over nothing is left to do for their step. One that a commit holds at this moment is for the
-- next time.
UPDATE tasker.steps
SET wait_token = NULL
WHERE ctid = ANY (ARRAY(
    SELECT s.ctid
    FROM tasker.steps s
    WHERE s.wait_token IS NOT NULL AND s.children IS NULL AND s.state <> 'pending'
      AND NOT EXISTS (
          SELECT FROM tasker.waits w
          WHERE w.task_uuid = s.task_uuid AND w.position = s.position AND w.token = s.wait_token AND NOT w.ended)
    LIMIT 1000
    FOR NO KEY UPDATE SKIP LOCKED));
