"""Find publishers and subscribers in the modules that `--handlers` names, by class and decorator (SPEC 5)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from tasker_actors.errors import StartupError
from tasker_actors.events.event import DomainEvent
from tasker_actors.events.outgoing import PublisherError, checked_name
from tasker_actors.events.publisher import BasePublisher, DefaultPublisher
from tasker_actors.events.subscriber import MARK, BaseSubscriber, SubscriberSpec, call_of
from tasker_actors.events.text import described


class SubscriberError(StartupError):
    """A subscriber cannot be used; the message names it."""


def publishers_in(modules: Iterable[ModuleType]) -> dict[str, BasePublisher]:
    """Make one publisher of every class in the modules, by its name; the default publisher is always there.

    Raises PublisherError for a class that cannot be made without arguments, and for a name that two classes have.
    """
    found: dict[str, BasePublisher] = {DefaultPublisher().publisher_name: DefaultPublisher()}
    for cls in _values(modules):
        if not _is_made_of(cls, BasePublisher) or cls is DefaultPublisher:
            continue
        try:
            publisher = cls()
            name = checked_name(publisher)
        except PublisherError:
            raise
        except Exception as error:
            raise PublisherError(
                f"publisher {_name(cls)} cannot be made without arguments: {described(error)}"
            ) from error
        if name in found:
            raise PublisherError(
                f"publishers {_name(type(found[name]))} and {_name(cls)} are both named {name!r}; rename one"
            )
        found[name] = publisher
    return found


def subscribers_in(modules: Iterable[ModuleType]) -> list[SubscriberSpec]:
    """Find marked functions and BaseSubscriber classes in the order of the modules' namespaces, each once.

    What a module has imported counts too, so that one module can gather those of others. Abstract classes are left out.
    Raises SubscriberError for a class that cannot be made without arguments, or has only one of `handle` and patterns.
    """
    found = []
    for value in _values(modules):
        if _is_made_of(value, BaseSubscriber):
            found.append(_spec_of_class(value))
        elif _lacks_handle(value):
            raise SubscriberError(f"subscriber {_name(value)} has patterns and no handle(event); define one")
        elif not isinstance(value, type) and callable(value) and MARK in getattr(value, "__dict__", ()):
            found.append(_spec_of_function(value))
    return found


def _values(modules: Iterable[ModuleType]) -> Iterator[Any]:
    """Give every object of the modules' namespaces once, in order."""
    seen: set[int] = set()
    for module in modules:
        for value in list(vars(module).values()):
            if id(value) not in seen:
                seen.add(id(value))
                yield value


def _is_made_of(value: Any, base: type) -> bool:
    """Tell whether this is a class to make: a subclass, not `base` itself, with nothing abstract left."""
    return isinstance(value, type) and issubclass(value, base) and value is not base and not inspect.isabstract(value)


def _lacks_handle(value: Any) -> bool:
    """Tell whether a class would be a subscriber, had it a `handle`: one that others derive from is only a base."""
    return (
        isinstance(value, type)
        and issubclass(value, BaseSubscriber)
        and "handle" in getattr(value, "__abstractmethods__", ())
        and not value.__subclasses__()
        and bool(value.subscribes_to())
    )


def _spec_of_function(function: Callable[[DomainEvent], Any]) -> SubscriberSpec:
    patterns = tuple(dict.fromkeys(getattr(function, MARK)))
    return SubscriberSpec(_name(function), patterns, function, inspect.iscoroutinefunction(function))


def spec_of_subscriber(instance: BaseSubscriber) -> SubscriberSpec:
    """Say what the bus needs of a subscriber that is made; SubscriberError where its patterns are none."""
    name = _name(type(instance))
    declared: Any = instance.subscribes_to
    patterns = declared() if callable(declared) else declared
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        raise SubscriberError(f"subscriber {name}: subscribes_to() must return a list of patterns")
    texts = tuple(patterns)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise SubscriberError(
            f'subscriber {name}: subscribes_to() must return one or more patterns, as in ["flight.*"];'
            " make a class that is only a base for others abstract"
        )
    call, is_async = call_of(instance)
    return SubscriberSpec(name, tuple(dict.fromkeys(texts)), call, is_async)


def _spec_of_class(cls: type[BaseSubscriber]) -> SubscriberSpec:
    try:
        return spec_of_subscriber(cls())
    except SubscriberError:
        raise
    except Exception as error:
        raise SubscriberError(
            f"subscriber {_name(cls)} cannot be made without arguments: {described(error)}"
        ) from error


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
