-- What a role may do that runs a migrated system and owns nothing. In this order: the third takes back a part of the
-- second. The last three are for what the same owner makes later: tables of a migration, queues of a namespace.

-- name: grant_schemas
GRANT USAGE ON SCHEMA tasker, pgmq TO {role};

-- name: grant_tables
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tasker, pgmq TO {role};

-- name: grant_no_history
REVOKE INSERT, UPDATE, DELETE ON tasker.migrations, pgmq.meta FROM {role};

-- name: grant_sequences
GRANT USAGE ON ALL SEQUENCES IN SCHEMA tasker TO {role};

-- name: grant_functions
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tasker, pgmq TO {role};

-- name: grant_later_tables
ALTER DEFAULT PRIVILEGES IN SCHEMA tasker, pgmq GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};

-- name: grant_later_sequences
ALTER DEFAULT PRIVILEGES IN SCHEMA tasker GRANT USAGE ON SEQUENCES TO {role};

-- name: grant_later_functions
ALTER DEFAULT PRIVILEGES IN SCHEMA tasker, pgmq GRANT EXECUTE ON FUNCTIONS TO {role};

-- name: find_role
SELECT has_schema_privilege(r.oid, 'tasker', 'CREATE') OR has_schema_privilege(r.oid, 'pgmq', 'CREATE')
FROM pg_catalog.pg_roles r WHERE r.rolname = %s;
