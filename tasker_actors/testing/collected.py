"""Everything that a test gives as the code of its templates: modules, their names, or single handlers and the like."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from tasker_actors.events.discovery import publishers_in, spec_of_subscriber, subscribers_in
from tasker_actors.events.outgoing import PublisherError, checked_name
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.events.subscriber import MARK, BaseSubscriber, SubscriberSpec
from tasker_actors.steps.bound import place_of
from tasker_actors.steps.declaration import declaration_of
from tasker_actors.steps.discovery import handlers_in
from tasker_actors.steps.handler import StepHandler
from tasker_actors.steps.modules import import_modules
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.testing.errors import KitError


@dataclass(slots=True)
class Code:
    """What runs a template in a test: as a worker would find it in modules, and what a test puts in the place of it."""

    registry: HandlerRegistry
    by_callable: Mapping[str, Any] = field(default_factory=dict)
    """What stands for what templates name, before the handlers of the registry."""


def collect(given: Any) -> Code:
    """Find handlers, publishers and subscribers in what a test gives, by the rules by which a worker finds them.

    `given` is a module, the dotted name of one, a class, a function or an object of a class of yours, several of
    these, or a mapping from what templates name as `callable` to what stands for it. Raises KitError for what is none,
    and StartupError as a worker would.
    """
    collector = _Collector()
    for each in _each(given):
        collector.add(each)
    return collector.code()


def _each(given: Any) -> Iterable[Any]:
    if given is None:
        return ()
    return given if isinstance(given, list | tuple | set | frozenset) else (given,)


class _Collector:
    def __init__(self) -> None:
        self._modules: list[ModuleType] = []
        self._single = ModuleType("what the test gives")
        self._handlers: dict[str, StepHandler] = {}
        self._publishers: dict[str, BasePublisher] = {}
        self._subscribers: list[SubscriberSpec] = []
        self._by_callable: dict[str, Any] = {}

    def add(self, given: Any) -> None:
        match given:
            case str():
                self._modules += import_modules([given])
            case ModuleType():
                self._modules.append(given)
            case Mapping():
                self._by_callable.update(given)
            case StepHandler():
                self._handlers[given.name] = given
            case BasePublisher():
                self._publishers[checked_name(given)] = given
            case BaseSubscriber():
                self._subscribers.append(spec_of_subscriber(given))
            case _:
                self._add_definition(given)

    def code(self) -> Code:
        modules = [*self._modules, self._single]
        found = publishers_in(modules)
        for name in self._publishers.keys() & found.keys():
            raise PublisherError(f"publisher {name!r} is given twice, as a class and as an object; give one of them")
        registry = HandlerRegistry(
            {**handlers_in(modules), **self._handlers},
            {**found, **self._publishers},
            [*subscribers_in(modules), *self._subscribers],
        )
        return Code(registry, self._by_callable)

    def _add_definition(self, given: Any) -> None:
        kinds = (StepHandler, BasePublisher, BaseSubscriber)
        is_class = inspect.isclass(given) and issubclass(given, kinds) and not inspect.isabstract(given)
        if isinstance(given, type) and issubclass(given, StepHandler) and not given.handler_name:
            raise KitError(
                f"handler class {place_of(given)} has no handler_name that a template could name:"
                ' give {"what the template names": ' + given.__name__ + "}"
            )
        if not is_class and declaration_of(given) is None and not hasattr(given, MARK):
            raise KitError(
                f"{given!r} is no handler, publisher or subscriber: give a module, a class derived from StepHandler,"
                " BasePublisher or BaseSubscriber, a function with @step_handler or @subscriber, or a mapping from"
                " what a template names as `callable` to what stands for it"
            )
        vars(self._single)[f"given_{len(vars(self._single))}"] = given
