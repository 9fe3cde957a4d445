"""The two ends of an answer: the asker who waits for it, and an actor that gives it later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tasker_actors.actors.envelope import Reply
from tasker_actors.actors.errors import ActorError, ActorUnavailableError, AskTimeoutError


def waitable(timeout: float) -> float:
    """Bring a time limit into the range that locks take: not negative, and infinity as some centuries."""
    return min(max(timeout, 0.0), threading.TIMEOUT_MAX)


class Answer:
    """Waits for one answer in the asking thread; the replier's end (`Reply`) may be used from any thread.

    Built on one lock, which the replier releases: a condition costs several times as much, and asks are hot.
    """

    __slots__ = ("_actor", "_arrived", "_cause", "_error", "_late", "_open", "_value")

    def __init__(self, actor: str, late: Callable[[], None]) -> None:
        self._actor = actor
        self._late = late
        self._arrived = threading.Lock()
        self._arrived.acquire()
        # Taking the only element is atomic: whoever takes it decides how this ends, an answer or the time limit.
        self._open = [True]
        self._value: Any = None
        self._error: ActorError | ActorUnavailableError | None = None
        self._cause: BaseException | None = None

    def answer(self, value: Any) -> None:
        """Give the asker a value."""
        if self._settle():
            self._value = value
            self._arrived.release()

    def fail(self, error: BaseException) -> None:
        """Make the asker raise an ActorError about this error, which becomes its cause."""
        if self._settle():
            self._error = ActorError(self._actor, type(error).__name__, str(error))
            self._cause = error
            self._arrived.release()

    def fail_remotely(self, actor: str, error_type: str, message: str) -> None:
        """Make the asker raise an ActorError about an error that another process described."""
        if self._settle():
            self._error = ActorError(actor, error_type, message)
            self._arrived.release()

    def refuse(self, reason: str) -> None:
        """Make the asker raise an ActorUnavailableError."""
        if self._settle():
            self._error = ActorUnavailableError(f"actor {self._actor} gives no answer: {reason}")
            self._arrived.release()

    def wait(self, timeout: float) -> Any:
        """Return the answer, or raise what it raises; blocks up to `timeout` seconds, then AskTimeoutError."""
        if not self._arrived.acquire(timeout=waitable(timeout)):
            if self._take():
                message = (
                    f"actor {self._actor} did not answer within {timeout} s: it is busy, or its mailbox is long; "
                    "ask with a longer time limit, or look at its mailbox depth"
                )
                raise AskTimeoutError(message)
            self._arrived.acquire()  # the answer came at this very moment and is being put down
        if self._error is not None:
            raise self._error from self._cause
        return self._value

    def _settle(self) -> bool:
        taken = self._take()
        if not taken:
            self._late()
        return taken

    def _take(self) -> bool:
        try:
            self._open.pop()
        except IndexError:
            return False
        return True


class DeferredReply:
    """An answer that an actor owes; `settled` is called with it once it is given."""

    __slots__ = ("_reply", "_settled")

    def __init__(self, reply: Reply, settled: Callable[[DeferredReply], None]) -> None:
        self._reply = reply
        self._settled = settled

    def answer(self, value: Any) -> None:
        """Give the asker a value."""
        self._settled(self)
        self._reply.answer(value)

    def fail(self, error: BaseException) -> None:
        """Make the asker's call raise an ActorError about this error."""
        self._settled(self)
        self._reply.fail(error)

    def refuse(self, reason: str) -> None:
        """Make the asker's call raise an ActorUnavailableError."""
        self._settled(self)
        self._reply.refuse(reason)
