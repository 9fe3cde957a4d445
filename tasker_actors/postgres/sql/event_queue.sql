-- name: read_queue
-- As text: one message that Python cannot read must not fail the read of the others. The commit does not wait for the
-- disk, nor do those that acknowledge: what a crash of the server takes back is read or acknowledged again.
SELECT msg_id, read_ct, enqueued_at, message::text, headers::text
FROM set_config('synchronous_commit', 'off', true), pgmq.read(%(queue)s::text, %(seconds)s::integer, %(limit)s::integer)

-- name: archive_message
SELECT pgmq.archive(%(queue)s::text, %(msg_id)s::bigint) FROM set_config('synchronous_commit', 'off', true)

-- name: delete_message
SELECT pgmq.delete(%(queue)s::text, %(msg_id)s::bigint) FROM set_config('synchronous_commit', 'off', true)

-- name: extend_visibility
-- Every read raises the read count, so number and count together name the reader; pgmq.set_vt would take a message away
-- from whoever has it now. The counts by position, because a join with unnest() may scan the whole queue.
UPDATE {table}
SET vt = clock_timestamp() + make_interval(secs => %(seconds)s::integer)
WHERE msg_id = ANY (%(msg_ids)s::bigint[])
  AND read_ct = (%(read_counts)s::integer[])[array_position(%(msg_ids)s::bigint[], msg_id)]
RETURNING msg_id

-- name: give_back_messages
-- Nobody began them: they can be read at once, and this read does not count.
UPDATE {table}
SET vt = clock_timestamp(), read_ct = read_ct - 1
WHERE msg_id = ANY (%(msg_ids)s::bigint[])
  AND read_ct = (%(read_counts)s::integer[])[array_position(%(msg_ids)s::bigint[], msg_id)]
RETURNING msg_id

-- name: mark_message
-- Headers that are no object stay readable below a key of their own.
UPDATE {table}
SET headers = CASE WHEN headers IS NULL THEN '{{}}'::jsonb
                   WHEN jsonb_typeof(headers) = 'object' THEN headers
                   ELSE jsonb_build_object('headers', headers) END || jsonb_build_object(%(mark)s::text, read_ct)
WHERE msg_id = %(msg_id)s::bigint AND read_ct = %(read_count)s::integer
RETURNING msg_id

-- name: reject_message
-- Out of the queue and into the dead letters in one statement, made of what is stored: a message that Python cannot read
-- is moved whole too. What is no event is the payload of a letter without event. 1,024 characters are at most 4 KiB.
WITH taken AS (
    DELETE FROM {table}
    WHERE msg_id = %(msg_id)s::bigint AND read_ct = %(read_count)s::integer
    RETURNING coalesce(message, 'null'::jsonb) AS message, headers
), parted AS (
    SELECT headers,
           CASE WHEN is_event THEN message - 'payload' ELSE '{{}}'::jsonb END AS event,
           CASE WHEN is_event THEN message -> 'payload' ELSE message END AS payload
    FROM (SELECT *, jsonb_typeof(message) = 'object'
                    AND message ?& ARRAY['event_id', 'event_name', 'payload', 'metadata'] AS is_event
          FROM taken) t
)
SELECT pgmq.send(
    %(letters)s::text,
    jsonb_build_object(
        'event', event, 'payload', payload, 'payload_repr', left(payload::text, 1024),
        'reason', jsonb_build_object('code', %(code)s::text, 'message', %(reason)s::text, 'path', ''),
        'failed_at', to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
    headers)
FROM parted
