-- name: register_worker
WITH worker AS (
    INSERT INTO tasker.workers (supervisor_id, host, process_space, slot, incarnation, restarts, last_reason)
    VALUES (%(supervisor_id)s, %(host)s, %(process_space)s, %(slot)s, %(incarnation)s, %(restarts)s, %(last_reason)s)
    RETURNING worker_id
), commits AS (
    INSERT INTO tasker.worker_commits (worker_id) SELECT worker_id FROM worker
)
SELECT worker_id FROM worker;

-- name: worker_started
UPDATE tasker.workers SET pid = %(pid)s, process_start = %(process_start)s WHERE worker_id = %(worker_id)s;

-- name: heartbeat_workers
-- One statement for all slots of a supervisor, by the server's clock.
UPDATE tasker.workers w
SET heartbeat_at = statement_timestamp(), state = h.state, in_flight = h.in_flight
FROM jsonb_to_recordset(%(workers)s::jsonb) AS h(worker_id bigint, state text, in_flight integer)
WHERE w.worker_id = h.worker_id AND w.alive;

-- name: fence_worker
-- Its slot is read here for the settlement's spans: whoever settles may be another supervisor, which knows only the id.
SELECT tasker.fence_worker_v2(%(worker_id)s, %(reason)s),
       (SELECT slot FROM tasker.workers WHERE worker_id = %(worker_id)s);

-- name: mark_unseen
UPDATE tasker.steps s
SET unseen = true
FROM unnest(%(tasks)s::uuid[], %(positions)s::smallint[]) AS k(task_uuid, position)
WHERE s.task_uuid = k.task_uuid AND s.position = k.position;

-- name: task_context
SELECT context FROM tasker.tasks WHERE task_uuid = %(task_uuid)s;

-- name: settle_results
SELECT tasker.settle_results_v1(%(batch)s::jsonb);

-- name: local_workers
-- The rows of this machine that claim to be alive: those of a supervisor that was killed have no process any more. A row
-- without a pid is of a worker that is being started at this moment, unless that moment was long ago.
SELECT worker_id, pid, process_start FROM tasker.workers
WHERE alive AND process_space = %(process_space)s
  AND (pid IS NOT NULL OR heartbeat_at < statement_timestamp() - interval '10 s');

-- name: stale_workers
-- Never in the first seconds of a server's life: nobody could send a heartbeat while it was away.
SELECT worker_id FROM tasker.workers
WHERE alive AND (supervisor_id <> %(supervisor_id)s OR pid IS NULL)
  AND heartbeat_at < statement_timestamp() - make_interval(secs => %(stale_ms)s / 1000.0)
  AND statement_timestamp() - pg_postmaster_start_time() > make_interval(secs => %(grace_ms)s / 1000.0);

-- name: forget_workers
-- Rows of dead workers are kept for a day, to answer what happened.
DELETE FROM tasker.workers WHERE NOT alive AND ended_at < statement_timestamp() - interval '1 day';

-- name: expire_leases
SELECT tasker.expire_leases_v1(%(grace_ms)s);

-- name: try_lead
-- Held for one transaction: a session lock would outlive a host that vanished (DESIGN 3 rule 14).
SELECT pg_try_advisory_xact_lock(1952540523, 0);

-- name: other_supervisors
SELECT EXISTS (SELECT FROM tasker.workers WHERE alive AND supervisor_id <> %(supervisor_id)s);
