"""What a supervisor knows of native code, without loading any: files, patterns, and what its workers must load."""

from __future__ import annotations

from collections.abc import Iterable

from tasker_actors.delivery.patterns import PatternIndex
from tasker_actors.errors import NativeLibraryError
from tasker_actors.native.bridge import WantedHandler
from tasker_actors.native.files import locate
from tasker_actors.native.reference import NATIVE_PREFIX, NativeReference
from tasker_actors.settings import NativeSettings
from tasker_actors.workflow.template import TaskTemplate


def check_subscribers(settings: NativeSettings) -> None:
    """Check files and patterns of native subscribers; NativeLibraryError or PatternError names the subscriber."""
    for subscriber in settings.subscribers:
        name = f"native.subscribers: {subscriber.library}#{subscriber.symbol}"
        PatternIndex((name, pattern) for pattern in subscriber.patterns)
        try:
            locate(settings.directory, subscriber.library)
        except NativeLibraryError as error:
            msg = f"{name}: {error}"
            raise NativeLibraryError(msg) from error


def wanted_handlers(templates: Iterable[TaskTemplate]) -> tuple[WantedHandler, ...]:
    """List the native handlers that templates name, each once, with the step that names it first."""
    wanted: dict[NativeReference, WantedHandler] = {}
    for template in templates:
        for step in template.steps:
            if step.handler.callable.startswith(NATIVE_PREFIX):
                reference = NativeReference.parse(step.handler.callable)
                namespace, name, version = template.identity
                needed_by = f"template {namespace}/{name}@{version}, step {step.name}"
                wanted.setdefault(reference, WantedHandler(reference.path, reference.symbol, needed_by))
    return tuple(wanted.values())
