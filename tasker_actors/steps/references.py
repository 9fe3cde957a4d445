"""What loaded templates name that this process's modules do not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from tasker_actors.errors import Fault, TaskerError
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.workflow.load import LoadedTemplates
from tasker_actors.workflow.references import check_references
from tasker_actors.workflow.template import HandlerSpec, TaskTemplate

_CALL = (None, "", "call")


def reference_faults(loaded: LoadedTemplates, registry: HandlerRegistry) -> list[Fault]:
    """Return an error for each unusable handler, warnings for unknown publishers and for the `method` of a function."""

    def handler_fault(spec: HandlerSpec) -> str | None:
        try:
            registry.resolve(spec)
        except TaskerError as error:
            return str(error)
        return None

    faults = []
    for template in loaded.templates:
        file = loaded.files[template.identity]
        faults += check_references(template, file=file, handler_exists=handler_fault, publishers=registry.publishers)
        faults += _methods_of_functions(template, file, registry)
    return faults


def _methods_of_functions(template: TaskTemplate, file: str, registry: HandlerRegistry) -> Iterator[Fault]:
    for step in template.steps:
        if step.handler.method in _CALL:
            continue
        with suppress(TaskerError):  # An unusable handler has its own error.
            if registry.resolve(step.handler).is_function:
                message = f"{step.handler.callable} is a function without methods; it is called itself"
                yield Fault(file, step.name, "handler.method", message, "warning")
