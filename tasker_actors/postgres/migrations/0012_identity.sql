-- One mechanism for what makes a task the same as another: `identity_hash`, which no two tasks of a template share. Null:
-- the task is like no other. Until now only the idempotency key was compared, as it was given.

-- The identity that a key makes, as workflow/identity.py hashes it.
CREATE FUNCTION tasker.key_identity(p_namespace text, p_name text, p_key text) RETURNS text
LANGUAGE sql STABLE STRICT
AS $$
    SELECT encode(sha256(convert_to(
        'key' || chr(10) || p_namespace || chr(10) || p_name || chr(10) || p_key, 'UTF8')), 'hex')
$$;

-- Whoever creates a task gives HASH, or HASH/SECONDS for a task that is unique for a period. The period's number comes
-- from the clock of this server, so that all supervisors and applications agree: HASH/SECONDS/NUMBER. Periods are
-- aligned: they begin at multiples of their length since 1970, whenever the first task came.
-- A supervisor of the release before gives a key and no identity.
CREATE FUNCTION tasker.complete_identity() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.identity_hash := coalesce(NEW.identity_hash, tasker.key_identity(NEW.namespace, NEW.name, NEW.idempotency_key));
    IF strpos(NEW.identity_hash, '/') > 0 THEN
        NEW.identity_hash := NEW.identity_hash || '/' || floor(
            extract(epoch FROM NEW.created_at) / split_part(NEW.identity_hash, '/', 2)::integer)::bigint;
    END IF;
    RETURN NEW;
END
$$;

-- A trigger, so that it holds for every way to create tasks; those without an identity do not call it.
CREATE TRIGGER complete_identity BEFORE INSERT ON tasker.tasks
FOR EACH ROW WHEN (NEW.identity_hash IS NOT NULL OR NEW.idempotency_key IS NOT NULL)
EXECUTE FUNCTION tasker.complete_identity();

-- The index keeps its name: by it supervisors of the release before know that a task is there already.
-- Tasks with keys are written once more here, in seconds for some million; commits that meet this are repeated.
DROP INDEX tasker.tasks_idempotency_key;
UPDATE tasker.tasks SET identity_hash = tasker.key_identity(namespace, name, idempotency_key)
WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX tasks_idempotency_key ON tasker.tasks (namespace, name, identity_hash)
    WHERE identity_hash IS NOT NULL;
