"""The actors of one process: started by name, found by address, stopped in order."""

from __future__ import annotations

import itertools
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasker_actors.actors.actor import Actor
from tasker_actors.actors.address import ActorAddress, LocalAddress
from tasker_actors.actors.envelope import Envelope
from tasker_actors.actors.errors import ActorStartError
from tasker_actors.actors.host import ActorHost, Reports
from tasker_actors.actors.link import ProcessLink
from tasker_actors.actors.relay import MAX_RELAYED_ASKS
from tasker_actors.actors.remote import RemoteAddress
from tasker_actors.actors.restart import RestartPolicy
from tasker_actors.actors.routes import Routes
from tasker_actors.actors.tally import DeliveryCounts, DeliveryTally
from tasker_actors.actors.wire import MessageRegistry

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_DEFAULT_POLICY = RestartPolicy()


@dataclass(frozen=True, slots=True)
class ActorStatus:
    """One actor as it is now; `busy_seconds` is how long it has been handling its message, None when idle.

    `busy_since` is the same as a `time.monotonic()`. `handled` counts the messages that it is done with, so that two
    looks can tell one from the next; those that it took along with another one are not counted.
    """

    name: str
    is_running: bool
    mailbox_depth: int
    restarts: int
    last_reason: str | None
    busy_seconds: float | None
    busy_since: float | None
    handled: int


def log_restart(actor: str, reason: str, error: BaseException) -> None:
    """Log that an actor failed and is started again."""
    logger.warning("Actor restarted", extra={"actor": actor, "reason": reason}, exc_info=error)


def log_escalation(actor: str, reason: str) -> None:
    """Log that an actor failed for good."""
    logger.error("Actor failed for good", extra={"actor": actor, "reason": reason})


def log_undeliverable(address: str, message_type: str, reason: str) -> None:
    """Log that a message reached nobody."""
    logger.warning(
        "Message could not be delivered", extra={"address": address, "message_type": message_type, "reason": reason}
    )


def ignore_link_drop(_messages: int, _reason: str) -> None:
    """Count nothing."""


