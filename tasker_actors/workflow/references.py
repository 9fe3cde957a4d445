"""Checks what a template refers to outside its file: handlers and publishers (SPEC 5)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tasker_actors.errors import Fault
from tasker_actors.workflow.nearest import hint
from tasker_actors.workflow.template import HandlerSpec, TaskTemplate

DEFAULT_PUBLISHER = "default"


def check_references(
    template: TaskTemplate,
    *,
    file: str,
    handler_exists: Callable[[HandlerSpec], str | None],
    publishers: Collection[str],
) -> list[Fault]:
    """Return an error for each handler that cannot be used, and a warning for each publisher that is not known.

    `handler_exists` returns None for a handler that can be used, else what is wrong with it. An event with an unknown
    publisher is published by the default one. `settle` makes the warnings errors where templates are read strictly.
    """
    faults: list[Fault] = []
    for step in template.steps:
        reason = handler_exists(step.handler)
        if reason is not None:
            faults.append(Fault(file, step.name, "handler.callable", reason))
        for index, declaration in enumerate(step.publishes_events):
            publisher = declaration.publisher
            if publisher is None or publisher == DEFAULT_PUBLISHER or publisher in publishers:
                continue
            message = f"no publisher {publisher!r} was found{hint(publisher, publishers)}, the default one is used"
            faults.append(Fault(file, step.name, f"publishes_events[{index}].publisher", message, "warning"))
    return faults
