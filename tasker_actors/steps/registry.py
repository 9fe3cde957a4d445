"""Every handler, publisher and subscriber of a process, found in users' modules; nothing is global."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tasker_actors.errors import HandlerNotFoundError, StartupError
from tasker_actors.events.discovery import publishers_in, subscribers_in
from tasker_actors.events.publisher import BasePublisher
from tasker_actors.events.subscriber import SubscriberSpec
from tasker_actors.events.text import described
from tasker_actors.native.reference import NATIVE_PREFIX, NativeReference
from tasker_actors.steps.bound import BoundHandler, bind_function, bind_method, place_of, require_method
from tasker_actors.steps.declaration import declaration_of
from tasker_actors.steps.discovery import HandlerTarget, handlers_in
from tasker_actors.steps.handler import StepHandler
from tasker_actors.steps.modules import import_module, is_missing
from tasker_actors.steps.resolvers.chain import ResolverChain
from tasker_actors.steps.resolvers.definition import HandlerDefinition
from tasker_actors.steps.resolvers.discovery import resolvers_in
from tasker_actors.steps.resolvers.resolver import ask
from tasker_actors.workflow.nearest import hint

if TYPE_CHECKING:
    from tasker_actors.steps.native_handlers import NativeHandlers
    from tasker_actors.workflow.template import HandlerSpec

_BY_NAME = "explicit_mapping"
_BY_PATH = "class_lookup"
_RESOLVERS = (None, "", "default", _BY_NAME, _BY_PATH)
"""tasker-py's built-in resolvers: its templates name them to look in one place only."""

_FIRST, _NAMES, _PATHS, _LAST = float("-inf"), 10, 100, float("inf")
"""Priorities: registered names are looked up at 10 and import paths at 100; users' resolvers have any."""


