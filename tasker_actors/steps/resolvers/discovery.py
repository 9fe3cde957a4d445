"""Find resolvers in users' modules: classes that can be made without arguments, and objects."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from tasker_actors.errors import StartupError
from tasker_actors.events.text import described
from tasker_actors.steps.bound import place_of
from tasker_actors.steps.resolvers.chain import ResolverChain
from tasker_actors.steps.resolvers.resolver import BaseResolver, name_of

_OWN = "tasker_actors."


def resolvers_in(modules: Iterable[ModuleType]) -> ResolverChain:
    """Collect the resolvers that modules define; those of this package are bases or tools, unless made into objects.

    StartupError for a class that cannot be made without arguments and for a name that two resolvers have.
    """
    values = {id(value): value for module in modules for value in list(vars(module).values())}.values()
    objects = [value for value in values if isinstance(value, BaseResolver)]
    # A module that makes the object itself knows better how.
    made = {type(value) for value in objects}
    classes = [value for value in values if _is_wanted(value) and value not in made]
    chain = ResolverChain()
    for resolver in [*objects, *map(_made, classes)]:
        other = chain.get_resolver(name_of(resolver))
        if other is not None:
            msg = (
                f"resolvers {place_of(type(other))} and {place_of(type(resolver))} are both named"
                f" {name_of(resolver)!r}; rename one"
            )
            raise StartupError(msg)
        chain.add_resolver(resolver)
    return chain


def _is_wanted(value: Any) -> bool:
    if not isinstance(value, type) or not issubclass(value, BaseResolver) or inspect.isabstract(value):
        return False
    # One that others derive from is a base, as RegistryResolver is.
    return not value.__module__.startswith(_OWN) and not value.__subclasses__()


def _made(resolver: type[BaseResolver]) -> BaseResolver:
    try:
        made = resolver()
        name_of(made)
    except Exception as error:
        msg = f"resolver {place_of(resolver)} cannot be made without arguments: {described(error)}"
        raise StartupError(msg) from error
    return made
