"""Signals to the example: the first ends its work in an orderly way, the next ones make the stop quicker."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked the example to end; `number` says which."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


class Interruption:
    """What a signal does now: it raises Interrupted, until `leave` was called; then it calls what that was given."""

    def __init__(self) -> None:
        self._hurry: Callable[[], object] | None = None

    def leave(self, hurry: Callable[[], object]) -> None:
        """From now on something is being stopped, which another signal must not break off but hasten."""
        self._hurry = hurry

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Act on a signal; Python calls this in the main thread."""
        if self._hurry is not None:
            self._hurry()
            return
        self._hurry = _nothing
        raise Interrupted(signal.Signals(number))


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Handle INT, TERM and HUP for the block; only the main thread may do that."""
    interruption = Interruption()
    before = {number: signal.signal(number, interruption.handle) for number in _SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing() -> None:
    pass
