"""What the `db` commands do, apart from their options and their output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from tasker_actors.cli.database import open_database
from tasker_actors.errors import StartupError
from tasker_actors.postgres import migrate
from tasker_actors.postgres.pgmq_install import find_pgmq, install_pgmq
from tasker_actors.postgres.retention import Prunable, prune
from tasker_actors.postgres.wait import check_server
from tasker_actors.settings import Settings


def migrate_database(settings: Settings) -> dict[str, Any]:
    """Install PGMQ where it is missing, apply the pending migrations, and return what was applied."""
    with open_database(settings) as database:
        check_server(database.connection)
        pgmq = install_pgmq(database.connection)
        applied = migrate.migrate(database.connection)
        current = migrate.status(database.connection).current
    return {"applied": list(applied), "migration": current, "pgmq_version": pgmq.version}


def database_status(settings: Settings) -> dict[str, Any]:
    """Return the status of SPEC 7, with the password in its `database_url`; changes nothing in the database."""
    with open_database(settings) as database:
        check_server(database.connection)
        pgmq = find_pgmq(database.connection)
        migrations = migrate.status(database.connection)
        return {
            "database_url": database.url,
            "embedded": database.is_embedded,
            "server_version": database.connection.info.parameter_status("server_version"),
            "pgmq_version": pgmq.version if pgmq is not None else None,
            "migration": migrations.current,
            "pending": list(migrations.pending),
        }


def prune_database(
    settings: Settings, kinds: Sequence[str], age: timedelta, on_progress: Callable[[str, int], None]
) -> dict[str, int]:
    """Delete what is older, in small transactions, and return how much of each kind went.

    `kinds` are values of Prunable; `on_progress` gets a kind and how much of it is gone so far. Interrupted, it keeps
    what it has done. Raises StartupError if a migration is pending, because a table may be missing.
    """
    with open_database(settings) as database:
        pending = migrate.status(database.connection).pending
        if pending:
            msg = f"the schema lacks {', '.join(pending)}: run `tasker-actors db migrate` first"
            raise StartupError(msg)
        return {
            kind: prune(database.connection, Prunable(kind), age, progress=partial(on_progress, kind)) for kind in kinds
        }
