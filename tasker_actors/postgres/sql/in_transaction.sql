-- name: creation_templates
-- Of the named templates each version as it was registered last, each with the version of the schema; one row with that
-- alone where there is none of them.
SELECT s.version, n.*
FROM (SELECT max(version) AS version FROM tasker.migrations) s
LEFT JOIN (
    SELECT DISTINCT ON (t.namespace, t.name, t.version) t.template_id, t.namespace, t.name, t.version, t.content_hash
    FROM tasker.templates t
    WHERE (t.namespace, t.name) IN (SELECT * FROM unnest(%(namespaces)s::text[], %(names)s::text[]))
    ORDER BY t.namespace, t.name, t.version, t.registered_at DESC, t.template_id DESC) n ON true;

-- name: creation_definitions
SELECT template_id, definition::text FROM tasker.templates WHERE template_id = ANY (%(template_ids)s::bigint[]);

-- name: creation_names
-- For the message that names the nearest; asked only where a template is missing.
SELECT DISTINCT namespace, name, version FROM tasker.templates LIMIT 10000;

-- name: schema_version
SELECT max(version) FROM tasker.migrations;

-- name: create_and_announce
-- Told with the commit, and never without it.
SELECT tasker.create_tasks_v1(%(tasks)s::jsonb), pg_notify(%(channel)s::text, %(payload)s::text);

-- name: send_events
SELECT count(*)
FROM (
    SELECT pgmq.send_batch(%(queue)s::text, array_agg(e.value -> 'message' ORDER BY e.ordinality),
                           array_agg(e.value -> 'headers' ORDER BY e.ordinality))
    FROM jsonb_array_elements(%(events)s::jsonb) WITH ORDINALITY AS e) sent;