class HandlerRegistry:
    """Finds what a template's `handler` stands for; safe to use from several threads.

    A handler class is made once, without arguments, or once for each `initialization` where its constructor requires
    `config`. What was found is kept, so that `resolve` is one dict lookup from the second call on.
    """

    def __init__(
        self,
        handlers: Mapping[str, HandlerTarget],
        publishers: Mapping[str, BasePublisher],
        subscribers: Sequence[SubscriberSpec],
        native: NativeHandlers | None = None,
        resolvers: ResolverChain | None = None,
    ) -> None:
        self.publishers = dict(publishers)
        self.subscribers = list(subscribers)
        self._handlers = dict(handlers)
        self._native = native
        self._resolvers = ResolverChain() if resolvers is None else resolvers
        self._lock = RLock()
        self._objects: dict[tuple[type, str], Any] = {}
        self._bound: dict[tuple[str, str | None, str | None], BoundHandler] = {}

    @classmethod
    def from_modules(cls, modules: Sequence[ModuleType], native: NativeHandlers | None = None) -> HandlerRegistry:
        """Collect what the modules define; StartupError for a duplicate name or a function that cannot be called.

        `native` finds handlers in shared libraries; without it there are none.
        """
        handlers = handlers_in(modules)
        for handler in handlers.values():
            if not isinstance(handler, type):
                _bind_decorated(handler)
        return cls(handlers, publishers_in(modules), subscribers_in(modules), native, resolvers_in(modules))

    @property
    def handler_names(self) -> tuple[str, ...]:
        """The registered names, sorted."""
        return tuple(sorted(self._handlers))

    def resolve(self, spec: HandlerSpec) -> BoundHandler:
        """Find a handler by its registered name, else by import path (SPEC 5), or by a resolver of the user's own.

        May import a module, and make an object of a user's class, in the calling thread. Raises HandlerNotFoundError
        with the nearest known names, or with what is wrong with the handler that was found.
        """
        key = (spec.callable, spec.method, spec.resolver)
        bound = self._bound.get(key)
        if bound is not None:
            return bound
        with self._lock:
            bound = self._bound.get(key)  # Another thread may have found it meanwhile.
            if bound is None:
                bound, depends_on_configuration = self._find(spec)
                if not depends_on_configuration:
                    self._bound[key] = bound
        return bound

    def _find(self, spec: HandlerSpec) -> tuple[BoundHandler, bool]:
        if spec.callable.startswith(NATIVE_PREFIX):
            return self._native_handler(spec), False
        found = self._custom(spec, _FIRST, _NAMES)
        if found is not None:
            return self._bind(found, spec)[0], True
        if spec.resolver not in _RESOLVERS:
            raise self._not_found(spec.callable, f"resolver {spec.resolver!r} does not find it")
        found = self._handlers.get(spec.callable) if spec.resolver != _BY_PATH else None
        if found is not None:
            return self._bind(found, spec)
        found = self._custom(spec, _NAMES, _PATHS)
        if found is not None:
            return self._bind(found, spec)[0], True
        try:
            found = self._imported(spec)
        except HandlerNotFoundError:
            found = self._custom(spec, _PATHS, _LAST)
            if found is None:
                raise
            return self._bind(found, spec)[0], True
        return self._bind(found, spec)

    def _bind(self, target: Any, spec: HandlerSpec) -> tuple[BoundHandler, bool]:
        """Bind what was found; True where that holds for this `initialization` alone."""
        if declaration_of(target) is not None or inspect.isfunction(target):
            return _bind_decorated(target), False
        method = spec.method or "call"
        require_method(target if isinstance(target, type) else type(target), method)
        own = False
        if isinstance(target, type):
            target, own = self._object(target, spec)
        name = target.name if isinstance(target, StepHandler) else spec.callable
        return bind_method(target, method, name), own

    def _custom(self, spec: HandlerSpec, low: float, high: float) -> Any:
        """Ask users' resolvers: those of these priorities, or the one that the spec names, in its first turn."""
        named = spec.resolver not in (None, "", "default")
        resolver = self._resolvers.get_resolver(str(spec.resolver)) if named else None
        if named and resolver is None and spec.resolver not in _RESOLVERS:
            names = [*filter(None, _RESOLVERS), *self._resolvers.resolver_names]
            msg = (
                f"handler {spec.callable!r}: there is no resolver {spec.resolver!r}"
                f"{hint(str(spec.resolver), names)}; leave the key out, or use {', '.join(names)}"
            )
            raise HandlerNotFoundError(msg)
        if named and (resolver is None or low is not _FIRST):
            return None
        definition = HandlerDefinition(spec.callable, spec.method, spec.resolver, dict(spec.initialization))
        try:
            if resolver is not None:
                return ask(resolver, definition, {}, hinted=True)
            return self._resolvers.find_between(low, high, definition, {})
        except (Exception, SystemExit) as error:  # A user's resolver can raise anything.
            msg = f"handler {spec.callable!r}: a resolver raised {described(error)}"
            raise HandlerNotFoundError(msg) from error

    def _native_handler(self, spec: HandlerSpec) -> BoundHandler:
        for key, value, allowed in (("method", spec.method, (None, "", "call")), ("resolver", spec.resolver, (None,))):
            if value not in allowed:
                msg = f"handler {spec.callable!r} is native and has no {key} {value!r}; leave the key out"
                raise HandlerNotFoundError(msg)
        if self._native is None:
            msg = f"handler {spec.callable!r}: native handlers are not loaded here"
            raise HandlerNotFoundError(msg)
        return self._native.bind(NativeReference.parse(spec.callable))

    def _imported(self, spec: HandlerSpec) -> Any:
        path = spec.callable
        module_name, separator, attributes = path.partition(":")
        if not separator:
            module_name, _, attributes = path.rpartition(".")
        if spec.resolver == _BY_NAME or not module_name or not attributes:
            raise self._not_found(path, "it is not registered")
        try:
            target: Any = import_module(module_name)
        except StartupError as error:
            if is_missing(module_name, error):
                raise self._not_found(path, f"it is not registered, and {error}") from error
            msg = f"handler {path!r}: {error}"
            raise HandlerNotFoundError(msg) from error
        for attribute in attributes.split("."):
            target = getattr(target, attribute, None)
        if target is None:
            raise self._not_found(path, f"it is not registered, and module {module_name} has no {attributes}")
        if isinstance(target, type):
            return target
        if declaration_of(target) is None and not (inspect.isfunction(target) and _takes_context(target)):
            msg = f"handler {path!r} is neither a class, nor a function with @step_handler or a parameter `context`"
            raise HandlerNotFoundError(msg)
        return target

    def _object(self, handler: type, spec: HandlerSpec) -> tuple[Any, bool]:
        """Return the object of a handler class, and whether it was made for this `initialization` alone."""
        with_configuration = _needs_configuration(handler, spec.callable)
        arguments = {"config": dict(spec.initialization)} if with_configuration else {}
        key = (handler, json.dumps(arguments, sort_keys=True, default=repr))
        if key not in self._objects:
            try:
                self._objects[key] = handler(**arguments)
            except (Exception, SystemExit) as error:  # A user's constructor can raise anything.
                msg = f"handler {spec.callable!r}: {place_of(handler)} cannot be made: {described(error)}"
                raise HandlerNotFoundError(msg) from error
        return self._objects[key], with_configuration

    def _not_found(self, name: str, why: str) -> HandlerNotFoundError:
        found = f"{len(self._handlers)} handlers are registered" if self._handlers else "none is registered"
        known = hint(name, self._handlers) or f" ({found}; --handlers names their modules)"
        return HandlerNotFoundError(f"there is no handler {name!r}: {why}{known}")


def _bind_decorated(function: Any) -> BoundHandler:
    from_decorators = declaration_of(function)
    return bind_function(function, from_decorators) if from_decorators else bind_function(function)


def _takes_context(function: Any) -> bool:
    return bool({"context", "_context"} & set(inspect.signature(function).parameters))


def _needs_configuration(handler: type, name: str) -> bool:
    if inspect.isabstract(handler):
        missing = ", ".join(sorted(getattr(handler, "__abstractmethods__", ())))
        msg = f"handler {name!r}: class {place_of(handler)} is abstract; write its {missing}"
        raise HandlerNotFoundError(msg)
    for arguments in ({}, {"config": None}):
        try:
            inspect.signature(handler).bind(**arguments)
        except (TypeError, ValueError):  # ValueError: a class of an extension module shows no signature.
            continue
        return bool(arguments)
    msg = f"handler {name!r}: the constructor of {place_of(handler)} must take no arguments, or `config` alone"
    raise HandlerNotFoundError(msg)
