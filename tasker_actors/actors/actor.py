"""What every actor of ours is: a behaviour that handles one message at a time and can be made anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tasker_actors.actors.envelope import Envelope, Reply

if TYPE_CHECKING:
    from tasker_actors.actors.address import LocalAddress


class Hosting(Protocol):
    """What a behaviour uses of the host that runs it."""

    @property
    def address(self) -> LocalAddress:
        """The actor's own address; it outlives every restart."""

    @property
    def handling(self) -> Envelope | None:
        """The envelope of the message that is being handled."""

    def take_waiting(self, limit: int, types: tuple[type, ...]) -> list[Envelope]:
        """Take waiting tells from the mailbox."""

    def defer_reply(self) -> Reply:
        """Keep the asker of the current message waiting."""

    def depth(self) -> int:
        """How many messages wait."""

    def stop(self) -> None:
        """Stop after what waits now."""


class Actor(ABC):
    """Handles messages one at a time, in the order in which they came, in a thread of its own.

    An instance is one life of the actor: after a failure its factory makes a new one, which goes on with the same
    mailbox and the same address. What must outlive a failure therefore lives outside the instance and is given to it
    by the factory. Everything below runs in the actor's thread, so an instance needs no locks for what is its own.

    A failure is an exception of `receive` under a tell, or a `BaseException` such as SystemExit under either; the
    message that was being handled, and those drained with `take_waiting`, are gone with the instance.
    """

    messages: ClassVar[Iterable[type]] = ()
    """For an actor named in `[actors]`: the frozen dataclasses that it and its askers in other processes exchange."""

    _host: Hosting

    @abstractmethod
    def receive(self, message: Any) -> Any:
        """Handle one message; what it returns, or raises, goes to the asker if there is one."""

    def on_start(self) -> None:  # noqa: B027 - a hook: most actors need none
        """Prepare; runs before the first message, and again in each new instance. Raising here fails the start."""

    def on_stop(self) -> None:  # noqa: B027 - a hook: most actors need none
        """Clean up after the last message of an orderly stop; what it raises is logged, the stop goes on."""

    def on_failure(self, error: BaseException) -> None:  # noqa: B027 - a hook: most actors need none
        """Let go of what this instance holds, since it failed and is replaced; runs instead of `on_stop`."""

    @property
    def address(self) -> LocalAddress:
        """The actor's own address, to give to others."""
        return self._host.address

    @property
    def envelope(self) -> Envelope:
        """The envelope of the message that `receive` is handling; RuntimeError outside of `receive`."""
        envelope = self._host.handling
        if envelope is None:
            message = f"{self.address.path} handles no message now: read `envelope` inside `receive` and keep the value"
            raise RuntimeError(message)
        return envelope

    @property
    def mailbox_depth(self) -> int:
        """How many messages wait behind the current one."""
        return self._host.depth()

    def take_waiting(self, limit: int, *types: type) -> list[Envelope]:
        """Take what else waits in the mailbox, in order and without blocking: at most `limit` envelopes of tells.

        Stops in front of the first ask (its asker gets its answer from `receive`), the first message that is not
        exactly of one of `types` (where any are given), and a request to stop. This is what a group commit is made of.
        The running code keeps the context of the message in hand; that of each other is in its envelope.
        """
        return self._host.take_waiting(limit, types)

    def defer_reply(self) -> Reply:
        """Keep the asker of the current message waiting: what `receive` returns is not its answer.

        Answer through the `Reply` later, from any thread. If this instance fails or stops before that, the asker's
        call raises. RuntimeError if the current message is a tell.
        """
        return self._host.defer_reply()

    def stop(self) -> None:
        """Stop this actor once it has handled what waits in its mailbox now."""
        self._host.stop()
