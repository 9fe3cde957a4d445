"""A role that runs a migrated system and may neither make nor change objects: what it is granted."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection, sql

from tasker_actors.errors import StartupError
from tasker_actors.postgres.schema_lock import schema_change
from tasker_actors.postgres.statements import load_statements

_SQL = load_statements()
_GRANTS = tuple(name for name in _SQL if name.startswith("grant_"))


def grants(role: str) -> tuple[str, ...]:
    """Return the statements, in order, with the role's name quoted where it has to be."""
    return tuple(sql.SQL(_SQL[name].decode()).format(role=sql.Identifier(role)).as_string(None) for name in _GRANTS)


def grant(connection: Connection[Any], role: str) -> None:
    """Grant a role what it needs, for what is there and for what this owner makes later; safe to repeat.

    All or nothing, under the schema lock, over a connection in autocommit mode of whoever owns the schemas. Raises
    StartupError if there is no such role, if it could create objects all the same, or if nothing is to be granted by
    this connection's own role.
    """
    found = connection.execute(_SQL["find_role"], [role]).fetchone()
    if found is None:
        msg = f"there is no role {role!r}: make it first, as in CREATE ROLE name LOGIN PASSWORD '…'"
        raise StartupError(msg)
    if found[0]:
        msg = f"role {role!r} may create objects in the schemas itself: grant to a role that owns nothing"
        raise StartupError(msg)
    try:
        with schema_change(connection):
            for statement in grants(role):
                connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        msg = f"this role may not grant anything: {error.diag.message_primary}; connect as the schemas' owner"
        raise StartupError(msg) from error
