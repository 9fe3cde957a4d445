"""What a resolver is asked for, and a handler whose `call` is another of its methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class HandlerDefinition:
    """The `handler` of a template's step; `handler_method` is its key `method`, `resolver` names the one to ask."""

    callable: str
    handler_method: str | None = None
    resolver: str | None = None
    initialization: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_callable(cls, callable_str: str) -> Self:
        """Make one that says nothing but the handler's name or path."""
        return cls(callable_str)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> Self:
        """Make one of a template's `handler`."""
        given = data or {}
        return cls(
            given.get("callable", ""), given.get("method"), given.get("resolver"), given.get("initialization") or {}
        )

    def effective_method(self) -> str:
        """Return the method that is called."""
        return self.handler_method or "call"

    def uses_method_dispatch(self) -> bool:
        """Tell whether that is another than `call`."""
        return self.effective_method() != "call"

    def has_resolver_hint(self) -> bool:
        """Tell whether one resolver alone is to be asked."""
        return bool(self.resolver)


class MethodDispatchWrapper:
    """A handler whose `call` is another of its methods; AttributeError where it has no such method."""

    def __init__(self, handler: Any, target_method: str) -> None:
        self._call = getattr(handler, target_method)
        self.handler = handler
        self.target_method = target_method

    @property
    def name(self) -> str:
        """The handler's name."""
        return str(getattr(self.handler, "name", type(self.handler).__name__))

    def call(self, context: Any) -> Any:
        """Call the method; a coroutine where it is async."""
        return self._call(context)

    def unwrap(self) -> Any:
        """Return the handler itself."""
        return self.handler
