"""Users' own pykka actors under the same supervision as ours (DESIGN 2)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pykka

from tasker_actors.actors.actor import Actor
from tasker_actors.actors.address import MAILBOX_FULL, LocalAddress
from tasker_actors.actors.errors import ActorUnavailableError
from tasker_actors.actors.system import ActorSystem
from tasker_actors.actors.wire import MessageRegistry
from tasker_actors.errors import StartupError


@dataclass(frozen=True, slots=True)
class _FromReference:
    """A message that came through a pykka reference: pykka's envelope around it."""

    envelope: Any


class _Inbox:
    """Stands where pykka expects the actor's inbox, and puts into our mailbox, so that one order holds for all."""

    def __init__(self, address: LocalAddress) -> None:
        self._address = address

    def put(self, envelope: Any) -> None:
        """Take what an `ActorRef` sends; one who asks an actor that cannot keep up gets an ActorUnavailableError."""
        if envelope.reply_to is not None and self._address.is_full:
            try:
                message = f"actor {self._address.path} gives no answer: {MAILBOX_FULL}"
                raise ActorUnavailableError(message)
            except ActorUnavailableError:
                envelope.reply_to.set_exception()
            return
        self._address.tell(_FromReference(envelope))


class HostedPykkaActor(Actor):
    """Runs a user's actor in our host's thread, without a thread or an inbox of its own.

    Its methods, `actor_ref`, proxies and `stop()` work as under pykka. A failure differs: a new instance goes on with
    the same mailbox, and references to the old one reach the new one.
    """

    def __init__(self, make: Callable[[], pykka.ThreadingActor]) -> None:
        self._make = make
        self._pykka: pykka.ThreadingActor

    def on_start(self) -> None:
        """Make the user's actor and run its `on_start`."""
        actor = self._pykka = self._make()
        inbox: Any = _Inbox(self.address)
        actor.actor_inbox = inbox
        actor.actor_ref.actor_inbox = inbox
        actor.on_start()

    def receive(self, message: Any) -> Any:
        """Let the user's actor handle a message; one that came through its reference is answered there."""
        answer = None
        if isinstance(message, _FromReference):
            self._receive_from_reference(message.envelope)
        else:
            answer = self._pykka.on_receive(message)
        if self._pykka.actor_stopped.is_set():
            self.stop()
        return answer

    def on_stop(self) -> None:
        """Run the user's `on_stop`, unless the actor has stopped itself."""
        if not self._pykka.actor_stopped.is_set():
            self._pykka.actor_stopped.set()
            self._pykka.on_stop()

    def on_failure(self, error: BaseException) -> None:
        """Run the user's `on_failure`."""
        self._pykka.on_failure(type(error), error, error.__traceback__)

    def _receive_from_reference(self, envelope: Any) -> None:
        try:
            answer = self._pykka._handle_receive(envelope.message)  # noqa: SLF001 - for pykka's own messages
        except BaseException as error:
            if envelope.reply_to is not None:
                envelope.reply_to.set_exception()
                if isinstance(error, Exception):
                    return
            raise
        if envelope.reply_to is not None:
            envelope.reply_to.set(answer)


def hosted(actor_class: type[pykka.ThreadingActor], *args: Any, **kwargs: Any) -> Callable[[], HostedPykkaActor]:
    """Make a factory for `ActorSystem.start` out of a pykka actor class and the arguments it is made with."""
    return lambda: HostedPykkaActor(lambda: actor_class(*args, **kwargs))


@dataclass(frozen=True, slots=True)
class ConfiguredActor:
    """An actor of the `[actors]` configuration, found and not started yet."""

    name: str
    factory: Callable[[], Actor]


def load_configured(actors: Mapping[str, str], registry: MessageRegistry) -> list[ConfiguredActor]:
    """Import the actors of the `[actors]` configuration, name = `module:Class`, and let their `messages` travel.

    A class is one of ours (`tasker_actors.actors.Actor`) or any `pykka.ThreadingActor`. Its `messages` travel under
    their full names, so they cannot be taken for the runtime's own; only workers know them, the supervisor passes them
    on as they are. Raises StartupError for a path that names neither kind of class, and for what cannot travel.
    """
    found = []
    for name, path in actors.items():
        actor = _actor_class(name, path)
        try:
            for message in getattr(actor, "messages", ()):
                registry.register(message, f"{message.__module__}:{message.__qualname__}")
        except (AttributeError, TypeError, ValueError) as error:
            msg = f"actors.{name}: `messages` of {path} must be frozen dataclasses that can be written as JSON: {error}"
            raise StartupError(msg) from error
        found.append(ConfiguredActor(name, actor if issubclass(actor, Actor) else hosted(actor)))
    return found


def start_configured(system: ActorSystem, actors: Iterable[ConfiguredActor], *, mailbox_size: int) -> None:
    """Start configured actors, each made without arguments; StartupError for one that does not start.

    Nothing bounds who sends to them, so their mailboxes take `mailbox_size` messages.
    """
    for actor in actors:
        system.start(actor.name, actor.factory, mailbox_size=mailbox_size)


def _actor_class(name: str, path: str) -> type[Actor] | type[pykka.ThreadingActor]:
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        msg = f"actors.{name}: {path} cannot be imported: {error}"
        raise StartupError(msg) from error
    if isinstance(found, type) and issubclass(found, (Actor, pykka.ThreadingActor)):
        return found
    msg = f"actors.{name}: {path} is neither a tasker_actors Actor nor a pykka.ThreadingActor"
    raise StartupError(msg)
