"""PGMQ in a database: found, or installed from its extension, or from the SQL that the `pgmq` package ships."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.rows import tuple_row

from tasker_actors.errors import StartupError
from tasker_actors.postgres.schema_lock import DEFAULT_LOCK_TIMEOUT_MS, schema_change

# Headers on messages, which carry trace context and correlation id, came with this release.
_OLDEST_VERSION = "1.5"
_SQL_COMMENT_PREFIX = "PGMQ "

_FIND = b"""
SELECT (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'pgmq') AS extension,
       (SELECT obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace WHERE nspname = 'pgmq') AS comment,
       EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
               WHERE n.nspname = 'pgmq' AND p.proname = 'create') AS installed,
       EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
               WHERE n.nspname = 'pgmq' AND p.proname = 'send' AND p.pronargs = 4) AS has_headers
"""


class PgmqSource(StrEnum):
    """Where a database's PGMQ comes from."""

    EXTENSION = "extension"
    SQL = "sql"


@dataclass(frozen=True, slots=True)
class PgmqInstallation:
    """The PGMQ of a database; `version` is None where somebody else installed its SQL and left no note."""

    source: PgmqSource
    version: str | None


def find_pgmq(connection: Connection[Any]) -> PgmqInstallation | None:
    """Return the PGMQ that the database has, or None; changes nothing.

    Raises StartupError if it is too old to carry headers.
    """
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(_FIND).fetchone()
    if row is None or not row[2]:
        return None
    extension, comment, _, has_headers = row
    if not has_headers:
        msg = f"the database's PGMQ {extension or ''} has no message headers: update it to {_OLDEST_VERSION} or later"
        raise StartupError(msg)
    if extension is not None:
        return PgmqInstallation(PgmqSource.EXTENSION, extension)
    noted = comment is not None and comment.startswith(_SQL_COMMENT_PREFIX)
    return PgmqInstallation(PgmqSource.SQL, comment.split()[1].rstrip(",") if noted else None)


def install_pgmq(connection: Connection[Any], *, lock_timeout_ms: int = DEFAULT_LOCK_TIMEOUT_MS) -> PgmqInstallation:
    """Return the database's PGMQ, installed first where there is none.

    The extension is taken where the server has it and this role may create it, the SQL otherwise; with the SQL, its
    version is kept as the schema's comment. Nothing is ever updated. Safe beside other processes that do the same, and
    all or nothing. Needs a connection in autocommit mode. Raises StartupError if the role may not create the schema.
    """
    found = find_pgmq(connection)
    if found is not None:
        return found
    try:
        with schema_change(connection, lock_timeout_ms=lock_timeout_ms):
            found = find_pgmq(connection)
            if found is None and not _create_extension(connection):
                _install_sql(connection)
            found = found or find_pgmq(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        msg = (
            f"the database has no PGMQ and this role may not install it: {error.diag.message_primary}; "
            "run `tasker-actors db migrate` as the database's owner"
        )
        raise StartupError(msg) from error
    if found is None:
        msg = "PGMQ was installed and cannot be found: its SQL is not what this release knows"
        raise StartupError(msg)
    return found


def _create_extension(connection: Connection[Any]) -> bool:
    """Create the extension if the server has it and the role may; says whether it did."""
    available = connection.execute("SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'pgmq'").fetchone()
    if available is None:
        return False
    try:
        with connection.transaction():
            connection.execute("CREATE EXTENSION pgmq")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def _install_sql(connection: Connection[Any]) -> None:
    from pgmq import get_embedded_install_sql, get_embedded_sql_version  # noqa: PLC0415  it loads SQLAlchemy where it is

    connection.execute(get_embedded_install_sql().encode())
    note = f"{_SQL_COMMENT_PREFIX}{get_embedded_sql_version().removeprefix('v')}, installed from SQL by tasker_actors"
    connection.execute(sql.SQL("COMMENT ON SCHEMA pgmq IS {}").format(sql.Literal(note)))
