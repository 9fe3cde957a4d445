"""Resolvers in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Iterable
from threading import RLock
from typing import Any, Self

from tasker_actors.errors import HandlerNotFoundError
from tasker_actors.steps.resolvers.builtin import ClassLookupResolver, ExplicitMappingResolver
from tasker_actors.steps.resolvers.definition import HandlerDefinition, MethodDispatchWrapper
from tasker_actors.steps.resolvers.resolver import ask, name_of, priority_of
from tasker_actors.workflow.nearest import hint


class ResolutionError(HandlerNotFoundError):
    """A resolver could not find a handler."""


class ResolverNotFoundError(ResolutionError):
    """A template names a resolver that does not exist."""


class ResolverChain:
    """Asks resolvers by ascending priority, those of one priority in the order they came. Safe to use from threads."""

    def __init__(self, resolvers: Iterable[Any] = ()) -> None:
        self._lock = RLock()
        self._resolvers: list[Any] = []
        for resolver in resolvers:
            self.add_resolver(resolver)

    @classmethod
    def default(cls) -> Self:
        """Make a chain of names and import paths."""
        return cls([ExplicitMappingResolver(), ClassLookupResolver()])

    def add_resolver(self, resolver: Any) -> Self:
        """Add a resolver, in place of one with its name."""
        with self._lock:
            self.remove_resolver(name_of(resolver))
            self._resolvers = sorted([*self._resolvers, resolver], key=priority_of)
        return self

    def remove_resolver(self, name: str) -> Any:
        """Remove a resolver and return it, or None."""
        with self._lock:
            found = self.get_resolver(name)
            self._resolvers = [resolver for resolver in self._resolvers if resolver is not found]
        return found

    def get_resolver(self, name: str) -> Any:
        """Return the resolver of a name, or None."""
        return next((resolver for resolver in self._resolvers if name_of(resolver) == name), None)

    @property
    def explicit_resolver(self) -> Any:
        """The resolver by names, or None."""
        return self.get_resolver("explicit_mapping")

    def register(self, key: str, handler: Any) -> Self:
        """Let a name stand for a handler; ResolutionError where the chain has no resolver by names."""
        explicit = self.explicit_resolver
        if explicit is None:
            raise ResolutionError(
                f"cannot register {key!r}: this chain has no explicit_mapping; add one, or use default()"
            )
        explicit.register(key, handler)
        return self

    def resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> Any:
        """Return the handler, its `call` being the definition's method; None where nobody finds it or has that method.

        A `resolver` of the definition alone is asked where there is one: ResolverNotFoundError for an unknown name.
        """
        found = self.find(definition, config or {})
        return None if found is None else self.wrap_for_method_dispatch(found, definition)

    def wrap_for_method_dispatch(self, handler: Any, definition: HandlerDefinition) -> Any:
        """Return a handler whose `call` is the definition's method; None where it has no such method."""
        if not definition.uses_method_dispatch():
            return handler
        method = definition.effective_method()
        return MethodDispatchWrapper(handler, method) if callable(getattr(handler, method, None)) else None

    def find(self, definition: HandlerDefinition, config: dict[str, Any]) -> Any:
        """Return what the first resolver finds that finds anything, or None; as it is, whatever the method."""
        if definition.resolver:
            resolver = self.get_resolver(definition.resolver)
            if resolver is None:
                names = self.resolver_names
                known = hint(definition.resolver, names) or f"; there are {', '.join(names) or 'none'}"
                raise ResolverNotFoundError(f"there is no resolver {definition.resolver!r}{known}")
            return ask(resolver, definition, config, hinted=True)
        return self.find_between(float("-inf"), float("inf"), definition, config)

    def find_between(self, low: float, high: float, definition: HandlerDefinition, config: dict[str, Any]) -> Any:
        """Do the same with the resolvers whose priority is at least `low` and below `high`."""
        asked = (one for one in self._resolvers if low <= priority_of(one) < high)
        return next((found for one in asked if (found := ask(one, definition, config)) is not None), None)

    def can_resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> bool:
        """Tell whether the handler is found; also False for the name of a resolver that does not exist."""
        if definition.resolver and self.get_resolver(definition.resolver) is None:
            return False
        return self.find(definition, config or {}) is not None

    def registered_callables(self) -> list[str]:
        """Return the names that the resolvers know, sorted."""
        return sorted({name for resolver in self._resolvers for name in resolver.registered_callables()})

    @property
    def resolver_names(self) -> list[str]:
        """The resolvers' names in the order in which they are asked."""
        return [name_of(resolver) for resolver in self._resolvers]

    def list_resolvers(self) -> list[tuple[str, int]]:
        """Return the resolvers' names and priorities in that order."""
        return [(name_of(resolver), priority_of(resolver)) for resolver in self._resolvers]

    def chain_info(self) -> list[dict[str, Any]]:
        """Describe the resolvers in that order."""
        return [
            {"name": name_of(one), "priority": priority_of(one), "callables": len(one.registered_callables())}
            for one in self._resolvers
        ]

    def __len__(self) -> int:
        return len(self._resolvers)