class ActorSystem:
    """Starts, finds and stops the actors of one process, and links them with those of others.

    `name` is the first part of their addresses: `supervisor`, `worker-1`. The callbacks run in whichever thread found
    out and should return soon; what they raise is logged and goes no further:
    `escalate(actor, reason)` when an actor failed more often than its policy allows (it is dead from then on),
    `on_restart(actor, reason, error)` before each restart, with the name of the error's class as `reason`,
    `on_undeliverable(address, message_type, reason)` for each tell that reached nobody,
    `on_link_drop(messages, reason)` for messages that a link did not take, or lost: `too_many`, `too_large`, `closed`.
    """

    def __init__(
        self,
        name: str,
        *,
        registry: MessageRegistry | None = None,
        escalate: Callable[[str, str], None] = log_escalation,
        on_restart: Callable[[str, str, BaseException], None] = log_restart,
        on_undeliverable: Callable[[str, str, str], None] = log_undeliverable,
        on_link_drop: Callable[[int, str], None] = ignore_link_drop,
        max_relayed_asks: int = MAX_RELAYED_ASKS,
    ) -> None:
        self.name = _checked(name, "actor system")
        self._tally = DeliveryTally(on_undeliverable, on_link_drop)
        self._reports = Reports(restarted=on_restart, escalated=escalate)
        self._lock = threading.Lock()
        self._hosts: dict[str, ActorHost] = {}
        self._addresses: dict[str, LocalAddress] = {}
        # Not from 1: an answer that is late for one incarnation of a process must not fit an ask of the next.
        # Below 2**53, so that every JSON reader keeps the number exact.
        self._next_id = itertools.count(random.SystemRandom().getrandbits(52)).__next__
        self._routes = Routes(
            name, registry or MessageRegistry(), self._tally, self._next_id, self._addresses.get, max_relayed_asks
        )

    def start(
        self,
        name: str,
        factory: Callable[[], Actor],
        policy: RestartPolicy = _DEFAULT_POLICY,
        timeout: float = 30.0,
        *,
        mailbox_size: int | None = None,
    ) -> LocalAddress:
        """Start an actor and return its address; returns after its `on_start`, which runs in the actor's thread.

        With a `mailbox_size`, messages are refused while that many wait: an ask fails, a tell is undeliverable.
        `factory` makes the first instance and, after a failure, each next one. Raises ActorStartError if it or
        `on_start` raised or took longer than `timeout` seconds, or if an actor of that name runs.
        """
        address = self._own_address(_checked(name, "actor"))
        with self._lock:
            running = self._hosts.get(name)
            if running is not None and running.is_running:
                message = f"actor {address.path} runs already: stop it first, or choose another name"
                raise ActorStartError(message)
            host = ActorHost(address, factory, policy, self._reports, self.address, mailbox_size)
            self._hosts.pop(name, None)  # one that stopped: the new one takes its place at the end of the order
            self._hosts[name] = host
        try:
            host.launch(timeout)
        except ActorStartError:
            with self._lock:
                del self._hosts[name]
            raise
        return address

    def address(self, path: str, *, over: ProcessLink | None = None) -> ActorAddress:
        """Return the address of `actor` or `process/actor`; neither has to exist yet, or any more.

        With a link `over`, messages take this one, whichever is the process's own at the time.
        """
        process, slash, actor = path.rpartition("/")
        if not slash or process == self.name:
            return self._own_address(_checked(actor, "actor"))
        return RemoteAddress(self._routes, _checked(process, "actor system"), _checked(actor, "actor"), over)

    def add_link(self, peer: str, link: ProcessLink, *, default: bool = False) -> None:
        """Reach the actors of process `peer` through this link, instead of through an earlier one.

        Starts the link's threads; messages are delivered from now on. A `default` link also takes what is addressed to
        any other process: the supervisor relays between its workers. When it closes, asks over it fail at once and
        the link's own `on_close` is called.
        """
        self._routes.lead(_checked(peer, "actor system"), link, default=default)
        self._routes.open(peer, link)

    def open_link(self, peer: str, link: ProcessLink) -> None:
        """Take what comes over a link of process `peer`, and send nothing over it before `route` or unless asked to.

        For a second incarnation of a process, beside the one that its name stands for.
        """
        self._routes.open(_checked(peer, "actor system"), link)

    def route(self, peer: str, link: ProcessLink) -> None:
        """Reach the actors of process `peer` through this open link from now on; does nothing once it is closed."""
        self._routes.lead(_checked(peer, "actor system"), link, default=False)

    def actors(self) -> tuple[ActorStatus, ...]:
        """Return every actor that was started, in the order of their start, stopped ones included."""
        now = time.monotonic()
        with self._lock:
            hosts = list(self._hosts.items())
        return tuple(_status(name, host, now) for name, host in hosts)

    def counts(self) -> DeliveryCounts:
        """Return how many messages could not be delivered, came late or were relayed since the start."""
        return self._tally.counts()

    def stop_all(self, order: Sequence[str], deadline: float) -> tuple[str, ...]:
        """Stop the named actors one after the other, then all others, newest first; return those that still run.

        Each handles what waits in its mailbox before it stops, so name the sources of messages first. `deadline` is a
        `time.monotonic()` for all together; past it every remaining actor is asked to stop but not waited for. Links
        stay open, for answers: close them afterwards.
        """
        with self._lock:
            hosts = dict(self._hosts)
        unknown = [name for name in order if name not in hosts]
        if unknown:
            logger.info("Actors to stop were never started", extra={"actors": unknown})
        rest = [name for name in reversed(hosts) if name not in order]
        for name in [*(name for name in order if name in hosts), *rest]:
            hosts[name].stop()
            hosts[name].join(deadline - time.monotonic())
        return tuple(name for name, host in hosts.items() if not host.join(0))

    def stop(self, name: str, deadline: float) -> bool:
        """Stop one actor after what waits in its mailbox; whether it stopped before the `time.monotonic()` deadline."""
        with self._lock:
            host = self._hosts.get(name)
        if host is None:
            return True
        host.stop()
        return host.join(deadline - time.monotonic())

    def forget(self, name: str) -> None:
        """Stop an actor after what waits in its mailbox, without waiting for that, and forget that there was one."""
        with self._lock:
            host = self._hosts.pop(name, None)
            self._addresses.pop(name, None)
        if host is not None:
            host.stop()

    def _own_address(self, name: str) -> LocalAddress:
        with self._lock:
            address = self._addresses.get(name)
            if address is None:
                address = LocalAddress(
                    name, f"{self.name}/{name}", self._next_id, self._undeliverable, self._tally.late
                )
                self._addresses[name] = address
            return address

    def _undeliverable(self, path: str, envelope: Envelope, reason: str) -> None:
        self._tally.undeliverable(path, type(envelope.message).__name__, reason)


def _status(name: str, host: ActorHost, now: float) -> ActorStatus:
    busy_since = host.busy_since
    return ActorStatus(
        name=name,
        is_running=host.is_running,
        mailbox_depth=host.depth(),
        restarts=host.restarts,
        last_reason=host.last_reason,
        busy_seconds=None if busy_since is None else now - busy_since,
        busy_since=busy_since,
        handled=host.handled,
    )


def _checked(name: str, what: str) -> str:
    if _NAME.fullmatch(name) is None:
        message = f"{name!r} is no name for an {what}: use lower-case letters, digits, - and _, a letter first"
        raise ValueError(message)
    return name
