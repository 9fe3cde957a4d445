-- name: event_queues
-- Queues of domain events or of dead letters whose tables exist, by what their names end with.
SELECT m.queue_name
FROM pgmq.meta m
JOIN pg_catalog.pg_namespace n ON n.nspname = 'pgmq'
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'q_' || m.queue_name
WHERE right(m.queue_name, length(%(suffix)s::text)) = %(suffix)s::text
  AND (%(queue)s::text IS NULL OR m.queue_name = %(queue)s::text)
ORDER BY m.queue_name;

-- name: latest_messages
-- The newest of one queue by primary key, with what is needed to choose among those of all queues.
(SELECT {queue}::text, msg_id, message #>> %(time_path)s::text[], octet_length(message::text)
 FROM {table}
 ORDER BY msg_id DESC
 LIMIT %(limit)s)

-- name: correlated_messages
-- Sorted by an expression and not by msg_id: the planner would rather walk the primary key backwards through the whole
-- queue than take the index on the correlation id.
(SELECT {queue}::text, msg_id, message #>> %(time_path)s::text[], octet_length(message::text)
 FROM {table}
 WHERE message->'metadata'->>'correlation_id' = %(correlation_id)s::text
 ORDER BY message #>> %(time_path)s::text[] DESC, msg_id DESC
 LIMIT %(limit)s)

-- name: read_events
-- The message and where it was found, as one JSON text; null for what was not written by this package.
SELECT msg_id, CASE
    WHEN message ?& ARRAY['event_id', 'event_name', 'event_version', 'payload', 'execution', 'metadata']
         AND message -> 'metadata' ?& ARRAY['namespace', 'step_name', 'correlation_id', 'fired_at']
    THEN (message || jsonb_build_object(
        'queue', {queue}::text, 'msg_id', msg_id,
        'enqueued_at', to_char(enqueued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))::text END
FROM {table}
WHERE msg_id = ANY (%(msg_ids)s::bigint[])
