"""The pykka actor that runs one of our actors: contains its failures, restarts it, keeps its mailbox."""

from __future__ import annotations

import contextvars
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pykka

from tasker_actors.actors.actor import Actor
from tasker_actors.actors.address import ACTING, FINDING, ActorAddress, LocalAddress
from tasker_actors.actors.envelope import Envelope, Reply
from tasker_actors.actors.errors import ActorStartError
from tasker_actors.actors.mailbox import Mailbox
from tasker_actors.actors.reply import DeferredReply
from tasker_actors.actors.restart import RestartPolicy
from tasker_actors.telemetry.trace_context import CURRENT

if TYPE_CHECKING:
    from tasker_actors.actors.mailbox import Item

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reports:
    """Where a host tells what happened to its actor; both are called in the actor's thread."""

    restarted: Callable[[str, str, BaseException], None]
    escalated: Callable[[str, str], None]


class ActorHost(pykka.ThreadingActor):
    """Runs one behaviour after the other behind one mailbox, in one daemon thread named after the actor.

    Nothing that a behaviour raises reaches pykka, which would drop the mailbox after an exception and stop every actor
    of the process after a SystemExit. It is not in pykka's process-wide registry either, so that a SystemExit in an
    actor that a user started past us does not stop it.
    """

    use_daemon_thread = True
    actor_inbox: Mailbox

    def __init__(
        self,
        address: LocalAddress,
        factory: Callable[[], Actor],
        policy: RestartPolicy,
        reports: Reports,
        find: Callable[[str], ActorAddress],
        mailbox_size: int | None = None,
    ) -> None:
        super().__init__()
        self._mailbox_size = mailbox_size
        self.address = address
        self.handling: Envelope | None = None
        self.busy_since: float | None = None
        self.handled = 0
        self.restarts = 0
        self.last_reason: str | None = None
        self._factory = factory
        self._policy = policy
        self._reports = reports
        self._find = find
        self._recent_restarts: tuple[float, ...] = ()
        self._is_deferred = False
        self._owed: set[DeferredReply] = set()
        self._started = threading.Event()
        self._start_error: BaseException | None = None
        self._stopping = threading.Event()
        self._gave_up = False
        self._is_restarting = False
        self._behaviour: Actor
        self._thread = threading.Thread(
            # An empty context: free-threaded Python would give the thread a copy of its starter's.
            target=contextvars.Context().run,
            args=(self._actor_loop,),
            name=address.name,
            daemon=self.use_daemon_thread,
        )
        address.bind(self)  # before on_start, which may tell itself the first message

    def launch(self, timeout: float) -> None:
        """Start the actor's thread; returns once `on_start`, which runs there, returned.

        Raises ActorStartError if the factory or `on_start` raised, or did not return within `timeout` seconds.
        """
        self._start_actor_loop()  # not pykka's `start`, which would enter the actor into the process-wide registry
        if not self._started.wait(timeout):
            self.stop()
            message = f"actor {self.address.path} did not start within {timeout} s: its on_start still runs"
            raise ActorStartError(message)
        if self._start_error is not None:
            error = self._start_error
            message = f"actor {self.address.path} could not start: {type(error).__name__}: {error}"
            raise ActorStartError(message) from error

    @property
    def thread_id(self) -> int | None:
        """The actor's thread, for those who must not wait in it."""
        return self._thread.ident

    @property
    def is_accepting(self) -> bool:
        """Whether the actor takes messages and has a behaviour to handle them now."""
        return not (self._is_restarting or self.actor_stopped.is_set())

    @property
    def is_running(self) -> bool:
        """Whether the actor takes messages."""
        return not self.actor_stopped.is_set()

    @property
    def is_full(self) -> bool:
        """Whether as many messages wait as may; never where credits bound them already."""
        return self._mailbox_size is not None and self.actor_inbox.depth() >= self._mailbox_size

    def depth(self) -> int:
        """How many messages wait."""
        return self.actor_inbox.depth()

    def stop(self) -> None:
        """Ask the actor to stop after what waits in its mailbox; a pause before a restart ends at once."""
        self._stopping.set()
        try:
            super().stop()
        except pykka.ActorDeadError:
            return  # it has stopped already, which is what was asked for

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the actor's thread to end; whether it did."""
        self._thread.join(max(timeout, 0.0))
        return not self._thread.is_alive()

    def take_waiting(self, limit: int, types: tuple[type, ...]) -> list[Envelope]:
        """Take waiting tells from the mailbox, see `Actor.take_waiting`."""

        def wanted(item: Item) -> bool:
            envelope = item.message
            return (
                type(envelope) is Envelope and envelope.reply is None and (not types or type(envelope.message) in types)
            )

        return [item.message for item in self.actor_inbox.take_while(wanted, limit)]

    def defer_reply(self) -> Reply:
        """Keep the asker of the current message waiting, see `Actor.defer_reply`."""
        if self.handling is None or self.handling.reply is None:
            message = f"actor {self.address.path} handles no ask now: only the answer to an ask can be deferred"
            raise RuntimeError(message)
        self._is_deferred = True
        deferred = DeferredReply(self.handling.reply, self._owed.discard)
        self._owed.add(deferred)
        return deferred

    def refuse_waiting(self) -> None:
        """Refuse what waits in the mailbox; called once the actor has stopped, by any thread."""
        for item in self.actor_inbox.drain():
            if type(item.message) is Envelope:
                self.address.refuse(item.message, "the actor has stopped")

    # What pykka calls

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox()

    def _start_actor_loop(self) -> None:
        self._thread.start()

    def _actor_loop(self) -> None:
        ACTING.set(self.address.path)
        FINDING.set(self._find)
        try:
            super()._actor_loop()
        except BaseException as error:  # noqa: BLE001 - the last line of defence: a dead thread must not go unnoticed
            self._give_up(f"its thread ended: {type(error).__name__}: {error}")
            self.refuse_waiting()
        if self._started.is_set() and not (self._stopping.is_set() or self._gave_up):
            self._give_up("it stopped without having been asked to")

    def _actor_loop_teardown(self) -> None:
        self.refuse_waiting()  # pykka's own would take our envelopes out and tell nobody

    def on_start(self) -> None:
        """Make the first behaviour; tells `launch` how that went."""
        try:
            self._behaviour = self._new_behaviour()
        except BaseException as error:  # noqa: BLE001 - `launch` raises it to the starter
            self._start_error = error
            self._stopping.set()
            self.actor_stopped.set()
        self._started.set()

    def on_receive(self, message: Any) -> None:
        """Let the behaviour handle one envelope; restart it if it fails."""
        envelope: Envelope = message
        reply = envelope.reply
        failure: BaseException | None = None
        self.handling = envelope
        self.busy_since = time.monotonic()
        token = CURRENT.set(envelope)
        try:
            value = self._behaviour.receive(envelope.message)
            if reply is not None and not self._is_deferred:
                reply.answer(value)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it goes to the asker or to the restart
            if reply is not None:
                reply.fail(error)
            if reply is None or not isinstance(error, Exception):
                failure = error
        CURRENT.reset(token)
        self.handling = None
        self.busy_since = None
        self.handled += 1
        self._is_deferred = False
        if failure is not None:
            self._restart(failure)

    def on_stop(self) -> None:
        """Let the behaviour clean up after an orderly stop."""
        self._guarded("on_stop", self._behaviour.on_stop)
        self._disown("the actor stopped before it answered")

    # Failure

    def _new_behaviour(self) -> Actor:
        behaviour = self._factory()
        behaviour._host = self  # noqa: SLF001 - the host gives itself to its behaviour, before any of its methods run
        behaviour.on_start()
        return behaviour

    def _restart(self, failure: BaseException) -> None:
        """Replace the behaviour, after a pause, as often as the policy allows; escalate beyond that."""
        self._guarded("on_failure", partial(self._behaviour.on_failure, failure))
        self._disown(f"the actor failed before it answered: {type(failure).__name__}: {failure}")
        self._is_restarting = True
        error = failure
        while True:
            self.last_reason = f"{type(error).__name__}: {error}"
            decision = self._policy.decide(self._recent_restarts, time.monotonic(), random.random())  # noqa: S311 - jitter
            self._recent_restarts = decision.restarts
            if decision.delay_ms is None:
                times = f"{len(decision.restarts)} times in {self._policy.window_ms / 1000:g} s"
                self._give_up(f"restarted {times} and failed again: {self.last_reason}")
                return
            self.restarts += 1
            self._guarded(
                "on_restart", partial(self._reports.restarted, self.address.name, type(error).__name__, error)
            )
            self._stopping.wait(decision.delay_ms / 1000)
            try:
                self._behaviour = self._new_behaviour()
            except BaseException as again:  # noqa: BLE001 - counts as the next failure
                error = again
            else:
                self._is_restarting = False
                return

    def _give_up(self, reason: str) -> None:
        """End the actor and tell those who can replace the whole process; what waits is refused."""
        self._gave_up = True
        self.last_reason = reason
        self.actor_stopped.set()
        self._disown(f"the actor has failed for good: {reason}")
        self._guarded("escalate", partial(self._reports.escalated, self.address.name, reason))

    def _disown(self, reason: str) -> None:
        """Refuse the asks whose answers were deferred by a behaviour that is no more."""
        for deferred in list(self._owed):
            deferred.refuse(reason)

    def _guarded(self, callback: str, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException:  # neither a hook of an instance that ends nor a callback may end the actor
            logger.exception("Actor callback failed", extra={"actor": self.address.name, "callback": callback})
