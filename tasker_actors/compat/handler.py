"""`tasker_core.handler`: the registry that tasker-py's modules register handlers and resolvers with by hand."""

from __future__ import annotations

from threading import Lock
from typing import Any, ClassVar

from tasker_actors.steps.handler import StepHandler
from tasker_actors.steps.resolvers.builtin import ExplicitMappingResolver
from tasker_actors.steps.resolvers.chain import ResolverChain
from tasker_actors.steps.resolvers.definition import HandlerDefinition
from tasker_actors.steps.resolvers.resolver import BaseResolver

_CREATION = Lock()


class HandlerRegistry:
    """One for a process, as in tasker-py; the runtime itself finds handlers in modules and asks this one last."""

    _instance: ClassVar[HandlerRegistry | None] = None

    def __init__(self) -> None:
        self.resolver_chain = ResolverChain([ExplicitMappingResolver()])

    @classmethod
    def instance(cls, skip_bootstrap: bool = False) -> HandlerRegistry:  # noqa: ARG003, FBT001, FBT002 - tasker-py's argument
        """Return the process's registry."""
        with _CREATION:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    @classmethod
    def reset_instance(cls) -> None:
        """Forget the process's registry, for tests."""
        with _CREATION:
            cls._instance = None

    def register(self, name: str, handler_class: type[StepHandler]) -> None:
        """Let a name stand for a handler class; ValueError for anything else."""
        given: Any = handler_class
        if not isinstance(given, type) or not issubclass(given, StepHandler):
            msg = f"{given!r} cannot be the handler {name!r}: it is no class derived from StepHandler"
            raise ValueError(msg)
        self.resolver_chain.register(name, handler_class)

    def unregister(self, name: str) -> bool:
        """Forget a name; returns whether it was known."""
        return bool(self.resolver_chain.explicit_resolver.unregister(name))

    def add_resolver(self, resolver: BaseResolver) -> None:
        """Ask this resolver too."""
        self.resolver_chain.add_resolver(resolver)

    def resolve(self, handler_spec: str | dict[str, Any] | HandlerDefinition) -> Any:
        """Return the handler of a name, a template's `handler` or a definition; None where nobody finds it."""
        if isinstance(handler_spec, str):
            handler_spec = HandlerDefinition.from_callable(handler_spec)
        elif isinstance(handler_spec, dict):
            handler_spec = HandlerDefinition.from_dict(handler_spec)
        return self.resolver_chain.resolve(handler_spec)

    def is_registered(self, name: str) -> bool:
        """Tell whether a name was registered."""
        return name in self.list_handlers()

    def list_handlers(self) -> list[str]:
        """Return the names that were registered, sorted."""
        return self.resolver_chain.registered_callables()

    def handler_count(self) -> int:
        """Return how many there are."""
        return len(self.list_handlers())

    def clear(self) -> None:
        """Forget all names."""
        for name in self.list_handlers():
            self.unregister(name)


class _Registered(BaseResolver):
    """Finds what was registered by hand, after everything else."""

    @property
    def name(self) -> Any:
        """What a template's `resolver` names."""
        return "tasker_core"

    @property
    def priority(self) -> Any:
        """Behind names and before import paths, so that a name with dots is not taken for a path."""
        return 90

    def can_resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> bool:  # noqa: ARG002 - the contract
        """Ask all of them; the answer comes with `resolve`."""
        return definition.resolver in (None, "", "default", self.name)

    def resolve(self, definition: HandlerDefinition, config: dict[str, Any] | None = None) -> Any:
        """Return the handler, or None."""
        asked = HandlerDefinition(definition.callable, definition.handler_method, None, definition.initialization)
        return HandlerRegistry.instance().resolver_chain.find(asked, config or {})


def registered_handlers() -> BaseResolver:
    """Return a resolver that finds what modules registered by hand."""
    return _Registered()


__all__ = ["HandlerRegistry", "StepHandler"]
