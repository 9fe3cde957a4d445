"""The templates of one process by name."""

from __future__ import annotations

from collections.abc import Sequence

from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.versions import version_key


class TemplateIndex:
    """Templates by name; never changes, so any thread may look."""

    def __init__(self, registered: Sequence[RegisteredTemplate]) -> None:
        self.all = tuple(registered)
        self._versions: dict[tuple[str, str, str], RegisteredTemplate] = {}
        self._newest: dict[tuple[str, str], RegisteredTemplate] = {}
        for one in sorted(registered, key=lambda each: version_key(each.template.version)):
            self._versions[one.template.identity] = one
            self._newest[one.template.namespace_name, one.template.name] = one

    def find(self, namespace: str, name: str, version: str | None) -> RegisteredTemplate | None:
        """Return a version of a template, the newest for None."""
        if version is None:
            return self._newest.get((namespace, name))
        return self._versions.get((namespace, name, version))

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces of all of them, in order."""
        return tuple(sorted({one.template.namespace_name for one in self.all}))
