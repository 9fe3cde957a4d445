"""The templates of tasks that handlers start, looked up when they are first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection

from tasker_actors.errors import DatabaseUnavailableError
from tasker_actors.postgres.outages import reason_of
from tasker_actors.postgres.session import named_statements
from tasker_actors.workflow.dag import plan
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.template import TaskTemplate
from tasker_actors.workflow.template_index import TemplateIndex


class TemplateLookup:
    """Implements `steps.task_templates.TaskTemplates` for all handlers of a process, in whichever threads they run.

    Asks over a connection of its own, opened for the question: once for all of `registered`, the templates of this
    process's supervisor, and for one that is none of them each time, because another supervisor may register a newer
    version. Raises DatabaseUnavailableError.
    """

    def __init__(self, connect: Callable[[], Connection[Any]], registered: Sequence[int]) -> None:
        self._connect = connect
        self._registered = list(registered)
        self._index: TemplateIndex | None = None
        self._lock = threading.Lock()

    def find_template(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        """Return a version of a template, the newest for None: of the supervisor's, else of all in the database."""
        found = self._own().find(namespace, name, version)
        if found is not None:
            return found
        wanted = {"namespace": namespace, "name": name, "version": version}
        return TemplateIndex(self._read("find_registered_templates", wanted)).find(namespace, name, version)

    def templates(self) -> Sequence[RegisteredTemplate]:
        """Return the templates of the supervisor."""
        return self._own().all

    def _own(self) -> TemplateIndex:
        with self._lock:
            if self._index is None:
                self._index = TemplateIndex(self._read("load_templates", {"ids": self._registered}))
            return self._index

    def _read(self, statement: str, parameters: dict[str, Any]) -> list[RegisteredTemplate]:
        with _unavailable(), self._connect() as connection:
            rows = connection.execute(named_statements()[statement], parameters).fetchall()
        return [_registered(*row) for row in rows]


def _registered(template_id: int, definition: dict[str, Any]) -> RegisteredTemplate:
    template = TaskTemplate.from_definition(definition)
    return RegisteredTemplate(template_id, template, plan(template))


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError(
            f"the database cannot be asked for a template ({reason_of(error)}); try again"
        ) from error
