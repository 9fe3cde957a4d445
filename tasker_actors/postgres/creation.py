"""Tasks and events made inside a caller's transaction: templates looked up, rows inserted, workers told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from itertools import chain
from typing import NamedTuple, TypeAlias

import orjson
import psycopg
from psycopg.rows import TupleRow

from tasker_actors.errors import RequestRefusedError
from tasker_actors.postgres.events import EVENTS_SUFFIX
from tasker_actors.postgres.in_transaction import SqlFlow, Statement, check_schema, require_schema
from tasker_actors.postgres.notifications import WORK
from tasker_actors.postgres.tasks import identity_taken, task_document
from tasker_actors.workflow.dag import PlannedStep, plan
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.task_planning import PlannedTask, Templates, missing_template, task_exists
from tasker_actors.workflow.task_requests import NewTask
from tasker_actors.workflow.task_start import are_delayed, with_starts
from tasker_actors.workflow.template import TaskTemplate
from tasker_actors.workflow.versions import version_key

REQUIRED_MIGRATION = 12
"""The last one that what is done here depends on; a database may have later ones."""

_APPLICATION = "application"
_CACHED_TEMPLATES = 256
EVENTS_AT_ONCE = 64
"""Of one statement: the server stores them while the next are made."""

_MAX_STATEMENT_BYTES = 4 * 1024 * 1024


def create(
    requests: Sequence[NewTask], planned_by: Callable[[Templates], list[PlannedTask]], *, in_batch: bool
) -> SqlFlow[list[PlannedTask]]:
    """Create what `planned_by` makes of the stored templates, all or none, and tell workers with the commit.

    Raises UnknownTemplateError, DuplicateTaskError and whatever `planned_by` raises.
    """
    templates = yield from stored_templates(requests, in_batch=in_batch)
    planned = planned_by(templates)
    if are_delayed(requests):
        ((now,),) = yield Statement("database_time", {})
        planned = with_starts(planned, requests, now)
    rows = [each.row for each in planned]
    try:
        told = {"channel": WORK, "payload": _APPLICATION}
        yield Statement("create_and_announce", {"tasks": task_document(rows), **told})
    except psycopg.errors.UniqueViolation as error:
        taken = identity_taken(error, rows)
        if taken is None:
            raise
        raise task_exists(taken.index if in_batch else None) from error
    return planned


class SentEvent(NamedTuple):
    """A durable event's message and headers as one JSON object, and where it goes."""

    namespace: str
    document: bytes


def send_events(events: Iterable[SentEvent]) -> SqlFlow[None]:
    """Put durable events into the queues of their namespaces, each in its order; the first while others are made.

    Raises RequestRefusedError where there is no such queue, and what the making of one raises.
    """
    parts = _parts(events)
    # Made before anybody is asked: most calls have no more, and what is wrong with one of these costs nothing.
    first = next(parts, [])
    yield from require_schema(REQUIRED_MIGRATION)
    known: set[str] = set()
    for part in chain([first], parts):
        by_namespace: dict[str, list[bytes]] = {}
        for namespace, document in part:
            by_namespace.setdefault(namespace, []).append(document)
        for namespace in [each for each in by_namespace if each not in known]:
            yield from _require_queue(namespace)
        known |= by_namespace.keys()
        for namespace, documents in by_namespace.items():
            array = b"[%b]" % b",".join(documents)
            parameters = {"queue": f"{namespace}{EVENTS_SUFFIX}", "events": array.decode()}
            yield Statement("send_events", parameters, awaited=False)


def _require_queue(namespace: str) -> SqlFlow[None]:
    queue = f"{namespace}{EVENTS_SUFFIX}"
    if not (yield Statement("event_queues", {"suffix": EVENTS_SUFFIX, "queue": queue})):
        text = f"there is no namespace {namespace}: no template of it was registered on this database"
        raise RequestRefusedError(HTTPStatus.NOT_FOUND, {"code": "unknown_namespace", "message": text})


