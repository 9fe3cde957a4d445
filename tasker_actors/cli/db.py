"""`db migrate`, `db status` and `db prune`: the schema, and what may be deleted."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tasker_actors.cli import output
from tasker_actors.cli.configuration import read_settings
from tasker_actors.cli.durations import parse_duration
from tasker_actors.cli.options import ConfigFile, DatabaseUrl, Json, TemplateDirectories


class Kind(StrEnum):
    """What `db prune` can delete, by the names of `postgres.retention.Prunable`, which --help need not load."""

    FINISHED_TASKS = "finished_tasks"
    ATTEMPTS = "attempts"
    DEAD_LETTERS = "dead_letters"
    TASK_DEAD_LETTERS = "task_dead_letters"
    STEP_AUDITS = "step_audits"


def migrate(
    *,
    templates: TemplateDirectories = None,
    config: ConfigFile = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Bring the schema up to this release.

    PGMQ is installed where it is missing. With templates their namespaces' queues are made too, which a supervisor
    under a restricted role cannot do. Safe beside running supervisors.
    """
    from tasker_actors.cli.database_work import migrate_database  # noqa: PLC0415  psycopg would slow --help down

    document = migrate_database(read_settings(config, {"database.url": database_url}), templates or [])
    if as_json:
        output.write_json(document)
        return
    for name in document["applied"]:
        output.write_line(f"applied {name}")
    output.write_line(f"the schema is at {document['migration']}")
    for namespace in document["namespaces"]:
        output.write_line(f"namespace {namespace} has its queues")


def grant(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="A role that owns nothing and can log in.")],
    *,
    show: Annotated[bool, typer.Option("--show", help="Print the SQL and do nothing.")] = False,
    config: ConfigFile = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Let a role run this database that can create nothing in it.

    Give the owner's URL. The grants also hold for tables and queues that the same owner makes later.
    """
    from tasker_actors.postgres.role import grants  # noqa: PLC0415  psycopg would slow --help down

    statements = grants(role)
    if not show:
        from tasker_actors.cli.database_work import grant_role  # noqa: PLC0415  the same

        grant_role(read_settings(config, {"database.url": database_url}), role)
    if as_json:
        output.write_json({"role": role, "granted": not show, "statements": list(statements)})
    elif show:
        output.write_line("\n".join(f"{statement};" for statement in statements))
    else:
        output.write_line(f"{role} can run this database now")


def status(*, config: ConfigFile = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Show which database is used, and how far its schema is.

    Changes nothing in it. With --json, database_url is complete, with its password, as a client must use it.
    """
    from tasker_actors.cli.database_work import database_status  # noqa: PLC0415  psycopg would slow --help down
    from tasker_actors.settings import redact_url  # noqa: PLC0415  pydantic would, too

    document = database_status(read_settings(config, {"database.url": database_url}))
    if as_json:
        output.write_json(document)
    else:
        output.write_fields({**document, "database_url": redact_url(document["database_url"])})


def prune(
    *,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Least age of what is deleted, as in 30d or 12h.")
    ],
    only: Annotated[
        list[Kind] | None,
        typer.Option("--only", metavar="KIND", help=f"One of {', '.join(Kind)}; may be repeated; all by default."),
    ] = None,
    config: ConfigFile = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Delete old finished tasks, attempts, dead letters and records.

    Durable events are never deleted; those of deleted dead letters are lost. Works in small transactions beside running
    supervisors; interrupted, it keeps what it has done.
    """
    try:
        age = parse_duration(older_than)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from error
    from tasker_actors.cli.database_work import prune_database  # noqa: PLC0415  psycopg would slow --help down

    settings = read_settings(config, {"database.url": database_url})
    kinds = only or list(Kind)
    with output.progress_bar() as progress:
        bars = {kind.value: progress.add_task(f"Deleting {kind.replace('_', ' ')}", total=None) for kind in kinds}
        deleted = prune_database(
            settings, list(bars), age, lambda kind, count: progress.update(bars[kind], completed=count)
        )
    if as_json:
        output.write_json({"deleted": deleted})
    else:
        output.write_fields({name: f"{count} deleted" for name, count in deleted.items()})
