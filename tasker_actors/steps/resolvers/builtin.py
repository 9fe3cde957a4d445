"""tasker-py's two resolvers as objects of their own: handlers by name, and classes by import path."""

from __future__ import annotations

import inspect
import re
from threading import Lock
from typing import Any

from tasker_actors.errors import StartupError
from tasker_actors.steps.modules import import_module
from tasker_actors.steps.resolvers.definition import HandlerDefinition
from tasker_actors.steps.resolvers.resolver import BaseResolver

_CLASS_PATH = re.compile(r"([A-Za-z_]\w*\.)+[A-Z]\w*\Z")


class ExplicitMappingResolver(BaseResolver):
    """Handlers by name: classes, objects, or functions of `config` that make one. Safe to use from several threads."""

    def __init__(self, name: str = "explicit_mapping") -> None:
        self._name = name
        self._handlers: dict[str, Any] = {}
        self._lock = Lock()

    @property
    def name(self) -> Any:
        """What a template's `resolver` names."""
        return self._name

    @property
    def priority(self) -> Any:
        """Names come first."""
        return 10

    def register(self, key: str, handler: Any) -> None:
        """Let a name stand for a handler, in place of what it stood for."""
        with self._lock:
            self._handlers[key] = handler

    def unregister(self, key: str) -> bool:
        """Forget a name; returns whether it was known."""
        with self._lock:
            return self._handlers.pop(key, None) is not None

    def registered_callables(self) -> list[str]:
        """Return the names."""
        return list(self._handlers)

    def can_resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> bool:  # noqa: ARG002 - the contract
        """Tell whether the name is registered."""
        return definition.callable in self._handlers

    def resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> Any:
        """Return the handler of the name, or None."""
        entry = self._handlers.get(definition.callable)
        if isinstance(entry, type):
            return make_handler(entry, definition)
        if callable(entry) and not hasattr(entry, "call"):
            return entry(config or {})
        return entry


class ClassLookupResolver(BaseResolver):
    """Handler classes by import path, `module.Class`."""

    @property
    def name(self) -> Any:
        """What a template's `resolver` names."""
        return "class_lookup"

    @property
    def priority(self) -> Any:
        """Paths come last."""
        return 100

    def can_resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> bool:  # noqa: ARG002 - the contract
        """Tell whether the callable looks like the path of a class."""
        return _CLASS_PATH.match(definition.callable) is not None

    def resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> Any:  # noqa: ARG002 - the contract
        """Import the module and make the class, or return None where one of them does not exist."""
        module_name, _, class_name = definition.callable.rpartition(".")
        try:
            found = getattr(import_module(module_name), class_name, None)
        except StartupError:
            return None
        return make_handler(found, definition) if isinstance(found, type) else None


def make_handler(handler_class: type, definition: HandlerDefinition) -> Any:
    """Make a handler without arguments, or with `config=` where its constructor wants that."""
    try:
        parameters = inspect.signature(handler_class).parameters
    except ValueError:  # A class of an extension module shows no signature.
        return handler_class()
    if "config" in parameters and parameters["config"].default is inspect.Parameter.empty:
        return handler_class(config=definition.initialization)
    return handler_class()
