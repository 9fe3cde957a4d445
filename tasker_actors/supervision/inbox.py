"""The bridge from the actor world to a process's main thread, which is no actor."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Any

from tasker_actors.actors import Actor

Inbox = queue.SimpleQueue[Any]
"""What the main thread waits on: messages of actors, and what signal handlers and callbacks put there."""


@dataclass(frozen=True, slots=True)
class ActorLost:
    """Actor system → main thread: an actor of this process failed for good, and nobody does its work any more."""

    actor: str
    reason: str


class Forwarder(Actor):
    """Puts every message into the main thread's inbox, with what it is about: in the supervisor, an incarnation."""

    def __init__(self, inbox: Inbox, subject: object) -> None:
        self._inbox = inbox
        self._subject = subject

    def receive(self, message: object) -> None:
        """Forward one message."""
        self._inbox.put((self._subject, message))
