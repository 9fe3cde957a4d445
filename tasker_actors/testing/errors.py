"""What is wrong with how a test uses the kit."""

from __future__ import annotations

from tasker_actors.errors import TaskerError


class KitError(TaskerError):
    """A test asks for what cannot be; it ends the run, also where it is raised inside a handler."""


class ContextRefusedError(KitError):
    """A task's context does not fit the template's `input_schema`: nothing would be created (SPEC 8, 422)."""
