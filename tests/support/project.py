"""A user's project on disk: handler modules and templates in a directory of their own."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Project:
    """What a user hands to `tasker-actors run`: modules of handlers, publishers and subscribers, and template files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.templates = directory / "templates"
        self.templates.mkdir(parents=True)
        self.modules: list[str] = []

    def module(self, name: str, source: str) -> None:
        """Write a module that is given to the command with `--handlers`."""
        self.file(f"{name}.py", source)
        self.modules.append(name)

    def file(self, name: str, text: str) -> Path:
        """Write any other file; returns its path."""
        path = self.directory / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def template(
        self,
        name: str,
        steps: Mapping[str, Mapping[str, Any]],
        *,
        namespace: str,
        version: str = "1.0.0",
        **keys: Any,
    ) -> Path:
        """Write a template; `steps` has for each name its keys, of which `handler` may be the callable alone."""
        document = {
            "name": name,
            "namespace_name": namespace,
            "version": version,
            **keys,
            "steps": [{"name": step, **_step(step, fields)} for step, fields in steps.items()],
        }
        path = self.templates / f"{namespace}_{name}.yaml"
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")  # JSON is YAML
        return path

    @property
    def arguments(self) -> list[str]:
        """The options that name this project to `tasker-actors run`."""
        return ["--templates", str(self.templates), *(word for one in self.modules for word in ("--handlers", one))]


def _step(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    handler = fields.get("handler", name)
    return {**fields, "handler": {"callable": handler} if isinstance(handler, str) else handler}
