-- name: read_dead_letters
-- The dead letter and where it was found, as one JSON text. It can be redriven as it is where its payload was stored.
-- What was not written by this package is shown as far as it goes, so that somebody can find it and take it away.
SELECT r.msg_id, (CASE
    WHEN r.message ?& ARRAY['event', 'payload_repr', 'reason', 'failed_at']
         AND jsonb_typeof(r.message -> 'event') = 'object' AND r.message -> 'reason' ?& ARRAY['code', 'message']
    THEN r.message
    ELSE jsonb_build_object(
        'event', '{{}}'::jsonb, 'payload_repr', left(r.message::text, 4096), 'failed_at', r.enqueued_at,
        'reason', jsonb_build_object(
            'code', 'not_an_event', 'message', 'this message is no dead letter of an event', 'path', ''))
    END || jsonb_build_object(
        'namespace', left({queue}::text, -length('_domain_events_dlq')), 'queue', {queue}::text,
        'msg_id', r.msg_id, 'enqueued_at', r.enqueued_at,
        'redrivable', coalesce(r.message ? 'payload' AND r.message #>> '{{event,event_id}}' IS NOT NULL
                               AND r.message #>> '{{event,event_name}}' IS NOT NULL
                               AND r.message #>> '{{event,metadata,correlation_id}}' IS NOT NULL, false)))::text
FROM (
    SELECT msg_id, message,
           to_char(enqueued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS enqueued_at
    FROM {table}
    WHERE msg_id = ANY (%(msg_ids)s::bigint[])) r

-- name: lock_dead_letters
-- The rows stay locked until the transaction ends: whoever else redrives them waits, and then finds them gone. Without
-- ids it is the next batch of all, which is bounded by bytes too (the first always fits).
SELECT l.msg_id, l.event_id, l.is_event, l.has_payload, l.found
FROM (
    SELECT k.*, sum(k.size) OVER (ORDER BY k.msg_id) - k.size AS before, count(*) OVER () AS found
    FROM (
        SELECT msg_id, message #>> '{{event,event_id}}' AS event_id,
               coalesce(message #>> '{{event,event_id}}' IS NOT NULL AND message #>> '{{event,event_name}}' IS NOT NULL
                        AND message #>> '{{event,metadata,correlation_id}}' IS NOT NULL, false) AS is_event,
               coalesce(message ? 'payload', false) AS has_payload,
               coalesce(octet_length((message -> 'payload')::text), 0) AS size
        FROM {letters}
        WHERE (%(msg_ids)s::bigint[] IS NULL OR msg_id = ANY (%(msg_ids)s::bigint[]))
          AND (%(event_ids)s::text[] IS NULL OR message #>> '{{event,event_id}}' = ANY (%(event_ids)s::text[]))
          AND (%(event_name)s::text IS NULL OR message #>> '{{event,event_name}}' = %(event_name)s::text)
          AND (%(reason)s::text IS NULL OR message #>> '{{reason,code}}' = %(reason)s::text)
          AND (%(failed_before)s::timestamptz IS NULL OR enqueued_at < %(failed_before)s::timestamptz)
          AND (%(failed_after)s::timestamptz IS NULL OR enqueued_at >= %(failed_after)s::timestamptz)
          AND msg_id > %(after)s
        ORDER BY msg_id
        LIMIT %(limit)s
        FOR UPDATE) k) l
WHERE l.before = 0 OR l.before < %(max_bytes)s
ORDER BY l.msg_id

-- name: republish_dead_letters
-- Back to where the event was meant to go, with its own id and time. It goes on in the trace of its task; one that has
-- none, or whose task was pruned, in the trace of whoever redrives it.
SELECT pgmq.send_batch(%(queue)s::text, r.messages, r.headers)
FROM (
    SELECT array_agg(jsonb_set(d.message -> 'event', '{{payload}}', coalesce(%(payload)s::jsonb, d.message -> 'payload'))
                     ORDER BY d.msg_id) AS messages,
           array_agg(jsonb_strip_nulls(jsonb_build_object(
               'traceparent', coalesce(t.traceparent, %(traceparent)s::text),
               'tracestate', CASE WHEN t.task_uuid IS NULL THEN %(tracestate)s::text ELSE t.tracestate END,
               'correlation_id', d.message #> '{{event,metadata,correlation_id}}',
               'event_id', d.message #> '{{event,event_id}}', 'event_name', d.message #> '{{event,event_name}}',
               'content_type', 'application/json')) ORDER BY d.msg_id) AS headers
    FROM {letters} d
    LEFT JOIN tasker.tasks t ON t.task_uuid = CASE
        WHEN d.message #>> '{{event,metadata,task_uuid}}' ~ '^[0-9a-fA-F]{{8}}(-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}$'
        THEN (d.message #>> '{{event,metadata,task_uuid}}')::uuid END
    WHERE d.msg_id = ANY (%(msg_ids)s::bigint[])) r

-- name: delete_dead_letters
DELETE FROM {letters} WHERE msg_id = ANY (%(msg_ids)s::bigint[])

-- name: limit_lock_wait
SET LOCAL lock_timeout = '5s';
