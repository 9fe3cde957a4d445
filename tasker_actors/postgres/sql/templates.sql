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

-- name: upsert_limits
-- What was registered last counts. Gives back those that are new or have other numbers now.
INSERT INTO tasker.limits AS l (namespace, scope, name, kind, field, max_concurrent, rate, period_seconds)
SELECT DISTINCT ON (g.scope, g.name, g.kind)
       %(namespace)s, g.scope, g.name, g.kind, g.field, g.max_concurrent, g.rate, g.period_seconds
FROM jsonb_to_recordset(%(limits)s::jsonb) AS g(
    scope text, name text, kind text, field text[], max_concurrent integer, rate integer, period_seconds integer)
ON CONFLICT (namespace, scope, name, kind) DO UPDATE
SET max_concurrent = excluded.max_concurrent, rate = excluded.rate, period_seconds = excluded.period_seconds,
    registered_at = now()
WHERE (l.max_concurrent, l.rate, l.period_seconds) IS DISTINCT FROM
      (excluded.max_concurrent, excluded.rate, excluded.period_seconds)
RETURNING l.limit_id;

-- name: insert_template_steps
-- What an earlier release registered has nothing yet in the columns that came later.
INSERT INTO tasker.template_steps AS t (
    template_id, position, name, dependencies, successors, ancestors, descendants, max_attempts, kind, conditional,
    tolerates_failure, cancels_siblings, gathers, limits)
SELECT %(template_id)s, s.position, s.name, s.dependencies, s.successors, s.ancestors, s.descendants, s.max_attempts,
       s.kind, s.conditional, s.tolerates_failure, s.cancels_siblings, s.gathers, (
           SELECT array_agg(l.limit_id ORDER BY g.ordinality)
           FROM jsonb_array_elements(s.limits) WITH ORDINALITY AS g
           JOIN tasker.limits l ON l.namespace = %(namespace)s AND l.scope = g.value ->> 'scope'
                               AND l.name = g.value ->> 'name' AND l.kind = g.value ->> 'kind')
FROM jsonb_to_recordset(%(steps)s::jsonb) AS s(
    position smallint, name text, dependencies smallint[], successors smallint[], ancestors smallint[],
    descendants smallint[], max_attempts integer, kind text, conditional boolean, tolerates_failure boolean,
    cancels_siblings boolean, gathers smallint[], limits jsonb)
ON CONFLICT (template_id, position) DO UPDATE
SET kind = excluded.kind, conditional = excluded.conditional, tolerates_failure = excluded.tolerates_failure,
    cancels_siblings = excluded.cancels_siblings, gathers = excluded.gathers, limits = excluded.limits
WHERE (t.kind, t.conditional, t.tolerates_failure, t.cancels_siblings, t.gathers, t.limits) IS DISTINCT FROM
      (excluded.kind, excluded.conditional, excluded.tolerates_failure, excluded.cancels_siblings, excluded.gathers,
       excluded.limits);

-- name: load_templates
SELECT template_id, definition FROM tasker.templates WHERE template_id = ANY (%(ids)s::bigint[]);

-- name: find_registered_templates
-- The newest registration of each version, or of the one that is wanted.
SELECT DISTINCT ON (version) template_id, definition
FROM tasker.templates
WHERE namespace = %(namespace)s AND name = %(name)s
  AND (%(version)s::text IS NULL OR version = %(version)s::text)
ORDER BY version, registered_at DESC, template_id DESC;
