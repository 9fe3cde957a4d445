-- name: find_template_contents
-- Every content that is known under a version; more than one only where development allowed it.
SELECT content_hash FROM tasker.templates
WHERE namespace = %(namespace)s AND name = %(name)s AND version = %(version)s;

-- name: upsert_template
-- Registering a known content again makes it the newest of its version, so that going back to it works.
INSERT INTO tasker.templates AS t (namespace, name, version, content_hash, definition)
VALUES (%(namespace)s, %(name)s, %(version)s, %(content_hash)s, %(definition)s::jsonb)
ON CONFLICT (namespace, name, version, content_hash)
DO UPDATE SET registered_at = CASE
    WHEN t.template_id = (
        SELECT n.template_id FROM tasker.templates n
        WHERE n.namespace = t.namespace AND n.name = t.name AND n.version = t.version
        ORDER BY n.registered_at DESC, n.template_id DESC LIMIT 1)
    THEN t.registered_at ELSE now() END
RETURNING template_id;

-- name: insert_template_steps
INSERT INTO tasker.template_steps (
    template_id, position, name, dependencies, successors, ancestors, descendants, max_attempts)
SELECT %(template_id)s, s.position, s.name, s.dependencies, s.successors, s.ancestors, s.descendants, s.max_attempts
FROM jsonb_to_recordset(%(steps)s::jsonb) AS s(
    position smallint, name text, dependencies smallint[], successors smallint[], ancestors smallint[],
    descendants smallint[], max_attempts integer)
ON CONFLICT (template_id, position) DO NOTHING;

-- name: load_template_definition
SELECT definition FROM tasker.templates WHERE template_id = %(template_id)s;
