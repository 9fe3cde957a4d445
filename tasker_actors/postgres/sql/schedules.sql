-- name: put_schedule
-- A schedule that is put again as it fires now keeps its place: what it missed is still to be made up for. Every
-- supervisor looks again when it is due.
WITH put AS (
    INSERT INTO tasker.schedules AS s (
        name, namespace, template, version, cron, timezone, context, scheduled_for_key, priority, tags, catch_up,
        enabled, next_fire_at, created_at, updated_at)
    VALUES (
        %(name)s, %(namespace)s, %(template)s, %(version)s, %(cron)s, %(timezone)s, %(context)s::jsonb,
        %(scheduled_for_key)s, %(priority)s, %(tags)s, %(catch_up)s, %(enabled)s, %(next_fire_at)s,
        statement_timestamp(), statement_timestamp())
    ON CONFLICT (name) DO UPDATE
    SET namespace = excluded.namespace, template = excluded.template, version = excluded.version,
        cron = excluded.cron, timezone = excluded.timezone, context = excluded.context,
        scheduled_for_key = excluded.scheduled_for_key, priority = excluded.priority, tags = excluded.tags,
        catch_up = excluded.catch_up, enabled = excluded.enabled,
        next_fire_at = CASE WHEN excluded.enabled AND (s.cron, s.timezone) = (excluded.cron, excluded.timezone)
                            THEN coalesce(s.next_fire_at, excluded.next_fire_at) ELSE excluded.next_fire_at END,
        last_error = NULL, updated_at = excluded.updated_at
    RETURNING xmax = 0 AS created
)
SELECT created, pg_notify('tasker_schedules', '') FROM put;

-- name: read_schedule
SELECT name, namespace, template, version, cron, timezone, context::text, scheduled_for_key, priority, tags, catch_up,
       enabled, next_fire_at, last_fired_at, last_task_uuid::text, last_error, created_at, updated_at,
       statement_timestamp() AS read_at
FROM tasker.schedules
WHERE name = %(name)s;

-- name: list_schedules
-- Without their contexts, which may be large.
SELECT name, namespace, template, version, cron, timezone, scheduled_for_key, priority, tags, catch_up, enabled,
       next_fire_at, last_fired_at, last_task_uuid::text, last_error, created_at, updated_at
FROM tasker.schedules
WHERE (%(after)s::text IS NULL OR name > %(after)s) AND (%(namespace)s::text IS NULL OR namespace = %(namespace)s)
ORDER BY name
LIMIT %(limit)s;

-- name: lock_schedule
SELECT cron, timezone, enabled, statement_timestamp() FROM tasker.schedules WHERE name = %(name)s FOR UPDATE;

-- name: switch_schedule
UPDATE tasker.schedules
SET enabled = %(enabled)s, next_fire_at = %(next_fire_at)s, updated_at = statement_timestamp()
WHERE name = %(name)s
RETURNING pg_notify('tasker_schedules', '');

-- name: delete_schedule
DELETE FROM tasker.schedules WHERE name = %(name)s;

-- name: lock_due_schedule
-- What another supervisor fires at this moment is its business. Whoever waited for it would find it moved. What this one
-- could not fire is passed over, until somebody changes it.
SELECT name, namespace, template, version, cron, timezone, context::text, scheduled_for_key, priority, tags, catch_up,
       enabled, next_fire_at, last_fired_at, last_task_uuid::text, last_error, created_at, updated_at,
       statement_timestamp() AS read_at
FROM tasker.schedules
WHERE next_fire_at <= statement_timestamp()
  AND (name, updated_at) NOT IN (SELECT * FROM unnest(%(names)s::text[], %(changed)s::timestamptz[]))
ORDER BY next_fire_at
LIMIT 1
FOR UPDATE SKIP LOCKED;

-- name: check_now
-- What waits for the commit, as an operator's trigger may, is run here, where its refusal is known to be this schedule's.
SET CONSTRAINTS ALL IMMEDIATE;

-- name: move_schedule
UPDATE tasker.schedules
SET next_fire_at = %(next_fire_at)s,
    last_fired_at = coalesce(%(last_fired_at)s, last_fired_at),
    last_task_uuid = coalesce(%(last_task_uuid)s, last_task_uuid),
    last_error = CASE WHEN %(tried)s THEN %(last_error)s::jsonb ELSE last_error END
WHERE name = %(name)s;

-- name: leave_schedule
-- It stays due. Whoever fires it takes the error away.
UPDATE tasker.schedules SET last_error = %(last_error)s::jsonb WHERE name = %(name)s;

-- name: next_firing
-- How long it is until a schedule is due, by the server's clock.
SELECT extract(epoch FROM min(next_fire_at) - clock_timestamp())::float8
FROM tasker.schedules
WHERE next_fire_at IS NOT NULL
  AND (name, updated_at) NOT IN (SELECT * FROM unnest(%(names)s::text[], %(changed)s::timestamptz[]));
