"""The contract of a resolver, and the class that most resolvers of one's own derive from."""

from __future__ import annotations

import asyncio
import inspect
import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from tasker_actors.steps.resolvers.definition import HandlerDefinition


class BaseResolver(ABC):
    """Finds handlers by rules of its own.

    Resolvers are asked by ascending `priority`: registered names are found at 10, import paths at 100. One that is
    defined at the top of a handler module, as a class made without arguments or as an object, is used by the workers.
    `resolve` returns an object with the method to call, a class of such objects, a decorated function, or None where
    it finds nothing; it may be async. Called when a template is bound, never for each step.
    """

    @property
    def name(self) -> Any:
        """What a template's `resolver` names; a method `resolver_name` does as well."""
        return type(self).__name__

    @property
    def priority(self) -> Any:
        """When it is asked, the lower the earlier; may also be a method."""
        return 50

    @abstractmethod
    def can_resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> bool:
        """Tell quickly whether this resolver may know the handler; `config` may be left out of the signature."""

    @abstractmethod
    def resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> Any:
        """Return the handler, or None."""

    def registered_callables(self) -> list[str]:
        """Return the names it knows, for messages."""
        return []


class RegistryResolver(BaseResolver):
    """A resolver for callables with a `prefix` or a regular expression (`pattern`): derive from it.

    Set `_name` and `_priority`, and write `resolve_handler`.
    """

    _name: ClassVar[str] = "custom_resolver"
    _priority: ClassVar[int] = 50
    pattern: ClassVar[str | None] = None
    prefix: ClassVar[str | None] = None

    @property
    def name(self) -> Any:
        """What a template's `resolver` names."""
        return self._name

    @property
    def priority(self) -> Any:
        """When it is asked, the lower the earlier."""
        return self._priority

    def can_resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> bool:  # noqa: ARG002 - the contract
        """Tell whether pattern or prefix fit; without either nothing does."""
        if self.pattern is not None:
            return self._match_pattern(definition.callable) is not None
        return self.prefix is not None and definition.callable.startswith(self.prefix)

    def resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> Any:
        """Return what `resolve_handler` finds."""
        return self.resolve_handler(definition, config or {})

    def resolve_handler(self, definition: HandlerDefinition, config: dict[str, Any]) -> Any:  # noqa: ARG002 - what subclasses write
        """Return the handler, or None: this is what a subclass writes."""
        return None

    def _match_pattern(self, callable_str: str) -> re.Match[str] | None:
        return None if self.pattern is None else re.match(self.pattern, callable_str)


def name_of(resolver: Any) -> str:
    """Return a resolver's name, a property or a method."""
    stated = getattr(resolver, "resolver_name", None)
    return str(_value(resolver.name if stated is None else stated))


def priority_of(resolver: Any) -> int:
    """Return a resolver's priority, a property or a method."""
    return int(_value(resolver.priority))


def ask(resolver: Any, definition: HandlerDefinition, config: dict[str, Any], *, hinted: bool = False) -> Any:
    """Return what a resolver finds, or None; it raises what the resolver raises.

    One that a template names is not asked whether it can. Runs a resolver that is async to its end in this thread.
    """
    if not hinted and not _called(resolver.can_resolve, definition, config):
        return None
    found = _called(resolver.resolve, definition, config)
    return asyncio.run(_awaited(found)) if inspect.isawaitable(found) else found


def _called(method: Any, definition: HandlerDefinition, config: dict[str, Any]) -> Any:
    try:
        inspect.signature(method).bind(definition, config)
    except TypeError:
        return method(definition)
    return method(definition, config)


async def _awaited(found: Any) -> Any:
    return await found


def _value(stated: Any) -> Any:
    return stated() if callable(stated) else stated
