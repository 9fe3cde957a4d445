-- name: begin_listing
-- The page and what is read for it come from one snapshot, and a filter without an index cannot read for ever. Some
-- servers compile what they think expensive, as a page of tasks with their steps, which takes longer than to run it.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL statement_timeout = '10s';
SET LOCAL jit = off;

-- name: find_templates
-- Few rows, whatever the number of tasks. Asked for first, because the planner must see the ids to know whether tasks of
-- these templates are rare.
SELECT coalesce(array_agg(template_id), '{}')
FROM tasker.templates
WHERE (%(namespace)s::text IS NULL OR namespace = %(namespace)s::text)
  AND (%(name)s::text IS NULL OR name = %(name)s::text)
  AND (%(version)s::text IS NULL OR version = %(version)s::text);

-- name: task_filter
-- Which tasks are meant, in the statements below. They are sent unprepared, so that the planner sees which filters are
-- null and drops them. Ids are UUIDv7, so the primary key is the order of creation; the bounds on it let a filter by
-- time end the scan. A filter that has one value is said as an equation too: only then does the index on it give tasks
-- in the order of the page. The indexes are on expressions, so the filters are.
(%(below)s::uuid IS NULL OR t.task_uuid < %(below)s::uuid)
  AND (%(above)s::uuid IS NULL OR t.task_uuid >= %(above)s::uuid)
  AND (%(templates)s::bigint[] IS NULL OR t.template_id + 0 = ANY (%(templates)s::bigint[]))
  AND (%(templates)s::bigint[] IS NULL OR cardinality(%(templates)s::bigint[]) > 1
       OR t.template_id + 0 = (%(templates)s::bigint[])[1])
  AND (%(stored)s::text[] IS NULL OR t.status || '' = ANY (%(stored)s::text[]))
  AND (%(stored)s::text[] IS NULL OR cardinality(%(stored)s::text[]) > 1 OR t.status || '' = (%(stored)s::text[])[1])
  AND (%(has_states)s::text[] IS NULL OR EXISTS (
      SELECT FROM tasker.steps h WHERE h.task_uuid = t.task_uuid AND h.state = ANY (%(has_states)s::text[])))
  AND (%(correlation_id)s::uuid IS NULL OR t.correlation_id = %(correlation_id)s::uuid)
  AND (%(tag)s::text IS NULL OR (t.tags @> ARRAY[%(tag)s::text] AND t.tags <> '{}'))
  AND (%(initiator)s::text IS NULL OR coalesce(t.initiator, 'unknown') = %(initiator)s::text)
  AND (%(source_system)s::text IS NULL OR coalesce(t.source_system, 'unknown') = %(source_system)s::text)
  AND (%(created_after)s::timestamptz IS NULL OR t.created_at >= %(created_after)s::timestamptz)
  AND (%(created_before)s::timestamptz IS NULL OR t.created_at < %(created_before)s::timestamptz);

-- name: list_tasks
-- The rows of a page are chosen before their steps are counted: what is passed over costs an entry of an index.
SELECT t.task_uuid::text, t.context_bytes, t.status, c.*
FROM (
    SELECT t.task_uuid, t.context_bytes, t.status, t.start_at
    FROM tasker.tasks t
    WHERE {task_filter}
    ORDER BY t.task_uuid DESC
    LIMIT %(limit)s OFFSET %(offset)s) t
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE s.state = 'pending'), count(*) FILTER (WHERE s.state = 'enqueued'),
           count(*) FILTER (WHERE s.state = 'in_progress'), count(*) FILTER (WHERE s.state = 'waiting_for_retry'),
           count(*) FILTER (WHERE s.state = 'complete'), count(*) FILTER (WHERE s.state = 'error'),
           count(*) FILTER (WHERE s.state = 'cancelled'), count(*) FILTER (WHERE s.state = 'resolved_manually'),
           count(*) FILTER (WHERE CASE s.state WHEN 'enqueued' THEN coalesce(t.start_at <= statement_timestamp(), true)
                                               WHEN 'waiting_for_retry' THEN s.run_at <= statement_timestamp() END),
           count(*) FILTER (WHERE s.state = 'pending' AND s.blocked)
    FROM tasker.steps s
    WHERE s.task_uuid = t.task_uuid AND s.state <> 'undecided') c
ORDER BY t.task_uuid DESC;

-- name: count_tasks
-- Not beyond a limit: counting all tasks of a large table takes seconds, and a page needs it each time.
SELECT count(*)
FROM (
    SELECT
    FROM tasker.tasks t
    WHERE {task_filter}
    LIMIT %(limit)s) counted;
