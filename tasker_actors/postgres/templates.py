"""Registering templates, and reading them back as tasks were created with them (SPEC 5)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from tasker_actors.errors import Fault, StartupError, TemplateError
from tasker_actors.postgres.queues import ensure_queue
from tasker_actors.postgres.statements import load_statements
from tasker_actors.workflow.dag import PlannedStep, plan
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.template import TaskTemplate

_SQL = load_statements()
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('tasker.templates', 0))"


def register_template(
    connection: Connection[Any], template: TaskTemplate, *, accept_changed_content: bool
) -> tuple[RegisteredTemplate, Fault | None]:
    """Store a template and make its namespace's queues; registering the same content again changes nothing.

    Another content under a known version is a TemplateError, or a warning where `accept_changed_content` (development):
    new tasks then use the new content, running ones keep theirs. Needs a connection in autocommit mode.
    """
    name = f"{template.namespace_name}/{template.name}@{template.version}"
    identity = {"namespace": template.namespace_name, "name": template.name, "version": template.version}
    content_hash = template.content_hash()
    fault = None
    steps = plan(template)
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_LOCK)
        known = {row[0] for row in cursor.execute(_SQL["find_template_contents"], identity)}
        if known and content_hash not in known:
            fault = Fault(
                file=name,
                step=None,
                key="version",
                message="this version is registered with another content; give the changed template a new version",
                severity="warning" if accept_changed_content else "error",
            )
            if not accept_changed_content:
                raise TemplateError([fault])
        definition = orjson.dumps(template.definition()).decode()
        row = cursor.execute(
            _SQL["upsert_template"], {**identity, "content_hash": content_hash, "definition": definition}
        ).fetchone()
        assert row is not None  # noqa: S101 - RETURNING of an upsert gives its row
        template_id = int(row[0])
        _store_limits(cursor, template.namespace_name, steps)
        rows = orjson.dumps([asdict(step) for step in steps]).decode()
        cursor.execute(
            _SQL["insert_template_steps"],
            {"template_id": template_id, "namespace": template.namespace_name, "steps": rows},
        )
    ensure_event_queues(connection, template.namespace_name)
    return RegisteredTemplate(template_id, template, steps), fault


def _store_limits(cursor: Cursor[Any], namespace: str, steps: Sequence[PlannedStep]) -> None:
    """Store the limits of steps, and let those who wait for a place see what has become of it."""
    limits = [asdict(limit) for step in steps for limit in step.limits]
    if limits:
        document = orjson.dumps(limits).decode()
        if cursor.execute(_SQL["upsert_limits"], {"namespace": namespace, "limits": document}).fetchall():
            cursor.execute(_SQL["repair_limits"])


def ensure_event_queues(connection: Connection[Any], namespace: str) -> None:
    """Make a namespace's durable queue and its dead-letter queue where they are missing."""
    ensure_queue(connection, f"{namespace}_domain_events", correlation_index=True)
    ensure_queue(connection, f"{namespace}_domain_events_dlq")


def load_definitions(connection: Connection[Any], template_ids: Collection[int]) -> dict[int, TaskTemplate]:
    """Read templates by number, as tasks were created with them, in one round trip; StartupError for an unknown one."""
    rows = connection.execute(_SQL["load_templates"], {"ids": list(template_ids)}).fetchall() if template_ids else ()
    found = {template_id: TaskTemplate.from_definition(definition) for template_id, definition in rows}
    if missing := set(template_ids) - found.keys():
        msg = f"template {min(missing)} is not in the database; was it deleted by hand?"
        raise StartupError(msg)
    return found
