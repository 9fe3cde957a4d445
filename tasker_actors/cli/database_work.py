"""What the `db` commands do, apart from their options and their output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tasker_actors.cli.database import Database, open_database
from tasker_actors.errors import StartupError
from tasker_actors.postgres import migrate
from tasker_actors.postgres.pgmq_install import find_pgmq, install_pgmq
from tasker_actors.postgres.retention import Prunable, prune
from tasker_actors.postgres.role import grant
from tasker_actors.postgres.templates import ensure_event_queues
from tasker_actors.postgres.wait import check_server
from tasker_actors.settings import Settings
from tasker_actors.workflow.load import load_templates


def migrate_database(settings: Settings, template_paths: Sequence[Path]) -> dict[str, Any]:
    """Install PGMQ where it is missing, apply the pending migrations, and return what was applied.

    Makes the queues of the templates' namespaces too, so that a role that may not can run them. Raises TemplateError
    before anything is done.
    """
    loaded = load_templates(
        template_paths,
        environment=settings.environment,
        strict=settings.templates.strict,
        max_decision_depth=settings.decisions.max_depth,
    )
    namespaces = sorted({template.namespace_name for template in loaded.templates})
    with open_database(settings) as database:
        check_server(database.connection)
        pgmq = install_pgmq(database.connection)
        applied = migrate.migrate(database.connection)
        for namespace in namespaces:
            ensure_event_queues(database.connection, namespace)
        current = migrate.status(database.connection).current
    return {
        "applied": list(applied),
        "migration": current,
        "pgmq_version": pgmq.version,
        "namespaces": namespaces,
    }


def grant_role(settings: Settings, role: str) -> None:
    """Let a role run this database, once it is migrated; StartupError if it is not."""
    with open_database(settings) as database:
        _require_migrated(database)
        grant(database.connection, role)


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
        _require_migrated(database)
        return {
            kind: prune(database.connection, Prunable(kind), age, progress=partial(on_progress, kind)) for kind in kinds
        }


def _require_migrated(database: Database) -> None:
    pending = migrate.status(database.connection).pending
    if pending:
        msg = f"the schema lacks {', '.join(pending)}: run `tasker-actors db migrate` first"
        raise StartupError(msg)
