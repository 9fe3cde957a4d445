-- name: queue_depth
-- Exact up to 10,000 messages: count(*) over a large queue takes longer than a scrape may. Above that it is the planner's
-- estimate: rows a page at the last vacuum, times the pages of now.
(SELECT {queue}::text, {namespace}::text,
        (SELECT count(*) FROM (SELECT FROM {table} LIMIT 10001) AS capped),
        (SELECT CASE WHEN c.relpages > 0
                     THEN c.reltuples / c.relpages * (pg_relation_size(c.oid) / current_setting('block_size')::int)
                     ELSE 0 END
         FROM pg_catalog.pg_class c WHERE c.oid = {regclass}::regclass),
        (SELECT extract(epoch FROM statement_timestamp() - enqueued_at) FROM {table} ORDER BY msg_id LIMIT 1))

-- name: only_by_index
-- Until the end of the transaction. The planner takes a scan of the whole table for cheap where its statistics know of
-- many claimable steps, which may have been claimed long since. Without such scans a plan can look so expensive that the
-- server would compile it, which takes longer than to run it.
SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true);

-- name: estimated_step_backlog
-- What the planner makes of its statistics; nothing is read.
EXPLAIN (FORMAT JSON)
SELECT FROM tasker.steps s
WHERE s.namespace = %s AND s.state IN ('enqueued', 'waiting_for_retry')
  AND (s.run_at <= statement_timestamp() OR s.run_at IS NULL);

-- name: step_backlog
-- Steps that wait to be claimed, those that are parked for a limit among them, exact up to 10,000 a namespace. How long
-- the first of them has waited is told by its last change and not by its place in the queue, which priority shifts.
SELECT n.namespace, w.count + p.count, greatest(w.age, p.age)
FROM unnest(%s::text[]) AS n(namespace)
CROSS JOIN LATERAL (
    SELECT (SELECT count(*) FROM (
                SELECT FROM tasker.steps s
                WHERE s.namespace = n.namespace AND s.state IN ('enqueued', 'waiting_for_retry')
                  AND s.run_at <= statement_timestamp()
                LIMIT 10001) AS capped) AS count,
           (SELECT extract(epoch FROM statement_timestamp() - greatest(s.updated_at, s.run_at))
            FROM tasker.steps s
            WHERE s.namespace = n.namespace AND s.state IN ('enqueued', 'waiting_for_retry')
              AND s.run_at <= statement_timestamp()
            ORDER BY s.run_at
            LIMIT 1) AS age) w
CROSS JOIN LATERAL (
    SELECT count(*) AS count,
           extract(epoch FROM statement_timestamp() - min(greatest(capped.updated_at, capped.parked_place))) AS age
    FROM (
        SELECT s.updated_at, s.parked_place
        FROM tasker.steps s
        WHERE s.namespace = n.namespace AND s.state || '' = 'enqueued' AND s.run_at IS NULL
        LIMIT 10001) AS capped) p;
