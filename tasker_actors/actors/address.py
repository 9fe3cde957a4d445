"""Where a message can be sent: the same two calls for an actor of this process and of another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import pykka

from tasker_actors.actors.envelope import Envelope, Reply
from tasker_actors.actors.errors import ActorUnavailableError
from tasker_actors.actors.reply import Answer
from tasker_actors.telemetry.trace_context import CURRENT, TraceContext

# The full name of the actor whose thread this is; set once in the thread's own context.
ACTING: ContextVar[str | None] = ContextVar("tasker_actors_acting", default=None)


# How that actor finds others; set with it.
FINDING: ContextVar[Callable[[str], ActorAddress] | None] = ContextVar("tasker_actors_finding", default=None)


def actor_address(path: str) -> ActorAddress:
    """Return the address of an actor by its full name, such as `worker-1/tally`, or of one of this process by `tally`.

    For handlers and for actors, users' own included; keep the address for what runs elsewhere. It stands for whoever
    has the name when a message is sent. RuntimeError outside of them; ValueError for what is no name.
    """
    find = FINDING.get()
    if find is None:
        message = "actor_address is for handlers and actors: call it there, and give the address to what runs elsewhere"
        raise RuntimeError(message)
    return find(path)


class ActorAddress(Protocol):
    """Names one actor of any process; both calls are safe from every thread.

    A message sent while an actor handles another carries that one's trace context and correlation id on, unless it
    is given others. Messages from one sender to one actor arrive in the order in which they were sent.
    """

    @property
    def path(self) -> str:
        """The actor's full name, `worker-1/event_router`."""

    def tell(self, message: Any, trace: TraceContext | None = None, correlation_id: str | None = None) -> None:
        """Send a message. What cannot be delivered is counted and reported by the system, not raised.

        To another process: blocks while the queue to it is full, then raises LinkFullError; a message that cannot be
        encoded raises ProtocolError. A crash of that process loses what it had not handled.
        """

    def ask(
        self, message: Any, timeout: float, trace: TraceContext | None = None, correlation_id: str | None = None
    ) -> Any:
        """Send a message and wait up to `timeout` seconds for the answer.

        Raises ActorError if the actor raised, ActorUnavailableError at once if nobody can answer (unknown, stopped,
        its process gone), AskTimeoutError after the time limit; to another process also what `tell` raises.
        """


MAILBOX_FULL = "its mailbox is full"
"""Why a message reached nobody whose actor cannot keep up."""


class Host(Protocol):
    """What an address uses of the host behind it."""

    actor_stopped: threading.Event

    @property
    def actor_ref(self) -> pykka.ActorRef[Any]:
        """Pykka's reference."""

    @property
    def is_accepting(self) -> bool:
        """Whether the actor runs, with a behaviour in place."""

    @property
    def is_full(self) -> bool:
        """Whether as many messages wait as may."""

    @property
    def thread_id(self) -> int | None:
        """The actor's thread."""

    def refuse_waiting(self) -> None:
        """Refuse what waits in the mailbox of a stopped actor."""


def make_envelope(
    message: Any, trace: TraceContext | None, correlation_id: str | None, message_id: int, reply: Reply | None
) -> Envelope:
    """Put a message into an envelope, with what the running code works under where nothing else is given."""
    current = CURRENT.get()
    if current is not None:
        if trace is None:
            trace = current.trace
        if correlation_id is None:
            correlation_id = current.correlation_id
    return Envelope(message, trace, correlation_id, ACTING.get(), message_id, reply)


class LocalAddress:
    """Names one actor of this process; it outlives the actor's restarts, and may exist before the actor."""

    __slots__ = ("_host", "_late", "_next_id", "_undeliverable", "name", "path")

    def __init__(
        self,
        name: str,
        path: str,
        next_id: Callable[[], int],
        undeliverable: Callable[[str, Envelope, str], None],
        late: Callable[[], None],
    ) -> None:
        self.name = name
        self.path = path
        self._next_id = next_id
        self._undeliverable = undeliverable
        self._late = late
        self._host: Host | None = None

    def __repr__(self) -> str:
        return f"<LocalAddress {self.path}>"

    def bind(self, host: Host) -> None:
        """Deliver to this host from now on."""
        self._host = host

    def tell(self, message: Any, trace: TraceContext | None = None, correlation_id: str | None = None) -> None:
        """Put a message into the actor's mailbox; never blocks, never raises."""
        self.deliver(make_envelope(message, trace, correlation_id, self._next_id(), None))

    def ask(
        self, message: Any, timeout: float, trace: TraceContext | None = None, correlation_id: str | None = None
    ) -> Any:
        """Put a message into the actor's mailbox and wait for the answer, as in `ActorAddress`."""
        if self._host is not None and self._host.thread_id == threading.get_ident():
            text = f"actor {self.path} asked itself and could never answer: call the method, or tell"
            raise ActorUnavailableError(text)
        answer = Answer(self.path, self._late)
        self.deliver(make_envelope(message, trace, correlation_id, self._next_id(), answer))
        return answer.wait(timeout)

    def deliver(self, envelope: Envelope) -> None:
        """Put an envelope into the mailbox; refuse it if the actor is unknown or stopped, or its mailbox full."""
        host = self._host
        if host is None:
            self.refuse(envelope, "no actor has that name")
            return
        if host.is_full:
            self.refuse(envelope, MAILBOX_FULL)
            return
        try:
            host.actor_ref.tell(envelope)
        except pykka.ActorDeadError:
            self.refuse(envelope, "the actor has stopped")
            return
        if host.actor_stopped.is_set():
            # It stopped between pykka's look and its put: nobody else would ever take the envelope out.
            host.refuse_waiting()

    @property
    def is_accepting(self) -> bool:
        """Whether a message sent now would be handled soon: the actor runs, and is not waiting to be restarted."""
        return self._host is not None and self._host.is_accepting

    @property
    def is_full(self) -> bool:
        """Whether a message sent now would be refused because too many wait."""
        return self._host is not None and self._host.is_full

    def refuse(self, envelope: Envelope, reason: str) -> None:
        """Tell whoever sent an envelope that it was not handled: the asker, or the system's reports."""
        if envelope.reply is not None:
            envelope.reply.refuse(reason)
        else:
            self._undeliverable(self.path, envelope, reason)
