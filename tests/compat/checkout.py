"""Where things are in a checkout of the original."""

from __future__ import annotations

from pathlib import Path

HANDLERS = ("tests.handlers.examples", "tests.handlers.dsl_examples")
ALIAS = "tasker_actors.compat.alias"


class CheckoutError(Exception):
    """A path is no checkout, or one without the examples; the message names what is missing."""


class Checkout:
    """The parts of a checkout that are used; nothing is written to it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.all_templates = self.path / "tests" / "fixtures" / "task_templates"
        self.templates = self.all_templates / "python"
        self.package = self.path / "crates" / "tasker-py"
        self.fixtures = self.path / "tests" / "fixtures"
        for needed in (self.templates, self.package / "tests" / "handlers", self.fixtures / "products.csv"):
            if not needed.exists():
                msg = (
                    f"{self.path} has no {needed.relative_to(self.path)}: give a checkout of tasker-systems/tasker-core"
                )
                raise CheckoutError(msg)

    def filled(self, value: object) -> object:
        """Put the place of the fixtures into a context."""
        if isinstance(value, dict):
            return {key: self.filled(entry) for key, entry in value.items()}
        return value.replace("{fixtures}", str(self.fixtures)) if isinstance(value, str) else value
