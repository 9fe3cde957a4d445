"""The schema `tasker`, brought forward by numbered `.sql` files; there is no way back, the next file mends a fault.

`migrations/NNNN_name.sql` run in order, each in a transaction of its own together with its row in
`tasker.migrations`, under the schema lock. A file never changes once it was released. A statement that cannot run in
a transaction (`CREATE INDEX CONCURRENTLY`) has no place in them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from tasker_actors.errors import StartupError
from tasker_actors.postgres.schema_lock import DEFAULT_LOCK_TIMEOUT_MS, schema_change

_FILE = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")
_DEADLOCK_REPEATS = 5

_CREATE_TABLE = b"""
CREATE SCHEMA IF NOT EXISTS tasker;
CREATE TABLE IF NOT EXISTS tasker.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""

# Not to_regclass(): it answers from the session's cache, and after waiting for the lock that cache still says there is
# no such table, because nothing in between made the session read what others had changed.
_FIND_TABLE = b"""
SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'tasker' AND c.relname = 'migrations'
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name, its SQL and the SHA-256 of that."""

    version: int
    name: str
    sql: bytes
    checksum: str

    @property
    def file_name(self) -> str:
        """The name of the file, as errors and `db status` show it."""
        return f"{self.version:04d}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """How far a database is: file names, in order.

    `newer` are migrations of a later release than this one. They are no error: while a release is rolled out, workers
    of the last one go on.
    """

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    newer: tuple[str, ...]

    @property
    def current(self) -> str | None:
        """The last migration that was applied, of this release or a later one."""
        return (self.applied + self.newer)[-1] if self.applied or self.newer else None


def load_migrations(directory: Traversable | None = None) -> tuple[Migration, ...]:
    """Return the migrations of a directory (the package's own by default), in order.

    Raises StartupError for a `.sql` file without a number and for a number that is missing or there twice.
    """
    directory = directory if directory is not None else files(__package__) / "migrations"
    found: list[Migration] = []
    for file in sorted(directory.iterdir(), key=lambda item: item.name):
        if not file.name.endswith(".sql"):
            continue
        match = _FILE.fullmatch(file.name)
        if match is None:
            msg = f"migration {file.name}: the name must be NNNN_what_it_does.sql"
            raise StartupError(msg)
        # A checkout that turned line ends into CRLF is the same migration.
        sql = file.read_bytes().replace(b"\r\n", b"\n")
        found.append(Migration(int(match["version"]), match["name"], sql, hashlib.sha256(sql).hexdigest()))
    for expected, migration in enumerate(found, start=1):
        if migration.version != expected:
            msg = f"migration {migration.file_name}: number {expected:04d} was expected here"
            raise StartupError(msg)
    return tuple(found)


def status(connection: Connection[Any], migrations: tuple[Migration, ...] | None = None) -> MigrationStatus:
    """Return what was applied and what is pending; changes nothing and needs no right but to read.

    Raises StartupError if a file differs from what was applied under its number.
    """
    known = load_migrations() if migrations is None else migrations
    with connection.transaction():
        rows = _applied(connection)
    for migration in known:
        checksum = rows.get(migration.version, (migration.name, migration.checksum))[1]
        if checksum != migration.checksum:
            msg = (
                f"migration {migration.file_name} is not the one that this database got under its number: "
                "a released migration never changes; restore the file and add a new one"
            )
            raise StartupError(msg)
    return MigrationStatus(
        applied=tuple(migration.file_name for migration in known if migration.version in rows),
        pending=tuple(migration.file_name for migration in known if migration.version not in rows),
        newer=tuple(f"{version:04d}_{name}.sql" for version, (name, _) in sorted(rows.items()) if version > len(known)),
    )


def migrate(
    connection: Connection[Any],
    migrations: tuple[Migration, ...] | None = None,
    *,
    lock_timeout_ms: int = DEFAULT_LOCK_TIMEOUT_MS,
) -> tuple[str, ...]:
    """Apply what is pending and return the file names of what this call applied.

    Safe beside any number of other processes that do the same: each migration runs once. Needs a connection in
    autocommit mode, and the right to create objects only if something is pending. A crash leaves the migrations before
    the one that ran. Raises StartupError with file, server's message and line.
    """
    known = load_migrations() if migrations is None else migrations
    applied: list[str] = []
    repeats = 0
    while status(connection, known).pending:
        try:
            done = _apply_next(connection, known, lock_timeout_ms)
        except psycopg.errors.DeadlockDetected:
            # Workers of the last release are running, and lock tables in an order that a migration cannot know.
            repeats += 1
            if repeats > _DEADLOCK_REPEATS:
                raise
            continue
        if done is not None:
            applied.append(done.file_name)
    return tuple(applied)


def _apply_next(connection: Connection[Any], known: tuple[Migration, ...], lock_timeout_ms: int) -> Migration | None:
    """Apply the first pending migration under the lock; None if others applied the last one meanwhile."""
    try:
        with schema_change(connection, lock_timeout_ms=lock_timeout_ms):
            applied = _applied(connection)
            following = next((migration for migration in known if migration.version not in applied), None)
            if following is not None:
                _apply(connection, following)
            return following
    except psycopg.errors.InsufficientPrivilege as error:
        msg = (
            f"the database has pending migrations and this role may not apply them: {error.diag.message_primary}; "
            "run `tasker-actors db migrate` as the schema's owner"
        )
        raise StartupError(msg) from error


def _apply(connection: Connection[Any], migration: Migration) -> None:
    connection.execute(_CREATE_TABLE)
    try:
        connection.execute(migration.sql)
    except (psycopg.errors.DeadlockDetected, psycopg.errors.InsufficientPrivilege):
        raise
    except psycopg.Error as error:
        msg = f"migration {migration.file_name}: {error.diag.message_primary or error}{_line(migration, error)}"
        raise StartupError(msg) from error
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        msg = f"migration {migration.file_name} ended its transaction: it must not contain COMMIT or ROLLBACK"
        raise StartupError(msg)
    connection.execute(
        "INSERT INTO tasker.migrations (version, name, checksum) VALUES (%s, %s, %s)",
        [migration.version, migration.name, migration.checksum],
    )


def _applied(connection: Connection[Any]) -> dict[int, tuple[str, str]]:
    """Return name and checksum of each applied migration by its number; none if there is no table yet."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        try:
            if cursor.execute(_FIND_TABLE).fetchone() is None:
                return {}
            cursor.execute("SELECT version, name, checksum FROM tasker.migrations")
        except psycopg.errors.InsufficientPrivilege as error:
            msg = (
                f"this role may not read tasker.migrations: {error.diag.message_primary}; "
                "grant it USAGE on schema tasker and SELECT on its tables"
            )
            raise StartupError(msg) from error
        return {version: (name, checksum) for version, name, checksum in cursor}


def _line(migration: Migration, error: psycopg.Error) -> str:
    """Return the line of the file that the server's error points at, in words, if it points at one."""
    position = error.diag.statement_position
    if position is None:
        return ""
    before = migration.sql.decode()[: int(position) - 1]
    return f" (line {before.count(chr(10)) + 1})"
