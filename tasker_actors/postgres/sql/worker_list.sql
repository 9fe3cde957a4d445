-- name: list_workers
-- Whatever ended longer than 10 minutes ago is history. Clients see one form of a worker's id, as in /metrics/events.
SELECT w.slot, 'worker-' || w.worker_id AS worker_id, w.incarnation, w.pid, w.alive, w.state, w.in_flight, w.started_at, w.restarts,
       w.last_reason, w.host, w.supervisor_id::text, w.heartbeat_at, w.ended_at
FROM tasker.workers w
WHERE w.alive OR w.ended_at > statement_timestamp() - interval '10 minutes'
ORDER BY w.host, w.supervisor_id, w.slot, w.worker_id
LIMIT 10000;