def _parts(events: Iterable[SentEvent]) -> Iterator[list[SentEvent]]:
    """Divide events so that the server has something to do soon, and no statement is much larger than 4 MiB."""
    part: list[SentEvent] = []
    size = 0
    for event in events:
        if part and (len(part) == EVENTS_AT_ONCE or size + len(event.document) > _MAX_STATEMENT_BYTES):
            yield part
            part, size = [], 0
        part.append(event)
        size += len(event.document)
    if part:
        yield part


Parsed: TypeAlias = tuple[TaskTemplate, tuple[PlannedStep, ...]]


class _StoredTemplates:
    """Templates that were read for one request."""

    def __init__(self, registered: Iterable[RegisteredTemplate]) -> None:
        self._all = sorted(registered, key=lambda each: version_key(each.template.version))
        self._found: dict[tuple[str, str, str | None], RegisteredTemplate] = {}
        for each in self._all:
            name = (each.template.namespace_name, each.template.name)
            self._found[*name, each.template.version] = self._found[*name, None] = each

    def find_template(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        """Return a version of a template, the newest for None."""
        return self._found.get((namespace, name, version))

    def templates(self) -> Sequence[RegisteredTemplate]:
        """Return all that were read."""
        return self._all


def stored_templates(requests: Sequence[NewTask], *, in_batch: bool) -> SqlFlow[Templates]:
    """Read the templates of some requests; their contents only where this process does not know them yet.

    Raises SchemaMissingError: the schema's version comes with them, because each statement is a round trip.
    """
    wanted = {(each.namespace, each.name) for each in requests}
    names = {"namespaces": [each[0] for each in wanted], "names": [each[1] for each in wanted]}
    rows = yield Statement("creation_templates", names)
    by_name: dict[tuple[str, str], dict[str, tuple[int, str]]] = {}
    check_schema(rows[0][0], REQUIRED_MIGRATION)
    for _, template_id, namespace, name, version, content_hash in rows:
        if template_id is None:
            continue
        by_name.setdefault((namespace, name), {})[version] = (template_id, content_hash)
    newest = {name: max(versions, key=version_key) for name, versions in by_name.items()}
    chosen: dict[int, str] = {}
    for index, each in enumerate(requests):
        name = (each.namespace, each.name)
        versions = by_name.get(name, {})
        version = newest.get(name, "") if each.version is None else each.version
        if version not in versions:
            known = yield Statement("creation_names", {})
            raise missing_template(each, (_three(row) for row in known), index if in_batch else None)
        template_id, content_hash = versions[version]
        chosen[template_id] = content_hash
    parsed = {content_hash: _PARSED.get(content_hash) for content_hash in chosen.values()}
    unread = [template_id for template_id, content_hash in chosen.items() if parsed[content_hash] is None]
    if unread:
        for template_id, definition in (yield Statement("creation_definitions", {"template_ids": unread})):
            parsed[chosen[template_id]] = _PARSED.add(chosen[template_id], definition)
    return _StoredTemplates(
        RegisteredTemplate(template_id, *found)
        for template_id, content_hash in chosen.items()
        if (found := parsed[content_hash]) is not None
    )


def _three(row: TupleRow) -> tuple[str, str, str]:
    return row[0], row[1], row[2]


class _ParsedTemplates:
    """Templates by the hash of their content, which never changes; the oldest give way. Any thread may call."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._parsed: dict[str, Parsed] = {}

    def get(self, content_hash: str) -> Parsed | None:
        """Return a template that was read before."""
        return self._parsed.get(content_hash)

    def add(self, content_hash: str, definition: str) -> Parsed:
        """Read and keep a template; raises TemplateError for one that this release cannot read."""
        template = TaskTemplate.from_definition(orjson.loads(definition))
        parsed = (template, plan(template))
        with self._lock:
            while len(self._parsed) >= self._limit:
                del self._parsed[next(iter(self._parsed))]
            self._parsed[content_hash] = parsed
        return parsed


_PARSED = _ParsedTemplates(_CACHED_TEMPLATES)
