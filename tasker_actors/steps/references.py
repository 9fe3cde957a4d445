"""What loaded templates name that this process's modules do not have."""

from __future__ import annotations

from tasker_actors.errors import Fault, TaskerError
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.workflow.load import LoadedTemplates
from tasker_actors.workflow.references import check_references
from tasker_actors.workflow.template import HandlerSpec


def reference_faults(loaded: LoadedTemplates, registry: HandlerRegistry) -> list[Fault]:
    """Return an error for each unusable handler and a warning for each unknown publisher, of all templates."""

    def handler_fault(spec: HandlerSpec) -> str | None:
        try:
            registry.resolve(spec)
        except TaskerError as error:
            return str(error)
        return None

    return [
        fault
        for template in loaded.templates
        for fault in check_references(
            template,
            file=loaded.files[template.identity],
            handler_exists=handler_fault,
            publishers=registry.publishers,
        )
    ]
