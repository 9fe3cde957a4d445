"""From template files to what this supervisor runs: checked against its handlers, registered, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasker_actors.errors import HandlerNotFoundError
from tasker_actors.postgres.session import Pool, session
from tasker_actors.postgres.templates import register_template
from tasker_actors.settings import Settings
from tasker_actors.steps.references import reference_faults
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.workflow.faults import settle
from tasker_actors.workflow.load import load_templates
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.template import TaskTemplate

logger = get_logger("tasker_actors.templates")


def read_templates(settings: Settings, registry: HandlerRegistry, paths: Sequence[Path]) -> list[TaskTemplate]:
    """Load all template files and check what they refer to; needs no database.

    Raises TemplateError with every fault of every file, and HandlerNotFoundError where only handlers are missing.
    """
    loaded = load_templates(
        paths,
        environment=settings.environment,
        strict=settings.templates.strict,
        max_decision_depth=settings.decisions.max_depth,
    )
    faults = reference_faults(loaded, registry)
    missing = [fault for fault in faults if fault.severity == "error"]
    if missing:
        raise HandlerNotFoundError("\n".join(str(fault) for fault in missing))
    for fault in [*loaded.warnings, *settle(faults, strict=settings.templates.strict)]:
        logger.warning("Template warning", fault=str(fault))
    return loaded.templates


def register_templates(pool: Pool, templates: Sequence[TaskTemplate], *, environment: str) -> list[RegisteredTemplate]:
    """Register templates; a changed content of a known version is refused outside of development (SPEC 5)."""
    registered = []
    for template in templates:
        with session(pool) as connection:
            one, fault = register_template(connection, template, accept_changed_content=environment == "development")
        if fault is not None:
            logger.warning("Template warning", fault=str(fault))
        registered.append(one)
    return registered
