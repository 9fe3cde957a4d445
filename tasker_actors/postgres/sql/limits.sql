-- name: repair_limits
SELECT tasker.repair_limits_v1();

-- name: list_limits
-- Keys of which something is leased, parked or was begun in the last period, and every limit that has one key. Distinct
-- keys of parked steps are found by stepping through the index from one to the next.
WITH RECURSIVE stood AS (
    (SELECT s.namespace, s.parked_by
     FROM tasker.steps s
     WHERE s.state || '' = 'enqueued' AND s.run_at IS NULL AND s.parked_by IS NOT NULL
     ORDER BY s.namespace, s.parked_by
     LIMIT 1)
    UNION ALL
    SELECT n.namespace, n.parked_by
    FROM stood o
    CROSS JOIN LATERAL (
        SELECT s.namespace, s.parked_by
        FROM tasker.steps s
        WHERE s.state || '' = 'enqueued' AND s.run_at IS NULL AND (s.namespace, s.parked_by) > (o.namespace, o.parked_by)
        ORDER BY s.namespace, s.parked_by
        LIMIT 1) n
), parked AS (
    SELECT o.parked_by AS key, c.count
    FROM stood o
    CROSS JOIN LATERAL (
        SELECT count(*) AS count
        FROM tasker.steps s
        WHERE s.namespace = o.namespace AND s.parked_by = o.parked_by AND s.state || '' = 'enqueued' AND s.run_at IS NULL) c
), keys AS (
    SELECT key FROM parked
    UNION
    SELECT k
    FROM tasker.steps s
    CROSS JOIN LATERAL unnest(s.limit_keys) AS k
    WHERE s.state = 'in_progress' AND s.limit_keys IS NOT NULL
    UNION
    SELECT limit_key FROM tasker.limit_starts
    UNION
    SELECT left(kind, 1) || limit_id || ':' FROM tasker.limits WHERE field IS NULL
)
SELECT l.namespace, l.scope, l.name, l.kind, array_to_string(l.field, '.') AS field,
       CASE WHEN l.field IS NOT NULL THEN substr(r.limit_key, strpos(r.limit_key, ':') + 1) END AS value,
       coalesce(l.max_concurrent, l.rate) AS "limit", l.period_seconds, r.used AS in_use,
       coalesce(p.count, 0) AS parked, r.opens_at
FROM tasker.limit_room_v1(ARRAY(SELECT key FROM keys), statement_timestamp()) r
JOIN tasker.limits l ON l.limit_id = tasker.limit_id(r.limit_key)
LEFT JOIN parked p ON p.key = r.limit_key
WHERE (%(namespace)s::text IS NULL OR l.namespace = %(namespace)s::text)
  AND (l.field IS NULL OR r.used > 0 OR p.count > 0)
ORDER BY parked DESC, in_use DESC, l.namespace, l.scope, l.name, value
LIMIT %(limit)s;
