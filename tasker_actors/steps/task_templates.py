"""Where handlers find the templates of tasks that they start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from tasker_actors.workflow.registered import RegisteredTemplate


class TaskTemplates(Protocol):
    """The templates that tasks can be made of. Both may block for a round trip to the database, and raise for it."""

    def find_template(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        """Return a version of a template, the newest for None."""

    def templates(self) -> Sequence[RegisteredTemplate]:
        """Return those that are known, for a message that names the nearest one."""


class _NoTemplates:
    def find_template(self, *_: object) -> None:
        return None

    def templates(self) -> Sequence[RegisteredTemplate]:
        return ()


NO_TEMPLATES: Final[TaskTemplates] = _NoTemplates()
"""Where no task can be started."""
