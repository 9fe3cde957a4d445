"""A database made ready for this release: reachable, new enough, writable, with PGMQ, migrated."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.migrate import migrate
from tasker_actors.postgres.outages import reason_of
from tasker_actors.postgres.pgmq_install import PgmqInstallation, install_pgmq
from tasker_actors.postgres.session import PermissionMissingError
from tasker_actors.postgres.wait import server_address, until_it_works, wait_for_database
from tasker_actors.settings import DatabaseSettings


@dataclass(frozen=True, slots=True)
class ReadyDatabase:
    """What was found or made; `migrations` are the file names of those that were applied now."""

    pgmq: PgmqInstallation
    migrations: tuple[str, ...]


def prepare_database(url: str, *, timeout_ms: int, database: DatabaseSettings) -> ReadyDatabase:
    """Wait for the server, install PGMQ where it is missing and apply what is pending.

    A server that goes away in between is waited for again, for `timeout_ms` each time. Raises
    DatabaseUnavailableError and other StartupErrors that say what to do, with the address and without a password.
    """
    wait_for_database(url, timeout_ms=timeout_ms, database=database, to_write=True)

    def attempt() -> ReadyDatabase:
        try:
            with connect(url, application_name="tasker setup", database=database) as connection:
                return ReadyDatabase(install_pgmq(connection), migrate(connection))
        except psycopg.errors.InsufficientPrivilege as error:
            msg = f"the role of the database at {server_address(url)} lacks a right: {reason_of(error)}; grant it"
            raise PermissionMissingError(msg) from error

    return until_it_works(url, attempt, timeout_ms=timeout_ms)
